"""A turn or run whose own POST is answered by its events as they come: those alone, all of them, then the end."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from clawdforge import Forge
from clawdforge.wire.events import Event
from clawdforge.wire.fold import Fold
from harness import prompts
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger
from harness.prompts import cancel, ended, record, run_streamed, running, text, turn_streamed
from harness.streams import Stream, page

Row = dict[str, Any]
HEAD_FIELDS = ("seq", "type", "turn_index", "ts")
BUSY = "[[THINK hm]] [[TOOL look {}]] [[PLAN a|b]] [[SAY one]] [[ASK read -]] [[SAY é 𝄞]] [[FLOOD 300]]"


def folded(events: list[Row]) -> list[Row]:
    """What a blocking answer would have of these."""
    fold = Fold()
    for each in events:
        data = {name: value for name, value in each.items() if name not in HEAD_FIELDS}
        fold.add(Event(each["seq"], each["type"], each["turn_index"], each["ts"], data))
    return json.loads(json.dumps(fold.result()))  # type: ignore[no-any-return]


def log(app: Forge, session_id: str, turn_index: int) -> list[Row]:
    """A turn's events, as pages have them."""
    found: list[Row] = []
    while events := page(app, session_id, f"?after={found[-1]['seq'] if found else 0}").body["events"]:
        found += events
    return [event for event in found if event["turn_index"] == turn_index]


@pytest.fixture
def session_id(app: Forge) -> str:
    return app.create_session(agent="fake").session_id


# --- what comes ---------------------------------------------------------------------------------------------


def test_the_stream_of_a_prompt_is_its_turn_from_start_to_end_and_nothing_else(
    app: Forge, session_id: str
) -> None:
    prompts.turn(app, session_id, "before")
    with turn_streamed(app, session_id, BUSY) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["idempotency-supported"] == "true"
        assert "idempotent-replayed" not in stream.headers
        assert stream.headers["location"] == f"/sessions/{session_id}/turns/2"
        seen = [*stream.events()]
    assert seen == log(app, session_id, 2)
    assert (seen[0]["type"], seen[-1]["type"]) == ("turn_start", "turn_end")
    assert (seen[0]["prompt"], seen[-1]["stop_reason"]) == (BUSY, "end_turn")
    assert {event["turn_index"] for event in seen} == {2}


@pytest.mark.guarantee
def test_a_streamed_turn_folds_to_what_a_blocking_one_answers(app: Forge, session_id: str) -> None:
    with turn_streamed(app, session_id, BUSY) as stream:
        seen = [*stream.events()]
    told = record(app, session_id, 1)
    assert folded(seen) == told["events"]
    blocking = prompts.turn(app, session_id, BUSY).body
    changing = ("seq", "ts", "turn_index", "id", "tool_call_id", "permission_id", "expires_at", "message_id")

    def alike(events: list[Row]) -> list[Row]:
        return [{name: each[name] for name in each if name not in changing} for each in events]

    assert alike(told["events"]) == alike(blocking["events"])
    assert told["usage"].keys() == blocking["usage"].keys()


def test_an_event_comes_while_the_turn_still_runs(app: Forge, session_id: str) -> None:
    with turn_streamed(app, session_id, "[[SAY soon]] [[HANG]]") as stream:
        assert text(stream.until("text")) == "soon"
        assert record(app, session_id, 1)["status"] == "running"
        assert prompts.cancel(app, session_id).body == {"ok": True, "cancelled": True, "turn_index": 1}
        assert [event["type"] for event in stream.events()] == ["turn_end"]


def test_a_streamed_run_ends_with_its_turn(app: Forge) -> None:
    with run_streamed(app, '[[JSON {"a": 1}]]') as stream:
        where = stream.headers["location"]
        seen = [*stream.events()]
    assert (seen[0]["type"], seen[-1]["type"]) == ("turn_start", "turn_end")
    row = ask(app, "GET", "/runs").body["runs"][0]
    assert where == f"/runs/{row['run_id']}"
    assert ask(app, "GET", where).body["result"] == {"a": 1}
    assert seen == log(app, row["run_id"], 1)


def test_other_turns_and_what_is_of_no_turn_stay_out_of_the_stream(
    app: Forge, session_id: str, pool: ThreadPoolExecutor
) -> None:
    with turn_streamed(app, session_id, "[[SAY one]] [[SLEEP 0.3]] [[LATE after the answer]]") as stream:
        stream.until("text")
        later = pool.submit(prompts.turn, app, session_id, "two", delivery="queue")
        seen = [*stream.events()]
        assert later.result().status == 200
    assert {event["turn_index"] for event in seen} == {1}
    assert seen[-1]["type"] == "turn_end"
    assert "turn_queued" not in {event["type"] for event in seen}


# --- a client that goes -------------------------------------------------------------------------------------


def cuts(raw: bytes) -> Iterator[int]:
    """Where to hang up: before anything came, within the head, between and within frames, at the end."""
    yield from (0, 1, raw.index(b"\r\n\r\n"))
    first = raw.index(b"id:")
    yield from (first, first + 4, raw.index(b"\n\n", first) + 1, len(raw) // 2, len(raw) - 1)


def posted(app: Forge, session_id: str, prompt: str, key: str) -> socket.socket:
    """A streamed prompt on a bare socket."""
    parts = urlsplit(app.base_url)
    body = json.dumps({"prompt": prompt}).encode()
    head = (
        f"POST /sessions/{session_id}/turn HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {app._config.token}\r\n"
        f"Accept: text/event-stream\r\nContent-Type: application/json\r\nIdempotency-Key: {key}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
    connection.sendall(head.encode() + body)
    return connection


def read(connection: socket.socket, count: int) -> bytes:
    """So many bytes, or all there are."""
    data = b""
    while len(data) < count and (piece := connection.recv(count - len(data))):
        data += piece
    return data


@pytest.mark.guarantee
def test_a_client_that_hangs_up_at_any_byte_finds_its_turn_again(app: Forge, session_id: str) -> None:
    prompt = "[[SAY one]] [[TOOL look {}]] [[SAY two]]"
    with posted(app, session_id, prompt, uuid.uuid4().hex) as connection:
        whole = read(connection, 1 << 20)
    places = [*cuts(whole)]
    for index, place in enumerate(places, start=2):
        key = uuid.uuid4().hex
        with posted(app, session_id, prompt, key) as connection:
            read(connection, place)
        until(lambda: len(prompts.statuses(app, session_id)) == index, f"turn {index} to be accepted")  # noqa: B023
        told = ended(app, session_id, index)
        assert (told["stop_reason"], text(told["events"])) == ("end_turn", "onetwo")
        with turn_streamed(app, session_id, prompt, key=key) as stream:
            assert stream.headers["idempotent-replayed"] == "true"
            assert [*stream.events()] == log(app, session_id, index)
    assert len(prompts.statuses(app, session_id)) == len(places) + 1


def test_a_cut_stream_goes_on_in_the_session_s_own(app: Forge, session_id: str) -> None:
    with turn_streamed(app, session_id, "[[RATE 60 300]]") as stream:
        seen = stream.until("text")
    with Stream(app, session_id, headers={"Last-Event-ID": str(seen[-1]["seq"])}) as rest:
        seen += rest.until("turn_end")
    assert seen == log(app, session_id, 1)
    assert text(seen).split() == [str(number) for number in range(60)]


def test_a_cut_stream_is_joined_by_the_same_post_while_the_turn_runs(app: Forge, session_id: str) -> None:
    with turn_streamed(app, session_id, "[[SAY soon]] [[HANG]]", key="again") as stream:
        seen = stream.until("text")
    with turn_streamed(app, session_id, "[[SAY soon]] [[HANG]]", key="again") as joined:
        assert joined.headers["idempotent-replayed"] == "true"
        assert joined.headers["location"] == f"/sessions/{session_id}/turns/1"
        assert joined.until("text") == seen
        prompts.cancel(app, session_id)
        seen += joined.until("turn_end")
    assert seen == log(app, session_id, 1)


def test_a_reader_that_does_not_read_costs_the_turn_and_the_others_nothing(app: Forge, session_id: str) -> None:
    flood = "[[FLOOD 60000]]"
    with turn_streamed(app, session_id, flood, key="slow") as slow, Stream(app, session_id) as quick:
        live = quick.until("turn_end")
        assert record(app, session_id, 1)["status"] == "done"  # and nobody has read a byte of the other
        assert prompts.turn(app, session_id, "[[SAY next]]").status == 200
        seen = [*slow.events()]
    assert text(seen) == text(live) == "".join(f"{number} " for number in range(60000))
    assert {event["turn_index"] for event in seen} == {1}


# --- what fails ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, (422, "invalid")),
        ({"prompt": "hi", "timeout_secs": 0}, (422, "invalid")),
        ({"prompt": "hi", "schema": {"type": "nonsense"}}, (422, "invalid")),
        ({"prompt": "hi", "files": ["ff_nothing"]}, (404, "not_found")),
    ],
)
def test_what_is_refused_before_the_prompt_is_let_in_is_no_stream(
    app: Forge, session_id: str, body: Row, found: tuple[int, str]
) -> None:
    with Stream(app, post=f"/sessions/{session_id}/turn", body=body) as stream:
        assert stream.headers["content-type"] == "application/json"
        assert stream.refused() == found
    assert prompts.statuses(app, session_id) == []


def test_a_stream_into_a_busy_closed_or_foreign_session_is_refused(
    app: Forge, gateway: Gateway, session_id: str
) -> None:
    with turn_streamed(app, session_id, "[[SAY on]] [[HANG]]") as stream:
        stream.until("text")
        assert turn_streamed(app, session_id, "two").refused() == (409, "turn_in_progress")
        with gateway.app(f"stranger-{uuid.uuid4().hex}") as stranger:
            assert turn_streamed(stranger, session_id, "three").refused() == (404, "not_found")
        app.attach_session(session_id).close()
        assert [event["type"] for event in stream.events()][-1] == "turn_end"
    assert turn_streamed(app, session_id, "four").refused() == (410, "session_closed")
    assert prompts.statuses(app, session_id) == [("done", "cancelled")]


def test_a_run_of_an_agent_that_cannot_be_is_no_stream(app: Forge) -> None:
    assert run_streamed(app, "hi", agent="nobody").refused() == (422, "invalid")
    assert run_streamed(app, "hi", agent="absent").refused() == (503, "agent_unavailable")
    assert ask(app, "GET", "/runs").body["runs"] == []


@pytest.mark.parametrize(
    ("prompt", "more", "reason", "code"),
    [
        ("[[SAY a]] [[EXIT 3]]", {}, "agent_failed", "agent_failed"),
        ("[[SAY a]] [[ERROR -32603 no]]", {}, "agent_failed", "agent_failed"),
        ("[[SAY a]] [[HANG]]", {"timeout_secs": 1}, "timeout", "timeout"),
    ],
)
def test_what_fails_after_the_prompt_was_let_in_is_told_by_the_stream(
    app: Forge, session_id: str, prompt: str, more: Row, reason: str, code: str
) -> None:
    with turn_streamed(app, session_id, prompt, **more) as stream:
        assert stream.response.status == 200
        *_, error, end = stream.events()
    assert (error["type"], error["code"]) == ("error", code)
    assert (end["type"], end["stop_reason"], end["ok"]) == ("turn_end", reason, False)
    assert record(app, session_id, 1)["error"] == {"code": code, "detail": error["detail"]}


def test_an_agent_that_does_not_start_is_told_by_the_stream_of_its_run(app: Forge) -> None:
    with run_streamed(app, "hi", agent="fake-exit1") as stream:
        seen = [*stream.events()]
    assert [event["type"] for event in seen] == ["turn_start", "error", "turn_end"]
    assert seen[-1]["stop_reason"] == "agent_failed"


# --- how many -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "found"),
    [({"max_streams_per_app": 1}, (429, "rate_limited")), ({"max_streams": 1}, (503, "overloaded"))],
)
def test_a_stream_too_many_is_refused_before_its_prompt_is_let_in(
    new_gateway: NewGateway, settings: Row, found: tuple[int, str], pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings=settings).start()
    with gateway.app() as app:
        sessions = [app.create_session(agent="fake").session_id for _ in range(6)]
        opened = [pool.submit(turn_streamed, app, each, "[[SAY heard]] [[HANG]]") for each in sessions]
        streams = [each.result() for each in opened]
        [let_in] = [each for each in streams if each.response.status == 200]
        assert {each.refused() for each in streams if each is not let_in} == {found}
        for refused in (turn_streamed(app, sessions[0], "not heard"), run_streamed(app, "not heard")):
            assert refused.headers["retry-after"]
            assert refused.refused() == found
        assert sum(len(prompts.statuses(app, each)) for each in sessions) == 1
        [busy] = [each for each in sessions if prompts.statuses(app, each)]
        assert text(let_in.until("text")) == "heard"
        cancel(app, busy)
        assert [*let_in.events()][-1]["type"] == "turn_end"
        let_in.close()
    assert gateway.heard("not heard") == 0
    assert gateway.stop() == 0


def test_a_stream_that_has_nothing_to_tell_shows_that_it_lives(tight_app: Forge, pool: ThreadPoolExecutor) -> None:
    session_id = tight_app.create_session(agent="fake").session_id
    first = running(pool, tight_app, session_id, "[[HANG]]")
    with turn_streamed(tight_app, session_id, "waits", delivery="queue") as stream:
        seen = b""
        while seen.count(b"\n:") < 3:
            seen += stream.more()
        cancel(tight_app, session_id)
        rest = [event["type"] for event in stream.events()]
    assert (seen.count(b"event: "), rest[0], rest[-1]) == (1, "turn_start", "turn_end")
    assert first.result().body["stop_reason"] == "cancelled"


@pytest.mark.parametrize(
    ("accept", "streamed"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("application/json, text/event-stream", True),
        ("*/*", False),
        ("text/*", False),
        ("text/event-streams", False),
        ("", False),
    ],
)
def test_a_stream_is_what_is_named(app: Forge, session_id: str, accept: str, streamed: bool) -> None:
    path, body = f"/sessions/{session_id}/turn", {"prompt": "hi"}
    found = ask(app, "POST", path, body, {"Accept": accept})
    assert (found.status, found.headers["content-type"].startswith("text/event-stream")) == (200, streamed)


def test_a_prompt_that_is_refused_gives_its_place_back(tight_app: Forge) -> None:
    session_id = tight_app.create_session(agent="fake").session_id
    for _ in range(3):
        assert turn_streamed(tight_app, session_id, "hi", files=["ff_none"]).refused() == (404, "not_found")
    with turn_streamed(tight_app, session_id, "hi") as stream:
        assert text([*stream.events()]) == "turn 1: hi"
    with turn_streamed(tight_app, session_id, "ho") as stream:
        assert text([*stream.events()]) == "turn 2: ho"


def test_a_revoked_token_ends_the_stream_and_not_the_turn(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app("revoked") as app, gateway.admin() as admin:
        session_id = app.create_session(agent="fake").session_id
        with turn_streamed(app, session_id, "[[SAY on]] [[SLEEP 0.5]] [[SAY  and on]]") as stream:
            stream.until("text")
            admin.revoke_token("revoked")
            assert "turn_end" not in [event["type"] for event in stream.events()]
    found = Ledger(gateway.data_dir)
    until(lambda: found.turns(session_id)[0]["status"] == "done", "the turn to end")
    said = [each["data"]["content"] for each in found.events(session_id) if each["type"] == "text"]
    assert "".join(said) == "on and on"
    assert gateway.stop() == 0


def test_a_gateway_that_stops_lets_a_streamed_turn_end(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"drain_timeout_secs": 30}).start()
    with gateway.app() as app:
        session_id = app.create_session(agent="fake").session_id
        with turn_streamed(app, session_id, "[[SAY begun]] [[SLEEP 0.5]] [[SAY ended]]") as stream:
            seen = stream.until("text")
            assert gateway.stop() == 0
            seen += stream.events()
    assert (text(seen), seen[-1]["type"], seen[-1]["stop_reason"]) == ("begunended", "turn_end", "end_turn")


def test_a_streamed_turn_that_the_gateway_cuts_off_is_told_so(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"drain_timeout_secs": 0.2}).start()
    with gateway.app() as app:
        session_id = app.create_session(agent="fake").session_id
        with turn_streamed(app, session_id, "[[SAY begun]] [[HANG]]") as stream:
            stream.until("text")
            assert gateway.stop() == 0
            seen = [*stream.events()]
    assert [event["type"] for event in seen] == ["error", "turn_end"]
    assert seen[-1]["stop_reason"] == "interrupted"
    assert Ledger(gateway.data_dir).turns(session_id)[0]["stop_reason"] == "interrupted"
