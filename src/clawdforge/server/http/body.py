"""The one door for bytes: a request's body, counted and timed, then strict JSON, then a wire value.

Nothing else in the gateway reads a JSON body. This module must not know what the fields mean.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

from clawdforge.server.settings import Settings
from clawdforge.wire.problems import Problem, invalid

T = TypeVar("T")

MAX_DEPTH: Final = 100
MAX_VALUES: Final = 100_000  # megabytes of text are honest work; millions of values only cost memory
OFF_LOOP_BYTES: Final = (
    256 * 1024
)  # a millisecond's work; for megabytes a thread keeps the loop's stalls at a third
MAX_PATIENCE: Final = 6  # times the first patience: what no sent bytes can earn more than
INTEGERS: Final = range(-(2**63), 2**63)
MAX_ERRORS: Final = 20
MAX_COUNTED_ERRORS: Final = 1_000
MAX_NAME_CHARS: Final = 60


async def read_json(request: Request, kind: type[T], settings: Settings, *, optional: bool = False) -> T:
    """Reads the body as JSON of the wire type `kind`; with `optional`, no body stands for `{}`.

    Raises:
        Problem: 400 `bad_request`, 408, 413, 415 or 422 `invalid`.
        ClientDisconnect: the client went away before the body was whole.
    """
    if is_bodiless(request):
        raw: bytes | bytearray = b""
    else:
        check_encoding(request)
        _check_json_type(request)
        raw = await read(request, settings.max_json_bytes, settings)
    if not raw:
        if not optional:
            raise Problem("bad_request", "a JSON object is expected as the body; there is none")
        raw = b"{}"
    if len(raw) > OFF_LOOP_BYTES:
        return await asyncio.to_thread(parse, raw, kind)
    return parse(raw, kind)


# --- bytes: counted and timed ------------------------------------------------------------------------------


class Inflow:
    """A request's body as it comes, never more than `limit_bytes` of it, from a client that keeps its pace.

    The clock runs only while the gateway waits for the client, not while it works. A client may let it wait for
    as long as for a request's head, and longer by what its bytes have earned; but no megabytes earn it an hour.
    """

    def __init__(self, request: Request, limit_bytes: int, settings: Settings) -> None:
        """Takes the door to the body; reads nothing yet.

        Raises:
            Problem: `too_large`, where the declared length is over the limit.
        """
        declared = header(request, b"content-length")
        if declared is not None and int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
        self._receive = request.receive
        self._limit_bytes = limit_bytes
        self._rate = settings.min_body_bytes_per_sec
        self._patience_s = settings.head_timeout_secs
        self._max_patience_s = settings.head_timeout_secs * MAX_PATIENCE
        self._ended = False
        self.counted_bytes: int = 0

    async def next(self) -> bytes:
        """The next piece of the body; empty exactly when all of it was read.

        Raises:
            Problem: `too_large` by the bytes counted, `request_timeout` when the client is too slow.
            ClientDisconnect: the client went away.
        """
        loop = asyncio.get_running_loop()
        while not self._ended:
            asked_at = loop.time()
            try:
                async with asyncio.timeout(self._patience_s):
                    message = await self._receive()
            except TimeoutError:
                raise Problem(
                    "request_timeout", f"the body came slower than {self._rate} bytes a second"
                ) from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            self._ended = not message.get("more_body", False)
            earned_s = len(chunk) / self._rate - (loop.time() - asked_at)
            self._patience_s = min(self._patience_s + earned_s, self._max_patience_s)
            self.counted_bytes += len(chunk)
            if self.counted_bytes > self._limit_bytes:
                raise _too_large(self._limit_bytes)
            if chunk:
                return chunk
        return b""


async def read(request: Request, limit_bytes: int, settings: Settings) -> bytes | bytearray:
    """The whole body. Raises as `Inflow`."""
    inflow = Inflow(request, limit_bytes, settings)
    first = await inflow.next()
    second = await inflow.next()
    if not second:
        return first
    whole = bytearray(first)
    while second:
        whole += second
        second = await inflow.next()
    return whole


def header(request: Request, name: bytes) -> bytes | None:
    """The value of a header that may stand once, None where it is absent.

    Raises:
        Problem: `bad_request` when it stands more than once.
    """
    values = [value for key, value in request.scope["headers"] if key == name]
    if len(values) > 1:
        raise Problem("bad_request", f"the header {name.decode()} stands {len(values)} times")
    return values[0] if values else None


def is_bodiless(request: Request) -> bool:
    """Whether the head says that no body follows."""
    length = header(request, b"content-length")
    return (length is None or int(length) == 0) and header(request, b"transfer-encoding") is None


def check_encoding(request: Request) -> None:
    """Refuses compressed bodies: what they unpack to cannot be counted before it is there.

    Raises:
        Problem: `unsupported_media_type`.
    """
    coding = header(request, b"content-encoding")
    if coding is not None and coding.strip().lower() != b"identity":
        raise Problem("unsupported_media_type", "a body must come as it is: no Content-Encoding is supported")


def _check_json_type(request: Request) -> None:
    """Demands `application/json`, also where the header is absent.

    A web page can make its visitor's browser send a body to any address without asking first only as a form, as
    plain text or without a type. So none of these may pass for JSON.
    """
    value = header(request, b"content-type")
    if value == b"application/json":
        return
    media, _, parameters = (value or b"").lower().partition(b";")
    charsets = [
        text.strip().strip(b'"')
        for key, _, text in (parameter.partition(b"=") for parameter in parameters.split(b";"))
        if key.strip() == b"charset"
    ]
    if media.strip() != b"application/json" or any(charset != b"utf-8" for charset in charsets):
        raise Problem("unsupported_media_type", "the body must be of Content-Type application/json, in UTF-8")


def _too_large(limit_bytes: int) -> Problem:
    return Problem("too_large", f"the body is larger than {limit_bytes} bytes", limit_bytes=limit_bytes)


# --- strict JSON -------------------------------------------------------------------------------------------


def parse(raw: bytes | bytearray, kind: type[T]) -> T:
    """A wire value from the bytes of a body.

    Raises:
        Problem: `bad_request` when it is not strict JSON, `invalid` when it is not of the type.
    """
    check_json(raw)
    try:
        return _adapter(kind).validate_json(raw, strict=True)
    except ValidationError as error:
        raise _invalid(error) from None


def check_json(raw: bytes | bytearray) -> None:
    """Demands JSON that every reader understands in the same way.

    That is: UTF-8 without a byte order mark, each key once in its object, finite numbers, integers of 64 bits,
    no NUL and no lone surrogates in any text, at most `MAX_DEPTH` deep and of at most `MAX_VALUES` values.

    Raises:
        Problem: `bad_request`, with a sentence that says what is wrong, and where.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _bad(f"the body is not UTF-8, at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise _bad("the body starts with a byte order mark, at byte 0")
    try:
        tree = _DECODER.decode(text)
        _inspect([tree], 0, MAX_VALUES)
    except json.JSONDecodeError as error:
        at_byte = len(text[: error.pos].encode())
        what = error.msg.lower().removesuffix(" at").removesuffix(" starting")
        raise _bad(f"the body is not JSON: {what}, at byte {at_byte}") from None
    except RecursionError:
        raise _bad(f"the body is nested deeper than {MAX_DEPTH}") from None
    except _Refused as refused:  # its last step is the list around the tree
        raise _bad(f"{refused}, at {_dotted(refused.path[-2::-1])}") from None


class _Refused(ValueError):
    """JSON, but not strict. `path` leads from the value back to the root."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.path: list[str | int] = []


# An object that names a key twice gets this key for it: the decoder cannot tell where that is, `_inspect` can.
_TWICE: Final = object()


def _members(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        (name, _), *_rest = Counter(key for key, _ in pairs).most_common(1)
        members[_TWICE] = name
    return members


def _integer(digits: str) -> int:
    # No int() of thousands of digits: it is quadratic. Any integer out of range stands for all of them.
    return int(digits) if len(digits) <= 20 else INTEGERS.stop


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_int=_integer)


def _inspect(container: dict[Any, Any] | list[Any], depth: int, values_left: int) -> int:
    """Looks at everything inside; returns how many more values the body may have."""
    if depth > MAX_DEPTH:
        raise _Refused(f"the body is nested deeper than {MAX_DEPTH}")
    values_left -= len(container)
    if values_left < 0:
        raise _Refused(f"the body has more than {MAX_VALUES} values")
    members: Iterable[tuple[Any, Any]]
    if isinstance(container, dict):
        if _TWICE in container:
            raise _Refused(f"the key {_shown(container[_TWICE])} stands twice in one object")
        for key in container:
            _inspect_text(key)
        members = container.items()
    else:
        members = enumerate(container)
    for key, value in members:
        kind = type(value)
        try:
            if kind is str:
                _inspect_text(value)
            elif kind is dict or kind is list:
                values_left = _inspect(value, depth + 1, values_left)
            elif kind is int and value not in INTEGERS:
                raise _Refused("an integer has more than 64 bits")
            elif kind is float and not math.isfinite(value):
                raise _Refused("a number is not finite")
        except _Refused as refused:
            refused.path.append(key)
            raise
    return values_left


def _inspect_text(text: str) -> None:
    if "\0" in text:
        raise _Refused("a text contains NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _Refused("a text contains half of a surrogate pair") from None


def _bad(detail: str) -> Problem:
    return Problem("bad_request", detail)


def _shown(name: str) -> str:
    """A key as a sentence may show it: short, and nothing but printable ASCII."""
    return ascii(name if len(name) <= MAX_NAME_CHARS else name[:MAX_NAME_CHARS] + "…")


def _dotted(path: Sequence[str | int]) -> str:
    """`meta.a[3]` of a path; only its ends where it is long."""
    shown = path if len(path) <= 10 else [*path[:5], "…", *path[-5:]]
    text = "".join(
        f"[{step}]"
        if isinstance(step, int)
        else f".{step}"
        if step == "…" or (step.isidentifier() and step.isascii() and len(step) <= MAX_NAME_CHARS)
        else f"[{_shown(step)}]"
        for step in shown
    )
    return text.removeprefix(".") or "the root"


# --- wire values -------------------------------------------------------------------------------------------


_ADAPTERS: Final[dict[type[Any], TypeAdapter[Any]]] = {}


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _invalid(error: ValidationError) -> Problem:
    """422 with the first faults; never with what the client sent, which may be a secret."""
    count = error.error_count()
    if count > MAX_COUNTED_ERRORS:  # to list them would cost more than the whole body did
        return invalid(f"the body has {count} faults")
    errors: list[dict[str, Any]] = [
        {
            "loc": [step if isinstance(step, int) else step[:MAX_NAME_CHARS] for step in fault["loc"]],
            "message": "unknown field" if fault["type"] == "unexpected_keyword_argument" else fault["msg"][:200],
        }
        for fault in error.errors(include_input=False, include_url=False, include_context=False)[:MAX_ERRORS]
    ]
    more = f" (and {count - 1} more)" if count > 1 else ""
    return Problem("invalid", f"{_dotted(errors[0]['loc'])}: {errors[0]['message']}{more}", errors=errors)
