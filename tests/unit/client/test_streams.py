"""How a stream goes on: which calls it makes after each cut, how long it waits, and when it gives up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from clawdforge import (
    ForgeAgentError,
    ForgeError,
    ForgeInvalidError,
    ForgeNotFoundError,
    ForgeTimeoutError,
    ForgeTransportError,
    PermissionRequestEvent,
)
from clawdforge.client import _asking, _streams, _turns
from clawdforge.client._core import Core
from clawdforge.client._cursor import Cursor
from clawdforge.client._sources import PromptEvents, SessionEvents
from clawdforge.client._steps import Open, Read, Send, Shut, Tell
from harness.flows import CUT, LATE, REFUSED, Clock, Played, core, opened, played, reply
from harness.raw_server import frame

START = frame(1, "turn_start", prompt="hi")
END = frame(9, "turn_end", stop_reason="end_turn", ok=True, duration_ms=1)
TURN = {
    "ok": True,
    "session_id": "sess_1",
    "turn_index": 1,
    "events": [],
    "stop_reason": "end_turn",
    "duration_ms": 1,
}
OPENED = opened(Idempotency_Supported="true")


def turn_of(made: Core, timeout_secs: int | None = None) -> PromptEvents:
    prompted = _asking.turn(made, "sess_1", "hi", schema=None, inherited=None, timeout_secs=timeout_secs)
    return PromptEvents(prompted)


def run_of(made: Core) -> PromptEvents:
    return PromptEvents(_asking.run(made, "hi", schema=None, timeout_secs=None))


def followed(made: Core, source: Any, answers: list[Any], **more: Any) -> Played:
    return played(_streams.heard(made, source), answers, **more)


def seqs(record: Played) -> list[int]:
    return [event.seq for event in record.items]


# --- one turn ------------------------------------------------------------------------------------------------


def test_a_stream_that_is_not_cut() -> None:
    made = core()
    record = followed(made, turn_of(made), [OPENED, START + frame(2)[:9], frame(2)[9:] + b":\n\n", END])
    assert seqs(record) == [1, 2, 9]
    assert [type(step) for step in record.steps] == [Open, Read, Read, Read, Shut]
    # Its connection can be used again.
    assert record.steps[-1] == Shut(0.5)
    step = record.steps[0]
    assert isinstance(step, Open)
    assert (step.call.accept, step.call.key, step.timeout_s) == ("text/event-stream", "key-1", 60)


def test_before_its_first_event_it_is_found_by_its_key_and_then_by_its_events() -> None:
    made = core()
    record = followed(
        made, turn_of(made), [CUT, OPENED, b":\n\n", CUT, OPENED, START, CUT, OPENED, frame(2), b"", OPENED, END]
    )
    assert seqs(record) == [1, 2, 9]
    assert record.sent == ["POST /sessions/sess_1/turn"] * 3 + ["GET /sessions/sess_1/events"] * 2
    calls = [step.call for step in record.steps if isinstance(step, Open)]
    assert [call.key for call in calls] == ["key-1"] * 3 + [None] * 2
    assert [call.params.get("after") for call in calls] == [None, None, None, "1", "2"]
    assert record.slept_s == [0.5, 1, 0.5, 0.5]


def test_a_run_is_found_by_what_its_answer_named() -> None:
    made = core()
    head = opened(Location="/prefix/runs/run%201")
    source = run_of(made)
    record = followed(made, source, [head, START, CUT, OPENED, END])
    assert record.sent == ["POST /run", "GET /sessions/run%201/events"]
    assert source.session_id == "run 1"


@pytest.mark.parametrize("location", [None, "", "/runs/", "/sessions/a", "/runs/..", "/runs/%20"])
def test_a_run_without_a_name_is_found_by_its_key_alone(location: str | None) -> None:
    made = core()
    head = opened() if location is None else opened(Location=location)
    record = followed(
        made, run_of(made), [head, START, CUT, head, START + frame(2), CUT, head, START + frame(2) + END]
    )
    assert record.sent == ["POST /run"] * 3
    assert seqs(record) == [1, 2, 9]


def test_it_gives_up_when_nothing_more_comes() -> None:
    made = core()
    record = Played()
    source = turn_of(made)
    with pytest.raises(ForgeTransportError, match="Connection reset") as caught:
        followed(made, source, [OPENED, START, *[CUT] * 9], into=record)
    assert (caught.value.session_id, caught.value.turn_index) == ("sess_1", 1)
    assert record.slept_s == [0.5, 1, 2, 4, 8, 8, 8, 8]
    record = Played()
    with pytest.raises(ForgeTransportError) as caught:
        followed(made, turn_of(made), [CUT, REFUSED, REFUSED], into=record)
    assert record.slept_s == [0.5, 1]
    assert caught.value.sent
    with pytest.raises(ForgeTransportError) as caught:
        followed(made, turn_of(made), [REFUSED] * 3)
    assert not caught.value.sent


def test_progress_begins_the_count_anew() -> None:
    made = core(retries=1)
    again = [answer for seq in range(2, 9) for answer in (OPENED, frame(seq), CUT)]
    record = followed(made, turn_of(made), [OPENED, START, CUT, *again, OPENED, END])
    assert seqs(record) == list(range(1, 10))
    assert record.slept_s == [0.5] * 8


def test_without_retries_a_cut_is_an_end() -> None:
    made = core(retries=0)
    for answers in ([CUT], [LATE], [OPENED, START, CUT], [OPENED, START, b""]):
        with pytest.raises(ForgeTransportError):
            followed(made, turn_of(made), answers)


def test_what_the_gateway_refuses_ends_it() -> None:
    made = core()
    for status, error in ((404, ForgeNotFoundError), (422, ForgeInvalidError)):
        with pytest.raises(error):
            followed(made, turn_of(made), [reply(status=status)])
        with pytest.raises(error):
            followed(made, turn_of(made), [OPENED, START, CUT, reply(status=status)])


def test_a_gateway_that_starts_anew_is_waited_for() -> None:
    made = core()
    away = [REFUSED, REFUSED, reply(b"<html>", 502), reply(status=503, Retry_After="3"), reply(status=503)]
    record = followed(made, turn_of(made), [OPENED, START, CUT, *away, OPENED, END])
    assert seqs(record) == [1, 9]
    assert record.slept_s == [0.5, 1, 2, 4, 3 + 8, 8]


def test_an_old_gateway_is_sent_a_prompt_once() -> None:
    made = core(honours_keys=False)
    source = turn_of(made)
    with pytest.raises(ForgeTransportError):
        followed(made, source, [CUT])
    with pytest.raises(ForgeError, match="run twice"):
        followed(made, source, [])
    with pytest.raises(ForgeError, match="run twice"):
        played(source.result(made), [])


@pytest.mark.parametrize(
    ("honours_keys", "timeout_secs", "silence_s"),
    [(True, 1000, 60), (False, 1000, 1030), (False, None, 150), (False, 1, 60)],
)
def test_how_long_nothing_may_come(honours_keys: bool, timeout_secs: int | None, silence_s: float) -> None:
    made = core(honours_keys=honours_keys)
    record = Played()
    with pytest.raises(ForgeTimeoutError):
        followed(made, turn_of(made, timeout_secs), [LATE] * (3 if honours_keys else 1), into=record)
    step = record.steps[0]
    assert isinstance(step, Open)
    # Until it is open it keeps to the caller's time, too.
    assert step.timeout_s == (31 if timeout_secs == 1 else silence_s)


def test_until_it_is_open_it_keeps_to_the_callers_time() -> None:
    clock = Clock()
    made = core(clock=clock, margin_s=5)
    record = Played()
    with pytest.raises(ForgeTransportError):
        followed(made, turn_of(made, 10), [(9, CUT), (5, CUT)], clock=clock, into=record)
    assert [step.timeout_s for step in record.steps if isinstance(step, Open)] == [15, 5.5]


def test_the_result_is_the_same_post_in_the_blocking_form() -> None:
    made = core()
    source = turn_of(made, 1000)
    followed(made, source, [OPENED, START + END])
    record = played(source.result(made), [reply(TURN)])
    [step] = record.steps
    assert isinstance(step, Send)
    assert (step.call.key, step.call.accept, step.timeout_s) == ("key-1", "application/json", 90)
    assert record.result.stop_reason == "end_turn"
    with pytest.raises(ForgeAgentError):
        played(source.result(made), [reply({"detail": "no", "code": "agent_failed"}, 502)])
    with pytest.raises(ForgeTransportError, match=r"session\.get_turn\(1\) tells"):
        played(source.result(made), [CUT] * 3)


def test_a_gateway_that_answers_with_the_whole_turn() -> None:
    made = core(honours_keys=False)
    whole = {
        **TURN,
        "events": [{"type": "text", "content": "a"}, "odd", {"type": "text", "content": "b", "seq": 7}],
    }
    source = turn_of(made)
    record = followed(made, source, [reply(whole), _bytes(whole), b""])
    assert [(event.seq, event.turn_index) for event in record.items] == [(1, 1), (7, 1)]
    assert played(source.result(made), []).result.events == whole["events"]
    broken = Played()
    with pytest.raises(ForgeTransportError):
        followed(made, turn_of(made), [reply(whole), CUT], into=broken)


def _bytes(body: Any) -> bytes:
    return reply(body).body


# --- a session -----------------------------------------------------------------------------------------------


def test_a_session_is_followed_to_its_close() -> None:
    made = core()
    closed = frame(2, "session_closed")
    record = followed(made, SessionEvents("sess_1", Cursor()), [OPENED, frame(1), CUT, OPENED, closed])
    assert seqs(record) == [1, 2]
    record = followed(made, SessionEvents("sess_1", Cursor(1)), [OPENED, closed + frame(3)])
    assert seqs(record) == [2]


def test_of_a_closed_session_what_there_is_is_read() -> None:
    made = core()
    pages = [reply(), _page(1, 2), b"", reply(), _page(3), b"", reply(), _page(), b""]
    record = followed(made, SessionEvents("sess_1", Cursor(), follow=False), pages)
    assert seqs(record) == [1, 2, 3]
    assert record.sent == ["GET /sessions/sess_1/events"] * 3
    # A follower learns that it is closed where the stream says nothing and ends.
    gone = [OPENED, b"", reply({"closed_at": 5}), reply(), _page(1), b"", reply(), _page(), b""]
    record = followed(made, SessionEvents("sess_1", Cursor()), gone)
    assert seqs(record) == [1]
    assert record.slept_s == []


def _page(*seqs: int) -> bytes:
    return _bytes({"ok": True, "events": [{"seq": seq, "type": "text", "content": "x"} for seq in seqs]})


def test_a_session_that_is_open_is_followed_on() -> None:
    made = core()
    state = reply({"closed_at": None})
    answers = [OPENED, b"", state, OPENED, b":\n\n", b"", state, OPENED, frame(1, "session_closed")]
    record = followed(made, SessionEvents("sess_1", Cursor()), answers)
    assert seqs(record) == [1]
    assert record.slept_s == [0.5, 0.5]


def test_a_gateway_that_cannot_say_whether_it_is_over_is_asked_again() -> None:
    made = core(retries=1)
    for away in ([CUT, CUT], [reply(status=503)]):
        answers = [OPENED, b":\n\n", b"", *away, OPENED, frame(1, "session_closed")]
        assert seqs(followed(made, SessionEvents("sess_1", Cursor()), answers)) == [1]
    with pytest.raises(ForgeNotFoundError):
        followed(made, SessionEvents("sess_1", Cursor()), [OPENED, b"", reply(status=404)])


def test_signs_of_life_keep_a_quiet_stream_going() -> None:
    made = core(retries=1)
    quiet = [OPENED, b":\n\n", CUT] * 20
    record = followed(made, SessionEvents("sess_1", Cursor()), [*quiet, OPENED, frame(1, "session_closed")])
    assert seqs(record) == [1]
    with pytest.raises(ForgeTransportError):
        followed(made, SessionEvents("sess_1", Cursor()), [OPENED, CUT, OPENED, CUT])


def test_a_cut_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "clawdforge")
    made = core()
    followed(made, turn_of(made), [OPENED, START, CUT, reply(status=503), OPENED, END])
    followed(made, run_of(made), [CUT, OPENED, START + END])
    followed(made, run_of(made), [REFUSED, OPENED, START + END])
    followed(made, run_of(made), [reply(status=429, Retry_After="2"), OPENED, START + END])
    assert [record.getMessage() for record in caplog.records] == [
        "the stream of sess_1 was cut (Connection reset by peer): it goes on after event 1 in 0.5 s",
        "the stream of sess_1 was cut (HTTP 503): it goes on after event 1 in 1.0 s",
        "the stream of /run was cut (Connection reset by peer): it goes on after event 0 in 0.5 s",
        # What was not begun is not cut.
        "POST /run is tried again in 0.5 s: Connection refused",
        "POST /run is tried again in 2.5 s: HTTP 429",
    ]


# --- a reader that stops, and goes on ------------------------------------------------------------------------


def test_what_came_with_the_last_event_read_is_read_first() -> None:
    made = core()
    source = turn_of(made)
    flow = _streams.heard(made, source)
    assert isinstance(next(flow), Open)
    assert isinstance(flow.send(OPENED), Read)
    came = flow.send(START + frame(2) + frame(3))
    assert isinstance(came, list)
    source.cursor.told = came[0].seq
    flow.close()
    record = followed(made, source, [OPENED, frame(4) + END])
    assert seqs(record) == [2, 3, 4, 9]
    source.cursor.told = 9
    assert followed(made, source, []).steps == []


# --- cancel --------------------------------------------------------------------------------------------------


def test_what_a_stream_can_cancel() -> None:
    made = core()
    source = run_of(made)
    assert played(source.cancel(made), []).result is False
    source.next_call()
    with pytest.raises(ForgeError, match="nothing of this turn has come yet"):
        played(source.cancel(made), [])
    source.opened(opened(Location="/runs/run_1"))
    with pytest.raises(ForgeError, match="nothing of this turn has come yet"):
        played(source.cancel(made), [])
    source.cursor.take(START)
    record = played(source.cancel(made), [reply({"cancelled": True})])
    assert (record.result, record.sent) == (True, ["POST /sessions/run_1/cancel"])


# --- an app's functions --------------------------------------------------------------------------------------

ASK = {"permission_id": "perm_1", "title": "ls", "options": []}


def heard(ask: dict[str, Any], decide: Callable[[PermissionRequestEvent], Any], answers: list[Any]) -> Played:
    made = core()
    request = frame(2, "permission_request", **{**ASK, **ask})
    flow = _streams.heard(made, turn_of(made), None, decide)
    return played(flow, [OPENED, START + request, *answers, END])


def test_an_answer_is_sent_before_the_stream_goes_on() -> None:
    asked: list[PermissionRequestEvent] = []
    record = heard({"expires_at": 5}, lambda ask: asked.append(ask) or "allow", [reply({"ok": True})])
    assert record.sent == ["POST /sessions/sess_1/turn", "POST /sessions/sess_1/permissions/perm_1"]
    assert seqs(record) == [1, 2, 9]
    assert [each.title for each in asked] == ["ls"]


def test_nobody_is_asked_what_is_answered_or_cannot_be() -> None:
    for ask in ({}, {"expires_at": None}, {"expires_at": 5, "permission_id": ".."}):
        assert heard(ask, lambda _: pytest.fail("it was asked"), []).sent == ["POST /sessions/sess_1/turn"]
    assert heard({"expires_at": 5}, lambda _: None, []).sent == ["POST /sessions/sess_1/turn"]


def test_what_somebody_else_has_answered_is_left_alone() -> None:
    taken = reply({"code": "permission_answered"}, 409)
    assert seqs(heard({"expires_at": 5}, lambda _: "allow", [taken])) == [1, 2, 9]
    with pytest.raises(ForgeInvalidError):
        heard({"expires_at": 5}, lambda _: "allow", [reply(status=422)])


@pytest.mark.parametrize("decision", [True, "yes", "", {}])
def test_a_decision_that_is_none_is_not_sent(decision: Any) -> None:
    with pytest.raises(TypeError, match="on_permission returns one of"):
        heard({"expires_at": 5}, lambda _: decision, [])


def test_functions_are_told_in_order_and_the_result_is_asked_for() -> None:
    made = core()
    told: list[Any] = []
    prompted = _asking.turn(made, "sess_1", "hi", schema=None, inherited=None, timeout_secs=9)
    flow = _turns.answer(made, prompted, lambda event: told.append(event.seq), lambda _: None)
    record = played(flow, [OPENED, START + frame(2), END, reply(TURN)])
    assert told == [1, 2, 9]
    assert record.items == []
    assert [type(step) for step in record.steps].count(Tell) == 3
    assert record.sent == ["POST /sessions/sess_1/turn"] * 2
    plain = played(_turns.answer(made, prompted, None, None), [reply(TURN)])
    assert len(plain.steps) == 1


def watched(made: Core, answers: list[Any], **more: Any) -> Played:
    prompted = _asking.turn(made, "sess_1", "hi", schema=None, inherited=None, timeout_secs=9)
    return played(_turns.answer(made, prompted, lambda _: None, None), answers, **more)


def test_a_turn_that_is_watched_keeps_to_its_callers_time() -> None:
    clock = Clock()
    made = core(clock=clock, margin_s=5)
    record = watched(made, [(1, OPENED), (2, START), (3, END), reply(TURN)], clock=clock)
    assert [step.timeout_s for step in record.steps if isinstance(step, Open | Read | Send)] == [14, 13, 11, 8]
    # Signs of life are none of an end; nor is it read on when there is no time left.
    for late in ([(13, b":\n\n"), (2, LATE)], [(13.8, CUT)]):
        with pytest.raises(ForgeTransportError) as caught:
            watched(made, [OPENED, START, *late], clock=clock)
        assert isinstance(caught.value, ForgeTimeoutError) is (late[-1][1] is LATE)
        assert (caught.value.session_id, caught.value.turn_index) == ("sess_1", 1)
    with pytest.raises(ForgeTimeoutError, match="no end within 14 s"):
        watched(made, [(14, LATE)], clock=clock)
