"""A real pseudo-terminal with a program in it, driven as a person would: by what is seen, and by what is typed."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_S = 30
CTRL_C = "\x03"
CTRL_D = "\x04"
ESCAPE = "\x1b"
ENTER = "\r"
_ORDERS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_PARTS = re.compile(f"({_ORDERS.pattern})|(.)", re.DOTALL)


class Terminal:
    """Runs a program with a terminal of its own as its stdin, stdout and stderr.

    Attributes:
        written: all that the program has written, as it came.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        size: tuple[int, int] = (24, 100),
        cwd: str | None = None,
    ) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, size)
        self._columns = size[1]
        self._process = subprocess.Popen(
            argv,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.written = ""
        self._seen = 0
        self._over = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def shown(self) -> str:
        """What was written, without the orders to the terminal."""
        return _ORDERS.sub("", self.written)

    @property
    def screen(self) -> list[str]:
        """The lines that can be seen, and those that have scrolled away: what was taken back is not among them."""
        return drawn(self.written, self._columns)

    def type(self, text: str) -> None:
        """Presses these keys."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Presses Ctrl-C, once the program waits: Python may overlook one that comes just before it does."""
        deadline = time.monotonic() + PATIENCE_S
        while _state(self.pid) != "S":
            assert time.monotonic() < deadline, "it never waits"
            self._read(0.01)
        self.type(CTRL_C)

    def until(self, text: str) -> str:
        """Waits until this is shown, behind what was waited for before. Returns what was shown up to its end."""
        deadline = time.monotonic() + PATIENCE_S
        while (place := self.shown.find(text, self._seen)) < 0:
            assert not self._over, f"the program ended without {text!r}: {self.shown[self._seen :]!r}"
            assert time.monotonic() < deadline, f"waited for {text!r}: {self.shown[self._seen :]!r}"
            self._read(0.2)
        before, self._seen = self._seen, place + len(text)
        return self.shown[before : self._seen]

    def end(self) -> int:
        """Waits for the program's end. Returns its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._over:
            assert time.monotonic() < deadline, f"it does not end: {self.shown[self._seen :]!r}"
            self._read(0.2)
        return self._process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._ours)

    def _read(self, within_s: float) -> None:
        if not select.select([self._ours], [], [], within_s)[0]:
            return
        try:
            piece = os.read(self._ours, 65_536)
        except OSError:  # how a pseudo-terminal says that its last writer is gone
            piece = b""
        self._over = not piece
        self.written += self._decoder.decode(piece)


def drawn(written: str, columns: int) -> list[str]:
    """What an endless terminal shows after this was written to it, without spaces at the lines' ends."""
    cells: list[list[str]] = [[]]
    row = column = 0
    for order, sign in _PARTS.findall(written):
        count = int(found[1]) if (found := re.match(r"\x1b\[(\d+)", order)) else 1
        match order[-1:] or sign:
            case "A" if order:
                row = max(0, row - count)
            case "C" if order:
                column += count
            case "D" if order:
                column = max(0, column - count)
            case "K" if order:
                del cells[row][0 if order == "\x1b[2K" else column :]
            case "J" if order:
                del cells[row + 1 :], cells[row][column:]
            case "\r":
                column = 0
            case "\n":
                row += 1
            case "\b":
                column = max(0, column - 1)
            case _ if sign >= " ":
                if column == columns:
                    row, column = row + 1, 0
                cells += [[] for _ in range(row + 1 - len(cells))]
                cells[row] += [" "] * (column + 1 - len(cells[row]))
                cells[row][column] = sign
                column += 1
        cells += [[] for _ in range(row + 1 - len(cells))]
    return ["".join(line).rstrip() for line in cells]


def _state(pid: int) -> str:
    """Of a process: `S` where it waits for something."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _take_terminal() -> None:
    """In the child: its stdin is the terminal from which a Ctrl-C comes."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
