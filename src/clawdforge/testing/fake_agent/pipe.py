"""The agent's end of stdio: JSON lines in and out, unbuffered, on one thread.

It frames and logs; it knows no method of ACP. Its imports are few on purpose: they are most of the start.
"""

from __future__ import annotations

import json
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

READ_BYTES = 1 << 20
STDIN, STDOUT, STDERR = 0, 1, 2


class Pipe:
    """Reads and writes one JSON message a line. Writing blocks for as long as the client does not read."""

    def __init__(self, log_path: str | None) -> None:
        self.ended: bool = False
        self._unread = bytearray()
        self._log = -1
        if log_path:
            path = os.path.expanduser(log_path)  # noqa: PTH111  (pathlib is slow to import)
            self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def read(self, timeout_s: float | None) -> list[Any]:
        """The messages that have come in whole, after at most `timeout_s` of waiting for bytes (None: no end).

        `ended` is set once nothing more will come.

        Raises:
            ValueError: a line is not JSON.
        """
        ready, _, _ = select.select([STDIN], [], [], timeout_s)
        if not ready:
            return []
        chunk = os.read(STDIN, READ_BYTES)
        self.ended = not chunk
        if b"\n" not in chunk:
            self._unread += chunk
            return []
        whole, _, rest = chunk.rpartition(b"\n")
        lines = (bytes(self._unread) + whole).split(b"\n")
        self._unread = bytearray(rest)
        return [self._received(line) for line in lines if line.strip()]

    def _received(self, line: bytes) -> Any:
        message = json.loads(line)
        self.log(b'"m":' + line)
        return message

    def log(self, member: bytes) -> None:
        """Append one entry to the log, if there is one: time, pid and this JSON member, in a single write."""
        if self._log >= 0:
            write_all(self._log, b'{"t":%.6f,"pid":%d,%s}\n' % (time.time(), os.getpid(), member))

    def send(self, message: dict[str, Any]) -> None:
        """Write one message, in UTF-8; all in escapes if it holds lone surrogates."""
        message = {"jsonrpc": "2.0", **message}
        try:
            line = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            line = json.dumps(message, separators=(",", ":")).encode()
        write_all(STDOUT, line + b"\n")


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, however the kernel cuts it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
