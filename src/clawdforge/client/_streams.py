"""How a stream of events goes: opened, read, and gone on with after every cut, until it has told its end. Pure.

A turn's own stream is opened by the POST of its prompt. Cut before its first event it is found again by the same
POST with the same key, afterwards by the session's events after the last one that came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, Final, get_args

from clawdforge.client import _api, _calls, _flow, _retry
from clawdforge.client._api import Reply
from clawdforge.client._call import Call
from clawdforge.client._core import Core
from clawdforge.client._log import log
from clawdforge.client._sources import Source
from clawdforge.client._steps import Fault, Flow, Items, Open, Read, Shut, Sleep, Step, Tell
from clawdforge.client.events import Event, PermissionRequestEvent
from clawdforge.errors import ForgeConflictError, ForgeError
from clawdforge.wire.permissions import Decision, PermissionAnswered
from clawdforge.wire.sse import MEDIA_TYPE

SILENCE_S: Final = 60
"""A stream that says nothing for so long is cut: the gateway gives a sign of life every 15 s."""
CLOSED: Final = Fault("it was closed before its end")
_TRIES_EACH: Final = 4
_READ: Final = Read()
_LAST_S: Final = 0.5
"""How long the end of an answer may take, once all is told that was in it."""


def follow(core: Core, source: Source, within_s: float = math.inf) -> Items[Event]:
    """The events of a stream from where it stands to its end.

    Args:
        core: the Forge's.
        source: the stream.
        within_s: how long the gateway may take altogether.

    Raises:
        ForgeTransportError: it was cut, and again, and nothing more came.
        ForgeError: the gateway says no, or tells no events.
    """
    if untold := source.cursor.untold():
        yield untold
    source.check(core)
    failures, sent, reached, began_s = 0, False, False, core.clock()
    ends_s = began_s + within_s
    while not source.cursor.ended:
        call = _flow.keyed(core, source.next_call())
        before, heard_bytes = source.cursor.after, source.cursor.heard_bytes
        opens_s = ends_s if reached else began_s + call.patience_s + core.margin_s
        came = yield from _connection(core, source, call, opens_s, ends_s)
        sent = sent or _flow.was_sent(came)
        if source.cursor.after > before or (call.method == "GET" and source.cursor.heard_bytes > heard_bytes):
            failures, reached = 0, True
        if isinstance(came, Reply) and came.ok:
            continue  # its end was told, or a page that may not be the last
        if came == CLOSED and source.cursor.after == before and (yield from source.is_over(core)):
            continue
        wait_s = _wait_s(core, source, call, came, failures, opens_s - core.clock(), reached=reached)
        if wait_s is None:
            if isinstance(came, Fault):
                if came.timed_out and core.clock() >= ends_s:
                    came = replace(came, reason=f"no end within {within_s:g} s")
                told = {"session_id": source.session_id, "turn_index": source.cursor.turn_index}
                raise _flow.transport_error(core, call, came, sent=sent, **told) from came.cause
            raise _flow.refusal(core, came)
        failures += 1
        _log_again(source, call, came, wait_s, cut=source.cursor.after > 0 or (sent and isinstance(came, Fault)))
        yield Sleep(wait_s)


def _connection(
    core: Core, source: Source, call: Call, opens_s: float, ends_s: float
) -> Generator[Step | list[Event], Any, Reply | Fault]:
    """Yields what one connection tells. Returns why it ended: a `Fault`, or a `Reply` that tells no events."""
    silence_s = min(_silence_s(core, call), core.left_s(opens_s))
    reply = yield from _flow.attempted(core, Open(call, silence_s))
    if isinstance(reply, Fault) or not reply.ok:
        return reply
    if not reply.headers.get("Content-Type", "").startswith(MEDIA_TYPE):
        body = yield from _flow.rest(core, min(silence_s, core.left_s(ends_s)))
        if isinstance(body, Fault):
            return body
        whole = Reply(reply.status, reply.headers, body)
        yield source.told(_api.read(whole, token=core.config.token))
        return whole
    source.opened(reply)
    source.cursor.reconnected()
    while True:
        data: bytes | Fault = yield _READ if ends_s == math.inf else Read(min(silence_s, core.left_s(ends_s)))
        if isinstance(data, Fault):
            return data
        if not data:
            return CLOSED
        if found := source.cursor.take(data):
            yield found
        if source.cursor.ended:
            yield Shut(_LAST_S if call.method == "POST" else 0)
            return reply


def _silence_s(core: Core, call: Call) -> float:
    """How long nothing may come. A gateway that may be an old one says nothing until the whole turn is done."""
    if call.method == "GET" or core.gateway.honours_keys:
        return SILENCE_S
    turn_s = call.patience_s if call.patience_s < _calls.LONGEST_TURN_S else core.timeout_secs
    return max(SILENCE_S, turn_s + core.margin_s)


def _wait_s(
    core: Core, source: Source, call: Call, came: Reply | Fault, failures: int, left_s: float, *, reached: bool
) -> float | None:
    """How long to wait before the stream is opened again; None where it shall not be."""
    if reached and source.next_call().method == "GET":
        # A gateway that starts anew takes a while, and reading once more does no harm.
        tries = core.retries * _TRIES_EACH
        return _retry.reading_wait_s(came, attempt=failures, retries=tries, left_s=left_s, jitter=core.jitter())
    return _retry.wait_s(
        came,
        attempt=failures,
        retries=core.retries,
        safe=call.repeatable and core.gateway.honours_keys,
        left_s=min(SILENCE_S, left_s),
        jitter=core.jitter(),
    )


def _log_again(source: Source, call: Call, came: Reply | Fault, wait_s: float, *, cut: bool) -> None:
    why = came.reason if isinstance(came, Fault) else f"HTTP {came.status}"
    if not cut:
        log.info("%s %s is tried again in %.1f s: %s", call.method, _flow.shown(call.path), wait_s, why)
        return
    what = source.session_id or _flow.shown(call.path)
    after = source.cursor.after
    log.warning("the stream of %s was cut (%s): it goes on after event %d in %.1f s", what, why, after, wait_s)


def heard(
    core: Core,
    source: Source,
    on_event: Callable[[Event], Any] | None = None,
    on_permission: Callable[[PermissionRequestEvent], Any] | None = None,
    *,
    quiet: bool = False,
    within_s: float = math.inf,
) -> Items[Event]:
    """The events of a stream, told to the app's functions on their way.

    Args:
        core: the Forge's.
        source: the stream.
        on_event: told each event.
        on_permission: asked what an agent shall be answered; None leaves that to others.
        quiet: nothing comes out of here: the functions have heard it all.
        within_s: how long the gateway may take altogether.
    """
    flow = follow(core, source, within_s)
    if on_event is None and on_permission is None and not quiet:
        yield from flow
        return
    came: Any = None
    while True:
        try:
            step = flow.send(came)
        except StopIteration:
            return
        if not isinstance(step, list):
            came = yield step
            continue
        came = None
        for event in step:
            if on_event is not None:
                yield Tell(on_event, event)
            if on_permission is not None and isinstance(event, PermissionRequestEvent):
                yield from _asked(core, source, event, on_permission)
            if not quiet:
                yield [event]


def _asked(
    core: Core,
    source: Source,
    request: PermissionRequestEvent,
    on_permission: Callable[[PermissionRequestEvent], Any],
) -> Flow[None]:
    """Answers a request as the app decides."""
    if request.expires_at is None or source.session_id is None or not _api.is_name(request.permission_id):
        return  # it was answered at once, by the session's policy; or there is nothing that could be answered
    decision = yield Tell(on_permission, request)
    if decision is None:
        return
    if decision not in get_args(Decision):
        raise TypeError(f"on_permission returns one of {get_args(Decision)} or None, not {decision!r}")
    try:
        yield from answer(core, source, request.permission_id, decision)
    except ForgeConflictError:
        log.debug("permission %s was answered by somebody else", request.permission_id)


def answer(
    core: Core, source: Source, permission_id: str, decision: Decision | None, option_id: str | None = None
) -> Flow[PermissionAnswered]:
    """Answers a request that the stream has told of.

    Raises:
        ForgeError: of a run that has not begun nothing can be answered; or the gateway says no.
    """
    if source.session_id is None:
        raise ForgeError("nothing of this run has come yet: it has asked for nothing")
    call = _calls.answer_permission(source.session_id, permission_id, decision=decision, option_id=option_id)
    return _api.permission_answered((yield from _flow.ask(core, call)))
