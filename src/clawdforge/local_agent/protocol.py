"""JSON-RPC 2.0 over two pipes, one message a line. Knows nothing of ACP, and never waits for an answer."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603


class RpcError(Exception):
    """A request that is answered with an error: its text is for the person at the other end."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Peer:
    """The other end of our stdin and stdout. Any thread may send; one thread reads.

    Attributes:
        gone: True once the other end has stopped listening; what is sent from then on is dropped.
    """

    def __init__(self, source: BinaryIO, sink_fd: int) -> None:
        self.gone: bool = False
        self._source = source
        self._sink_fd = sink_fd
        self._sending = threading.Lock()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Each message that comes in, until the other end closes its side.

        A line that is no JSON object is told on stderr and passed over: it cannot say whom to answer.
        """
        for line in self._source:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError) as error:
                _complain(line, type(error).__name__)
                continue
            if isinstance(message, dict):
                yield message
            else:
                _complain(line, "not an object")

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Tells the other end something."""
        self._send({"method": method, "params": params})

    def answer(self, request_id: Any, outcome: Mapping[str, Any] | RpcError) -> None:
        """Answers a request: with its result, or with the error that it met."""
        if isinstance(outcome, RpcError):
            self._send({"id": request_id, "error": {"code": outcome.code, "message": str(outcome)}})
        else:
            self._send({"id": request_id, "result": outcome})

    def _send(self, message: Mapping[str, Any]) -> None:
        # ASCII throughout: half a surrogate pair that somebody sent us must not break the line that quotes it.
        left = memoryview(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n")
        with self._sending:
            while left and not self.gone:
                try:
                    left = left[os.write(self._sink_fd, left) :]
                except BrokenPipeError:
                    self.gone = True


def _complain(line: bytes, reason: str) -> None:
    print(f"ignored a line of {len(line)} bytes that is no JSON-RPC message: {reason}", file=sys.stderr)
