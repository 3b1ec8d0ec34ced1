"""Looks for processes from outside, by a word of their command line: nothing of how a gateway looks is in it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import psutil

PATIENCE_S = 30.0
_counted: Iterator[int] = itertools.count()


def new_token() -> str:
    """Digits that no other process has on its command line."""
    return f"{os.getpid()}{time.monotonic_ns()}{next(_counted)}"


@dataclass
class Watch:
    """What agents were told to leave: a process for each token.

    Attributes:
        kinds: what each token stands for.
    """

    kinds: Mapping[str, str]
    _seen: dict[str, psutil.Process] = field(default_factory=dict)

    def until_all_are_there(self) -> None:
        """Waits until each of them runs."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self._look()) < len(self.kinds):
            assert time.monotonic() < deadline, f"never left: {set(self.kinds.values()) - set(self._seen)}"
            time.sleep(0.01)

    def left(self) -> list[str]:
        """The kinds of those that run: found anew, or seen before and not gone. A zombie runs no more."""
        again = self._look()
        kept = {kind for kind, process in self._seen.items() if _runs(process)}
        return sorted(again.keys() | kept)

    def until_all_are_gone(self) -> None:
        """Waits until none of them runs."""
        deadline = time.monotonic() + PATIENCE_S
        while left := self.left():
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.005)

    def end(self) -> None:
        """Kills what is left, so that no other test meets it."""
        self._look()
        for process in self._seen.values():
            if _runs(process):
                process.kill()

    def _look(self) -> dict[str, psutil.Process]:
        found = {}
        for process in psutil.process_iter(["cmdline"]):
            for word in process.info["cmdline"] or ():
                if (kind := self.kinds.get(word.rpartition(".")[2])) is not None:
                    found[kind] = process
        self._seen |= found
        return found


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
