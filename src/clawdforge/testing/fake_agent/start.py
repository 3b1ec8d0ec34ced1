"""Start faults: what goes wrong before the first prompt. FAKE_AGENT_START or --start-fault names one."""

from __future__ import annotations

import os
import select
import sys
import time

from .pipe import READ_BYTES, STDERR, STDIN, STDOUT, write_all
from .session import RpcError

NAMES = (
    *("exit0", "exit1", "exit137", "stderr-then-exit", "exit-new", "hang-initialize", "hang-new"),
    *("error-initialize", "error-new", "auth-required", "garbage-first", "garbage"),
    *("old-protocol", "no-session-id", "slow", "ignore-eof"),
    *("no-recall", "empty-load", "late-history", "hang-recall", "exit-recall", "ghost-recall"),
    "odd-session-id",
)
NOISE = (
    b"starting up ...\n",
    b"\x1b[32mINFO\x1b[0m ready\r\n",
    b"123\n",
    b"[]\n",
    b"null\n",
    b'"text"\n',
    b"{\n",
    b"\xff\xfe\x80 not UTF-8\n",
    b"\n",
)
GARBAGE_PAUSE_S = 0.01
RECALLS = ("session/load", "session/resume", "session/fork")
ERRORS = {
    ("error-initialize", "initialize"): RpcError(-32603, "Internal error"),
    ("error-new", "session/new"): RpcError(-32603, "Internal error"),
    ("auth-required", "session/new"): RpcError(-32000, "Authentication required"),
}


class Fault:
    """One start fault with its argument, or none at all."""

    def __init__(self, chosen: str) -> None:
        if chosen.startswith("@"):
            chosen = read(chosen[1:])
        self.name: str
        self.name, _, self._argument = chosen.partition(" ")
        if self.name and self.name not in NAMES:
            sys.exit(f"fake_agent: no such start fault: {self.name}")

    def begin(self) -> None:
        """Do what comes before the first message is read."""
        if self.name in ("exit0", "exit1", "exit137"):
            os._exit(int(self.name.removeprefix("exit")))
        elif self.name == "stderr-then-exit":
            write_all(STDERR, b"fake_agent: cannot start: no such thing\n")
            os._exit(1)
        elif self.name == "slow":
            time.sleep(float(self._argument))
        elif self.name == "garbage-first":
            write_all(STDOUT, b"".join(NOISE))
        elif self.name == "garbage":
            garbage_until_stdin_ends()

    def hangs(self, method: str) -> bool:
        """True if this call must never be answered; RpcError if it must fail."""
        if (self.name, method) in ERRORS:
            raise ERRORS[self.name, method]
        if (self.name, method) == ("exit-new", "session/new"):
            os._exit(1)
        if self.name == "exit-recall" and method in RECALLS:
            os._exit(1)
        if self.name == "hang-recall":
            return method in RECALLS
        return (self.name, method) in (("hang-initialize", "initialize"), ("hang-new", "session/new"))

    @property
    def protocol_version(self) -> int:
        return int(self._argument or 0) if self.name == "old-protocol" else 1


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read().strip()
    except FileNotFoundError:
        return ""


def garbage_until_stdin_ends() -> None:
    for number in range(1 << 30):
        write_all(STDOUT, NOISE[number % len(NOISE)])
        ready, _, _ = select.select([STDIN], [], [], GARBAGE_PAUSE_S)
        if ready and not os.read(STDIN, READ_BYTES):
            os._exit(0)
