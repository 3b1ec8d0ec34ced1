"""Conversations that outlive the process: kept below HOME, where it advertises a way to go on with them.

A conversation is a file of session updates, one a line, as `session/load` tells them again. Written as they come:
whoever kills the agent in mid turn finds what was said by then.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

FOLDER = "~/.fake_agent"


class Conversation:
    """What was said in one session; `updates` are those of earlier processes."""

    def __init__(self, session_id: str) -> None:
        folder = os.path.expanduser(FOLDER)  # noqa: PTH111  (pathlib is slow to import)
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        self._path = os.path.join(folder, f"{os.path.basename(session_id)}.jsonl")  # noqa: PTH118, PTH119
        self.updates: list[Message] = []

    def read(self) -> bool:
        """Takes up what earlier processes have kept; False if they have kept none."""
        try:
            with open(self._path, encoding="utf-8") as file:  # noqa: PTH123
                self.updates = [json.loads(line) for line in file]
        except FileNotFoundError:
            return False
        return True

    def add(self, update: Message) -> None:
        """Keeps one update."""
        with open(self._path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(json.dumps(update) + "\n")

    def take_over(self, other: Conversation) -> None:
        """Begins with all that was said in another one."""
        self.updates = other.updates
        for update in other.updates:
            self.add(update)

    @property
    def prompts(self) -> list[str]:
        """What earlier processes were asked."""
        return [one["content"]["text"] for one in self.updates if one["sessionUpdate"] == "user_message_chunk"]
