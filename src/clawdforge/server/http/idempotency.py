"""`Idempotency-Key`: what a POST may do only once, read from its head and its body.

Must not know what the POST does; what came of a key is kept by `apps.keys`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any, Final

from starlette.requests import Request

from clawdforge.server.apps.keys import Once
from clawdforge.server.http.problems import Headers
from clawdforge.wire import codec
from clawdforge.wire.problems import invalid

KEY_LIMIT_CHARS: Final = 255
_HEADER: Final = b"idempotency-key"
_OFF_LOOP_CHARS: Final = 256 * 1024
_REPLAYED: Final = ((b"idempotent-replayed", b"true"),)
_PRINTABLE: Final = range(0x21, 0x7F)


def replayed(was: bool) -> Headers:
    """The headers of an answer that was given before, if it was."""
    return _REPLAYED if was else ()


async def once(request: Request, asked: Any) -> Once | None:
    """What this POST shall do once: `asked` is its body as a wire value. None where it has no key.

    Raises:
        Problem: `invalid` for a key that is none.
    """
    key = _key(request)
    if key is None:
        return None
    if len(getattr(asked, "prompt", "")) > _OFF_LOOP_CHARS:
        return Once(key, await asyncio.to_thread(_fingerprint, request, codec.to_json(asked)))
    return Once(key, _fingerprint(request, codec.to_json(asked)))


def once_of(request: Request, **asked: str | int) -> Once | None:
    """The same of a POST whose body is no JSON: `asked` says what it wants. Raises as `once`."""
    key = _key(request)
    return None if key is None else Once(key, _fingerprint(request, asked))


def _key(request: Request) -> str | None:
    values = [value for name, value in request.scope["headers"] if name == _HEADER]
    if not values:
        return None
    value = values[0]
    if len(values) > 1 or not 0 < len(value) <= KEY_LIMIT_CHARS or any(byte not in _PRINTABLE for byte in value):
        detail = f"Idempotency-Key is one word of 1 to {KEY_LIMIT_CHARS} printable ASCII characters"
        raise invalid(detail, "Idempotency-Key")
    return str(value, "ascii")


def _fingerprint(request: Request, asked: dict[str, Any]) -> bytes:
    """The hash of where the POST went and what it asked; how its JSON was written does not matter."""
    whole = json.dumps([request.scope["path"], asked], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(whole.encode()).digest()
