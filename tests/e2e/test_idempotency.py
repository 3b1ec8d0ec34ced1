"""One ask, one turn: the same `Idempotency-Key` again, whatever happened meanwhile, does nothing again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from harness import http
from harness.agents import NewGateway
from harness.gateway import Gateway
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.prompts import DETACHED, STREAMED, ended, events_of, post

LIMIT_CHARS = 255


def key(value: str) -> dict[str, str]:
    return {"Idempotency-Key": value}


def path(session: Session) -> str:
    return f"/sessions/{session.session_id}/turn"


def replayed(answer: Answer) -> bool:
    assert answer.headers["idempotency-supported"] == "true"
    told = answer.headers.get("idempotent-replayed")
    assert told in (None, "true")
    return told == "true"


@pytest.mark.guarantee
@pytest.mark.parametrize("prompt", ["[[SAY once {}]]", "[[SAY once {}]][[EXIT 3]]", "[[STOP refusal]]"])
def test_the_same_again_is_answered_the_same_and_no_agent_hears_of_it(
    app: Forge, gateway: Gateway, prompt: str
) -> None:
    session = app.create_session(agent="fake")
    body = {"prompt": prompt.format(session.session_id)}
    first = post(app, path(session), body, key("one"))
    again = [post(app, path(session), body, key("one")) for _ in range(3)]
    assert [replayed(each) for each in (first, *again)] == [False, True, True, True]
    for each in again:
        assert each.status == first.status
        assert {**each.body, "request_id": None} == {**first.body, "request_id": None}
    assert gateway.heard(body["prompt"]) == 1 or session.session_id not in prompt
    assert session.state()["turn_count"] == 1
    assert post(app, path(session), body, key("two")).body["turn_index"] == 2


@pytest.mark.guarantee
def test_two_equal_asks_at_once_are_one_turn_and_both_hear_of_it(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")
    body = {"prompt": f"[[SAY {session.session_id}]][[SLEEP 0.5]][[SAY  done]]"}
    answers = list(pool.map(lambda _: post(app, path(session), body, key("one")), range(8)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.body["turn_index"] for answer in answers} == {1}
    assert sorted(replayed(answer) for answer in answers) == [False] + [True] * 7
    assert gateway.heard(session.session_id) == 1


@pytest.mark.guarantee
def test_who_asks_again_in_another_way_follows_the_same_turn(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")
    body = {"prompt": f"[[SAY {session.session_id}]][[SLEEP 0.5]][[SAY  done]]"}
    first = post(app, path(session), body, {**key("one"), **DETACHED})
    assert (first.status, replayed(first)) == (202, False)
    streamed = pool.submit(post, app, path(session), body, {**key("one"), **STREAMED})
    blocking = post(app, path(session), body, key("one"))
    assert (blocking.status, replayed(blocking), blocking.body["turn_index"]) == (200, True, 1)
    assert replayed(streamed.result())
    events = events_of(streamed.result())
    assert [events[0]["type"], events[-1]["type"]] == ["turn_start", "turn_end"]
    assert gateway.heard(session.session_id) == 1
    later = post(app, path(session), body, {**key("one"), **STREAMED})
    assert events_of(later) == events


@pytest.mark.guarantee
@pytest.mark.parametrize(
    "other",
    [{"prompt": "another"}, {"prompt": "one", "timeout_secs": 5}, {"prompt": "one", "delivery": "queue"}],
    ids=["prompt", "time", "delivery"],
)
def test_a_key_that_is_used_for_something_else_is_refused(app: Forge, other: dict[str, Any]) -> None:
    session = app.create_session(agent="fake")
    assert post(app, path(session), {"prompt": "one"}, key("one")).status == 200
    assert post(app, path(session), other, key("one")).problem() == (409, "idempotency_mismatch")
    assert post(app, "/run", {"prompt": "one", "agent": "fake"}, key("one")).problem() == (
        409,
        "idempotency_mismatch",
    )
    other_session = app.create_session(agent="fake")
    assert post(app, path(other_session), {"prompt": "one"}, key("one")).problem() == (409, "idempotency_mismatch")
    assert session.state()["turn_count"] == 1


def test_how_a_body_is_written_makes_no_difference(app: Forge) -> None:
    session = app.create_session(agent="fake")
    first = post(app, path(session), {"prompt": "größe", "timeout_secs": 60}, key("one"))
    connection = http.connect(app.base_url)
    raw = ' {"timeout_secs":60 , "prompt" : "größe"}'.encode()
    head = {"Authorization": f"Bearer {app._config.token}", "Content-Type": "application/json", **key("one")}
    connection.request("POST", path(session), raw, head)
    again = http.receive(connection)
    connection.close()
    assert (first.status, again.status, replayed(again)) == (200, 200, True)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "two words",
        "a\tb",
        "x" * (LIMIT_CHARS + 1),
        "schlüssel",
        "ключ".encode().decode("latin-1"),
    ],
)
def test_a_key_that_is_none_is_refused_and_nothing_is_asked(app: Forge, value: str) -> None:
    session = app.create_session(agent="fake")
    assert post(app, path(session), {"prompt": "hi"}, key(value)).problem() == (422, "invalid")
    assert session.state()["turn_count"] == 0


def test_a_key_of_a_megabyte_is_refused_with_its_head(app: Forge) -> None:
    session = app.create_session(agent="fake")
    with suppress(OSError, http.HTTPException):  # it may be cut off while it is still sent
        answer = post(app, path(session), {"prompt": "hi"}, key("x" * 1_000_000))
        assert answer.problem() == (431, "headers_too_large")
    assert session.state()["turn_count"] == 0
    assert session.turn("hi").turn_index == 1


def test_two_keys_are_none(app: Forge) -> None:
    session = app.create_session(agent="fake")
    connection = http.connect(app.base_url)
    connection.putrequest("POST", path(session))
    for name, value in (("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("Content-Length", "15")):
        connection.putheader(name, value)
    connection.putheader("Authorization", f"Bearer {app._config.token}")
    connection.putheader("Content-Type", "application/json")
    connection.endheaders(b'{"prompt":"hi"}')
    assert http.receive(connection).problem() == (422, "invalid")
    connection.close()
    assert session.state()["turn_count"] == 0


@pytest.mark.parametrize("value", ["x", "x" * LIMIT_CHARS, "!~'\"\\%00../"])
def test_any_printable_word_is_a_key(app: Forge, value: str) -> None:
    session = app.create_session(agent="fake")
    answers = [post(app, path(session), {"prompt": "hi"}, key(value)) for _ in range(2)]
    assert [(each.status, replayed(each)) for each in answers] == [(200, False), (200, True)]


@pytest.mark.guarantee
def test_another_app_s_same_key_is_its_own(app: Forge, gateway: Gateway) -> None:
    body = {"prompt": "[[SAY mine]]", "agent": "fake"}
    mine = post(app, "/run", body, key("shared"))
    with gateway.app(f"other-{mine.body['run_id']}") as other:
        theirs = post(other, "/run", body, key("shared"))
        assert (theirs.status, replayed(theirs)) == (200, False)
        assert theirs.body["run_id"] != mine.body["run_id"]
        assert post(other, "/run", {**body, "prompt": "x"}, key("shared")).problem() == (
            409,
            "idempotency_mismatch",
        )
    again = post(app, "/run", body, key("shared"))
    assert (replayed(again), again.body["run_id"]) == (True, mine.body["run_id"])


@pytest.mark.guarantee
def test_a_session_is_made_once(app: Forge, pool: ThreadPoolExecutor) -> None:
    body = {"agent": "fake", "meta": {"n": 1}}
    answers = list(pool.map(lambda _: post(app, "/sessions", body, key("one")), range(4)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["session_id"] for answer in answers}) == 1
    assert sorted(replayed(answer) for answer in answers) == [False, True, True, True]
    assert app.list_sessions()["count"] == 1
    assert post(app, "/sessions", {**body, "meta": {}}, key("one")).problem() == (409, "idempotency_mismatch")


def test_what_was_refused_has_not_used_its_key(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert post(app, path(session), {"prompt": "hi", "files": ["ff_no"]}, key("one")).problem()[0] == 404
    assert post(app, path(session), {"prompt": ""}, key("one")).problem() == (422, "invalid")
    answer = post(app, path(session), {"prompt": "hi"}, key("one"))
    assert (answer.status, replayed(answer)) == (200, False)


def test_one_that_waits_is_waited_for_once(app: Forge, gateway: Gateway, pool: ThreadPoolExecutor) -> None:
    session = app.create_session(agent="fake")
    first = pool.submit(post, app, path(session), {"prompt": f"[[SAY {session.session_id}]][[SLEEP 0.5]]"})
    gateway.until_heard(session.session_id)
    body = {"prompt": f"second {session.session_id}", "delivery": "queue"}
    waiting = [post(app, path(session), body, {**key("two"), **DETACHED}) for _ in range(2)]
    assert [(each.status, replayed(each)) for each in waiting] == [(202, False), (202, True)]
    assert {each.body["turn_index"] for each in waiting} == {2}
    assert first.result().status == 200
    assert ended(app, session.session_id, 2)["stop_reason"] == "end_turn"
    assert gateway.heard(f"second {session.session_id}") == 1


@pytest.mark.guarantee
@pytest.mark.parametrize("way", [{}, DETACHED], ids=["blocking", "detached"])
def test_a_retry_after_the_gateway_was_killed_hears_of_the_first_and_prompts_nobody(
    new_gateway: NewGateway, pool: ThreadPoolExecutor, way: dict[str, str]
) -> None:
    gateway = new_gateway().start()
    app = gateway.app()
    done, cut = app.create_session(agent="fake"), app.create_session(agent="fake")
    well, badly = {"prompt": "[[SAY whole]][[TOOL t {}]]"}, {"prompt": "[[SAY begun]][[HANG]]"}
    first = post(app, path(done), well, key("done"))
    asked = pool.submit(post, app, path(cut), badly, {**key("cut"), **way})
    gateway.until_heard("begun")
    gateway.kill()
    assert way == DETACHED or isinstance(asked.exception(), (OSError, http.HTTPException))
    app.close()
    for _ in range(2):
        gateway.start()
        with Forge(base_url=gateway.url, token=app._config.token) as later:
            again = post(later, path(done), well, key("done"))
            assert (again.status, replayed(again), again.body) == (200, True, first.body)
            lost = post(later, path(cut), badly, key("cut"))
            assert (lost.problem(), replayed(lost)) == ((502, "interrupted"), True)
            assert (lost.body["turn_index"], lost.body["stop_reason"]) == (1, "interrupted")
            assert ask(later, "GET", f"/sessions/{cut.session_id}").body["turn_count"] == 1
        gateway.stop()
    assert [gateway.heard("begun"), gateway.heard("whole")] == [1, 1]
    assert [each["stop_reason"] for each in Ledger(gateway.data_dir).turns(cut.session_id)] == ["interrupted"]
