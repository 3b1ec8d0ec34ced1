"""What scripted agents have heard: each writes it into its own home, where no wall keeps it from writing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

FILE = "agent.jsonl"
VARIABLE = {"FAKE_AGENT_LOG": f"~/{FILE}"}
"""What tells an agent where to write."""


class AgentLog:
    """The logs of all agents of a gateway, by their sessions. What was read is kept: homes are removed."""

    def __init__(self, homes: Path) -> None:
        self._homes = homes
        self._files: dict[str, _File] = {}

    def entries(self, method: str | None = None) -> list[Entry]:
        """What all agents heard, oldest first; with `method`, only the messages that call it.

        A pid in it counts in the agent's own namespace: together with `session` it names a process.
        """
        with suppress(FileNotFoundError):
            for session_id in os.listdir(self._homes):
                self.of(session_id)
        found = [each for file in self._files.values() for each in file.entries]
        return sorted(_calling(method, found), key=lambda each: each["t"])

    def of(self, session_id: str, method: str | None = None) -> list[Entry]:
        """What the agents of one session heard, one after the other."""
        file = self._files.setdefault(session_id, _File(self._homes / session_id / FILE, session_id))
        file.read()
        return list(_calling(method, file.entries))


@dataclass
class _File:
    """One log, as far as it was read; an entry counts when its line has ended."""

    path: Path
    session_id: str
    entries: list[Entry] = field(default_factory=list)
    read_bytes: int = 0

    def read(self) -> None:
        with suppress(FileNotFoundError):
            if self.path.stat().st_size == self.read_bytes:
                return
            with self.path.open("rb") as file:
                file.seek(self.read_bytes)
                whole = file.read().rpartition(b"\n")[0]
            self.read_bytes += len(whole) + bool(whole)
            for line in filter(None, whole.split(b"\n")):
                self.entries.append({**json.loads(line), "session": self.session_id})


def _calling(method: str | None, entries: list[Entry]) -> Iterator[Entry]:
    for each in entries:
        message = each.get("m")
        if method is None or (isinstance(message, dict) and message.get("method") == method):
            yield each
