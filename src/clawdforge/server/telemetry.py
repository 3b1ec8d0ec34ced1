"""The gateway's own log: one line an event on stderr, which nothing from outside can forge or colour."""

from __future__ import annotations

import logging
import re
from typing import Final

_REPEATED_AFTER_S: Final = 60
_UNPRINTABLE: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


class _Plain(logging.Formatter):
    """Neither a colour nor a carriage return that came from outside reaches the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], super().format(record))


class _NowAndThen(logging.Filter):
    """asyncio logs each connection that it cannot take for want of descriptors: one line of these will do."""

    def __init__(self) -> None:
        super().__init__()
        self._quiet_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if "socket.accept() out of system resource" not in record.getMessage():
            return True
        if record.created < self._quiet_until:
            return False
        self._quiet_until = record.created + _REPEATED_AFTER_S
        return True


def configure(level: str) -> None:
    """Sends the process's log to stderr. `level` is a name of the `logging` module, in any case."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").filters[:] = [_NowAndThen()]
    for chatty in ("uvicorn.error", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
