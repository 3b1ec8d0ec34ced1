"""How one call goes: what is yielded, and what comes of each answer."""

from __future__ import annotations

import io
import logging
from collections.abc import Generator
from typing import Any

import pytest

from clawdforge import ForgeAPIError, ForgeProtocolError, ForgeTimeoutError, ForgeTransportError
from clawdforge.client import _api, _bodies, _calls, _flow, _workspace
from clawdforge.client._bodies import Source
from clawdforge.client._steps import Fault, Open, Read, Send, Shut
from harness.flows import CUT, LATE, REFUSED, TOKEN, Clock, Played, core, played, reply

OK = reply({"ok": True})


def test_a_call_is_one_step() -> None:
    record = played(_flow.ask(core(), _calls.usage(since=1, until=None, by=None)), [OK])
    [step] = record.steps
    assert isinstance(step, Send)
    assert (step.call.method, step.call.params, step.call.key, step.timeout_s) == ("GET", {"since": "1"}, None, 90)
    assert record.result == {"ok": True}


def test_a_post_has_a_key_that_stays_the_same() -> None:
    made = core()
    record = played(_flow.ask(made, _calls.run("hi", timeout_secs=9)), [CUT, LATE, OK])
    keys = [step.call.key for step in record.steps if isinstance(step, Send)]
    assert keys == ["key-1"] * 3
    assert record.slept_s == [0.5, 1]
    other = played(_flow.ask(made, _calls.run("hi", timeout_secs=9)), [OK])
    assert [step.call.key for step in other.steps if isinstance(step, Send)] == ["key-2"]
    admin = played(_flow.ask(made, _calls.mint_token("a", None)), [OK])
    assert [step.call.key for step in admin.steps if isinstance(step, Send)] == [None]


def test_an_old_gateway_is_asked_once() -> None:
    for call in (_calls.run("hi", timeout_secs=9), _calls.get_session("sess_1")):
        for answer in (CUT, LATE, reply(status=503, Retry_After="1")):
            record = Played()
            with pytest.raises((ForgeTransportError, ForgeAPIError)):
                played(_flow.ask(core(honours_keys=False), call), [answer], into=record)
            assert len(record.steps) == 1


def test_what_was_never_sent_is_tried_again_at_every_gateway() -> None:
    record = played(_flow.ask(core(honours_keys=False), _calls.run("hi", timeout_secs=9)), [REFUSED, REFUSED, OK])
    assert record.slept_s == [0.5, 1]
    with pytest.raises(ForgeTransportError, match=r"POST http://gateway\.test/run: Connection refused") as nobody:
        played(_flow.ask(core(), _calls.run("hi", timeout_secs=9)), [REFUSED] * 3)
    assert not nobody.value.sent
    with pytest.raises(ForgeTransportError) as gone:
        played(_flow.ask(core(), _calls.run("hi", timeout_secs=9)), [CUT, REFUSED, REFUSED])
    assert gone.value.sent


@pytest.mark.parametrize("said", ["true", "no", "TRUE", ""])
def test_that_a_gateway_honours_keys_is_learnt_and_kept(said: str) -> None:
    made = core(honours_keys=False)
    played(_flow.ask(made, _calls.healthz()), [reply({}, Idempotency_Supported=said)])
    assert made.gateway.honours_keys is (said == "true")
    assert made.with_options(5, 1).gateway is made.gateway
    played(_flow.ask(made, _calls.healthz()), [reply({})])
    assert made.gateway.honours_keys is (said == "true")


def test_a_refusal_that_shows_it_counts_at_once() -> None:
    refusal = reply(status=503, Retry_After="2", Idempotency_Supported="true")
    record = played(_flow.ask(core(honours_keys=False), _calls.run("hi", timeout_secs=9)), [refusal, OK])
    assert record.slept_s == [2.5]


def test_tries_stay_within_the_callers_time() -> None:
    clock = Clock()
    flow = _flow.ask(core(clock=clock, margin_s=5), _calls.run("hi", timeout_secs=10))
    record = played(flow, [(6, CUT), (4, CUT), (1, OK)], clock=clock)
    assert [step.timeout_s for step in record.steps if isinstance(step, Send)] == [15, 8.5, 3.5]
    record = Played()
    clock.now_s = 0
    with pytest.raises(ForgeTransportError):
        flow = _flow.ask(core(clock=clock, margin_s=5), _calls.run("hi", timeout_secs=10))
        played(flow, [(14.6, CUT)], clock=clock, into=record)
    assert record.slept_s == []
    waits = reply(status=429, Retry_After="60")
    with pytest.raises(ForgeAPIError):
        flow = _flow.ask(core(clock=clock, margin_s=5), _calls.run("hi", timeout_secs=10))
        played(flow, [(0, waits)], clock=clock, into=record)
    assert record.slept_s == []


def test_a_body_that_cannot_be_sent_again_is_not() -> None:
    pipe = _bodies.form(Source(io.BytesIO(b"x" * 2_000_000), None, None), "a", {}, "b" * 32)
    assert b"".join(pipe)
    record = Played()
    with pytest.raises(ForgeTransportError):
        played(_flow.ask(core(), _calls.upload(pipe)), [CUT], into=record)
    assert record.sent == ["POST /files"]


def test_errors_tell_what_was_asked_and_no_secret() -> None:
    with pytest.raises(ForgeTimeoutError, match="no answer within 9 s") as late:
        played(_flow.ask(core(retries=0), _calls.get_file("ff_secret-token")), [LATE])
    assert str(late.value).startswith("GET http://gateway.test/files/ff_…: ")
    cause = OSError("below")
    with pytest.raises(ForgeTransportError) as cut:
        played(_flow.ask(core(retries=0), _calls.healthz()), [Fault("gone", cause=cause)])
    assert cut.value.__cause__ is cause
    with pytest.raises(ForgeAPIError) as refused:
        played(_flow.ask(core(), _calls.healthz()), [reply({"detail": f"not {TOKEN}"}, 401)])
    assert TOKEN not in f"{refused.value}{refused.value.body}"


def test_lists_go_page_by_page() -> None:
    page = [reply({"runs": [{"run_id": n}], "next_cursor": after}) for n, after in ((1, "a"), (2, "b"), (3, None))]
    record = played(_flow.pages(core(), _calls.list_runs(), "runs", lambda row: row["run_id"]), page)
    assert record.items == [1, 2, 3]
    cursors = [step.call.params for step in record.steps if isinstance(step, Send)]
    assert cursors == [{}, {"cursor": "a"}, {"cursor": "b"}]
    with pytest.raises(ForgeProtocolError, match="circles"):
        played(_flow.pages(core(), _calls.list_runs(), "runs"), [page[0], page[0]])


def test_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "clawdforge")
    forbidden = "a prompt of mine"
    played(_flow.ask(core(), _calls.run(forbidden, timeout_secs=9)), [CUT, reply({}, X_Request_Id="req_1\x1b[2J")])
    played(_flow.ask(core(), _calls.get_file("ff_secret")), [OK])
    pipe = _bodies.FileBody(Source(io.BytesIO(b""), None, None), "x")
    played(_flow.ask(core(), _calls.put_file("sess_1", "a", pipe)), [OK])
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("POST /run (") and lines[0].endswith("bytes): Connection reset by peer in 0.0 ms")
    assert lines[1] == "POST /run is tried again in 0.5 s: Connection reset by peer"
    assert lines[2].endswith("bytes): HTTP 200 (req_1 [2J) in 0.0 ms")
    assert lines[3] == "GET /files/ff_… (no body): HTTP 200 in 0.0 ms"
    assert lines[4] == "PUT /sessions/sess_1/files/a (? bytes): HTTP 200 in 0.0 ms"
    assert forbidden not in caplog.text and "secret" not in caplog.text and TOKEN not in caplog.text


# --- what is left of an open answer --------------------------------------------------------------------------


def test_the_rest_of_an_answer() -> None:
    clock = Clock()
    made = core(clock=clock)
    record = played(_flow.rest(made, 9), [(2, b"ab"), (8, b"c"), b""], clock=clock)
    assert record.result == b"abc"
    # Of what comes too late only what is there already is taken.
    assert record.steps == [Read(9), Read(7), Read(0.001), Shut()]
    assert played(_flow.rest(made, 9), [b"ab", CUT]).result == CUT


# --- the workspace's files -----------------------------------------------------------------------------------


def fetch(sink: io.BytesIO, told: list[Any] | None = None, **settings: Any) -> Generator[Any, Any, None]:
    progress = None if told is None else lambda *now: told.append(now)
    return _workspace.fetch(core(**settings), "sess_1", "a/b", sink, progress)


def test_a_file_comes_in_pieces() -> None:
    sink, told = io.BytesIO(), []  # type: io.BytesIO, list[Any]
    sink.write(b"before:")
    record = played(fetch(sink, told), [reply(Content_Length="5"), b"hel", b"lo", b""])
    assert sink.getvalue() == b"before:hello"
    assert told == [(3, 5), (5, 5)]
    assert [type(step) for step in record.steps] == [Open, Read, Read, Read, Shut]


@pytest.mark.parametrize(
    "headers", [{}, {"Content_Length": "x"}, {"Content_Length": "3", "Content_Encoding": "gzip"}]
)
def test_a_file_of_which_nobody_knows_how_long_it_is(headers: dict[str, str]) -> None:
    sink, told = io.BytesIO(), []  # type: io.BytesIO, list[Any]
    played(fetch(sink, told), [reply(**headers), b"hello", b""])
    assert (sink.getvalue(), told) == (b"hello", [(5, None)])


def test_a_file_that_breaks_off_is_fetched_anew() -> None:
    sink = io.BytesIO()
    whole = reply(Content_Length="5")
    record = played(fetch(sink), [whole, b"hel", CUT, whole, b"hel", b"", whole, b"hey", b"yo", b""])
    assert sink.getvalue() == b"heyyo"
    assert record.slept_s == [0.5, 1]
    with pytest.raises(ForgeTransportError, match="ended before its end"):
        played(fetch(sink, retries=0), [whole, b"hel", b""])
    with pytest.raises(ForgeTransportError):
        played(fetch(sink, honours_keys=False), [whole, CUT])


def test_a_file_that_is_refused() -> None:
    sink = io.BytesIO(b"mine")
    with pytest.raises(ForgeAPIError, match="no such file"):
        played(fetch(sink), [reply({"detail": "no such file"}, 404)])
    assert sink.getvalue() == b"mine"


def test_an_entry_stands_for_its_path() -> None:
    def path_of(row: dict[str, Any]) -> str:
        entry = _api.workspace_entry(row)
        return _calls.delete_workspace_file("sess_1", entry, recursive=True).path

    assert path_of({"path": "a b/c"}) == "/sessions/sess_1/files/a%20b/c"
    assert path_of({"path": "a\ufffd", "encoded_path": "a%FF"}) == "/sessions/sess_1/files/a%FF"
