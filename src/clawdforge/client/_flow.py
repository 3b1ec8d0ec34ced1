"""How one call goes: sent, tried again where that is safe, read, or ended as an exception. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from clawdforge.client import _api, _retry
from clawdforge.client._api import Reply
from clawdforge.client._call import Call
from clawdforge.client._core import Core
from clawdforge.client._log import log
from clawdforge.client._steps import Fault, Flow, Items, Open, Read, Send, Shut, Sleep
from clawdforge.errors import ForgeAPIError, ForgeProtocolError, ForgeTimeoutError, ForgeTransportError, one_line

_SECRET: Final = re.compile(r"(cf_|ff_)[A-Za-z0-9_%-]+")


def ask(core: Core, call: Call, **told: Any) -> Flow[dict[str, Any]]:
    """The JSON object of a call's success.

    Args:
        core: the Forge's.
        call: the call.
        told: what is said of it where no answer comes, as `ForgeTransportError` has it.

    Raises:
        ForgeError: there is none.
    """
    reply = yield from exchange(core, call, **told)
    return _api.read(reply, token=core.config.token)


def exchange(core: Core, call: Call, step: type[Send | Open] = Send, **told: Any) -> Flow[Reply]:
    """Performs a call, and again where that is safe and may help, within the time that its caller gives it.

    Raises:
        ForgeTransportError: no answer came.
    """
    call = keyed(core, call)
    ends_at = core.clock() + call.patience_s + core.margin_s
    timeout_s = call.patience_s + core.margin_s
    attempt = 0
    sent = False
    while True:
        answer = yield from attempted(core, step(call, timeout_s))
        sent = sent or was_sent(answer)
        if call.failure is not None:
            raise call.failure
        left_s = ends_at - core.clock()
        wait_s = _retry.wait_s(
            answer,
            attempt=attempt,
            retries=core.retries,
            safe=call.repeatable and core.gateway.honours_keys,
            left_s=left_s,
            jitter=core.jitter(),
        )
        if wait_s is None or not call.rewound():
            break
        log.info("%s %s is tried again in %.1f s: %s", call.method, shown(call.path), wait_s, _why(answer))
        yield Sleep(wait_s)
        attempt += 1
        timeout_s = left_s - wait_s
    if isinstance(answer, Fault):
        raise transport_error(core, call, answer, sent=sent, **told) from answer.cause
    return answer


def attempted(core: Core, step: Send | Open) -> Flow[Reply | Fault]:
    """One try of a call."""
    began = core.clock()
    answer: Reply | Fault = yield step
    core.heard(answer)
    if log.isEnabledFor(10):
        took_ms = (core.clock() - began) * 1000
        log.debug(
            "%s %s %s: %s in %.1f ms",
            step.call.method,
            shown(step.call.path),
            _size(step.call),
            _why(answer),
            took_ms,
        )
    return answer


def keyed(core: Core, call: Call) -> Call:
    """The call with a key, where keys are for such calls."""
    return call.with_key(core.new_key()) if call.keyed and call.key is None else call


def rest(core: Core, within_s: float) -> Flow[bytes | Fault]:
    """What is left of an open answer, whole, where it comes in this time."""
    pieces: list[bytes] = []
    ends_s = core.clock() + within_s
    while True:
        piece: bytes | Fault = yield Read(core.left_s(ends_s))
        if isinstance(piece, Fault):
            return piece
        if not piece:
            yield Shut()
            return b"".join(pieces)
        pieces.append(piece)


def pages(core: Core, call: Call, name: str, read: Any = None) -> Items[Any]:
    """The rows of a list, page after page; each read by `read`, where there is one.

    Raises:
        ForgeProtocolError: a page names itself as the next one.
    """
    seen: set[str] = set()
    while True:
        body = yield from ask(core, call)
        rows = _api.rows(body, name)
        yield rows if read is None else [read(row) for row in rows]
        cursor = _api.cursor(body)
        if cursor is None:
            return
        if cursor in seen:
            raise ForgeProtocolError("a list goes in circles: the same page is named as the next one again")
        seen.add(cursor)
        call = call.at(cursor)


def refusal(core: Core, reply: Reply) -> ForgeAPIError:
    """An answer that is no success, as an exception."""
    return _api.problem(reply, token=core.config.token)


def was_sent(answer: Reply | Fault) -> bool:
    """Whether the gateway may have got the call."""
    return isinstance(answer, Reply) or answer.sent


def transport_error(core: Core, call: Call, fault: Fault, **told: Any) -> ForgeTransportError:
    """No answer came, as an exception: of this fault, after all tries."""
    cls = ForgeTimeoutError if fault.timed_out else ForgeTransportError
    return cls(f"{call.method} {core.config.base_url}{shown(call.path)}: {fault.reason}", **told)


def shown(path: str) -> str:
    """A path as a log may have it: without what would let its reader in."""
    return _SECRET.sub(r"\1…", path)


def _why(answer: Reply | Fault) -> str:
    if isinstance(answer, Fault):
        return one_line(answer.reason)
    return f"HTTP {answer.status} {_named(answer.headers)}".rstrip()


def _named(headers: Mapping[str, str]) -> str:
    name = headers.get("X-Request-Id")
    return f"({one_line(name)})" if name else ""


def _size(call: Call) -> str:
    if call.body is None:
        return "(no body)"
    size = len(call.body) if isinstance(call.body, bytes) else call.body.len
    return f"({'?' if size is None else size} bytes)"
