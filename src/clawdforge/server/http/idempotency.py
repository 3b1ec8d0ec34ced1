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
    key = key_of(request)
    if key is None:
        return None
    wanted = codec.to_json(asked)
    if len(wanted.get("prompt", "")) > _OFF_LOOP_CHARS:
        return await asyncio.to_thread(once_of, request, key, wanted)
    return once_of(request, key, wanted)


def once_of(request: Request, key: str, wanted: dict[str, Any]) -> Once:
    """What a POST with this key shall do once; how its body was written does not matter."""
    whole = json.dumps([request.scope["path"], wanted], sort_keys=True, separators=(",", ":"))
    return Once(key, hashlib.sha256(whole.encode()).digest())


def key_of(request: Request) -> str | None:
    """The key that a POST names.

    Raises:
        Problem: `invalid` for one that is none.
    """
    values = [value for name, value in request.scope["headers"] if name == _HEADER]
    if not values:
        return None
    value = values[0]
    if len(values) > 1 or not 0 < len(value) <= KEY_LIMIT_CHARS or any(byte not in _PRINTABLE for byte in value):
        detail = f"Idempotency-Key is one word of 1 to {KEY_LIMIT_CHARS} printable ASCII characters"
        raise invalid(detail, "Idempotency-Key")
    return str(value, "ascii")
