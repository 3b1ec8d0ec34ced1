"""The frozen surface of sessions: every call and field of the contract, and whose session it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge, ForgeAPIError
from harness.gateway import Gateway
from harness.http import Answer, ask
from harness.shapes import INT_OR_NULL, fits

CREATED = {"ok": bool, "session_id": str, "agent": str, "created_at": int, "cwd": str, "agent_cwd": str}
ROW = {
    "session_id": str,
    "app_name": str,
    "agent": str,
    "cwd": str,
    "created_at": int,
    "last_turn_at": INT_OR_NULL,
    "turn_count": int,
    "closed_at": INT_OR_NULL,
    "meta": dict,
}
INFO = {**{name: kind for name, kind in ROW.items() if name != "app_name"}, "ok": bool, "live": bool}
TURN = {
    "ok": bool,
    "session_id": str,
    "turn_index": int,
    "events": list,
    "stop_reason": str,
    "duration_ms": int,
}


def test_a_new_session_tells_what_the_contract_says(app: Forge) -> None:
    before = int(time.time())
    answer = ask(app, "POST", "/sessions", {"agent": "fake", "meta": {"k": [1, "é"]}})
    assert answer.status == 200
    fits(answer.body, CREATED)
    created = answer.body
    assert created["ok"] is True
    assert created["session_id"].startswith("sess_")
    assert created["agent"] == "fake"
    assert before <= created["created_at"] <= time.time()
    assert Path(created["cwd"]).is_dir()
    assert list(Path(created["cwd"]).iterdir()) == []


def test_two_sessions_share_neither_id_nor_workspace(app: Forge) -> None:
    first, second = app.create_session(agent="fake"), app.create_session(agent="fake")
    assert first.session_id != second.session_id
    assert first.cwd != second.cwd


def test_a_session_tells_its_state_before_and_after_its_turns(app: Forge) -> None:
    meta = {"nested": {"list": [1, 2.5, None, True, "ünïcode"]}, "": ""}
    session = app.create_session(agent="fake", meta=meta)
    fresh = session.state()
    fits(fresh, INFO)
    assert fresh["meta"] == meta
    assert (fresh["turn_count"], fresh["last_turn_at"]) == (0, None)
    assert (fresh["live"], fresh["closed_at"]) == (True, None)
    before = int(time.time())
    session.turn("hello")
    used = session.state()
    assert used["turn_count"] == 1
    assert before <= used["last_turn_at"] <= time.time()
    session.close()
    closed = session.state()
    fits(closed, INFO)
    assert (closed["live"], closed["turn_count"], closed["meta"]) == (False, 1, meta)
    assert before <= closed["closed_at"] <= time.time()


def test_a_session_without_meta_has_an_empty_one(app: Forge) -> None:
    assert app.create_session(agent="fake").state()["meta"] == {}


def test_a_turn_tells_what_the_contract_says(app: Forge) -> None:
    session = app.create_session(agent="fake")
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "hello", "timeout_secs": 60})
    assert answer.status == 200
    fits(answer.body, TURN)
    assert answer.body["session_id"] == session.session_id
    assert (answer.body["ok"], answer.body["turn_index"], answer.body["stop_reason"]) == (True, 1, "end_turn")
    [text] = answer.body["events"]
    assert (text["type"], text["content"]) == ("text", "turn 1: hello")


def test_the_events_that_apps_know_have_their_fields(app: Forge) -> None:
    session = app.create_session(agent="fake")
    turn = session.turn('[[THINK hm]][[TOOL look {"a": 1}]][[SAY seen]]')
    thinking, tool, text = turn.events
    assert (thinking["type"], thinking["content"]) == ("thinking", "hm")
    assert (tool["type"], tool["name"], tool["args"]) == ("tool_call", "look", {"a": 1})
    assert tool["result"] == {"echo": {"a": 1}}
    assert (text["type"], text["content"]) == ("text", "seen")
    assert turn.text() == "seen"


def test_one_agent_serves_all_turns_of_a_session(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert [session.turn("hi").text() for _ in range(3)] == [f"turn {number}: hi" for number in (1, 2, 3)]


def test_turns_are_counted_failed_ones_too(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert session.turn("one").turn_index == 1
    with pytest.raises(ForgeAPIError) as raised:
        session.turn("[[ERROR -32603 no]]")
    assert raised.value.turn_index == 2
    with pytest.raises(ForgeAPIError) as raised:
        session.turn("[[EXIT 1]]")
    assert raised.value.turn_index == 3
    assert session.turn("four").turn_index == 4
    assert session.state()["turn_count"] == 4


def test_a_turn_that_was_not_accepted_is_not_counted(app: Forge) -> None:
    session = app.create_session(agent="fake")
    path = f"/sessions/{session.session_id}/turn"
    for body in ({}, {"prompt": ""}, {"prompt": 7}, {"prompt": "x", "unknown": 1}, {"prompt": "x", "schema": 1}):
        assert ask(app, "POST", path, body).problem() == (422, "invalid")
    assert ask(app, "POST", path, {"prompt": "x", "schema": {"type": 7}}).problem() == (422, "invalid")
    assert session.state()["turn_count"] == 0
    assert session.turn("hi").turn_index == 1


def test_the_list_has_the_app_s_sessions_newest_first(app: Forge) -> None:
    sessions = [app.create_session(agent="fake", meta={"n": number}) for number in range(4)]
    sessions[1].close()
    listed = app.list_sessions()
    assert (listed["ok"], listed["count"]) == (True, 4)
    for row in listed["sessions"]:
        fits(row, ROW)
    assert [row["session_id"] for row in listed["sessions"]] == [each.session_id for each in reversed(sessions)]
    assert [row["meta"]["n"] for row in listed["sessions"]] == [3, 2, 1, 0]
    still_open = app.list_sessions(include_closed=False)
    assert [row["meta"]["n"] for row in still_open["sessions"]] == [3, 2, 0]
    assert still_open["count"] == 3


def test_a_list_with_a_limit_comes_in_pages_that_miss_and_repeat_nothing(app: Forge) -> None:
    made = [app.create_session(agent="fake").session_id for _ in range(5)]
    found, cursor = [], ""
    sizes = []
    while cursor is not None:
        page = ask(app, "GET", f"/sessions?limit=2{cursor and '&cursor='}{cursor}").body
        assert page["count"] == len(page["sessions"])
        sizes.append(page["count"])
        found += [row["session_id"] for row in page["sessions"]]
        cursor = page["next_cursor"]
    assert found == made[::-1]
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=1&limit=2", "cursor=!", "x=1"])
def test_a_list_refuses_what_it_does_not_know(app: Forge, query: str) -> None:
    assert ask(app, "GET", f"/sessions?{query}").problem() == (422, "invalid")


def test_a_list_knows_only_true_and_false(app: Forge) -> None:
    assert ask(app, "GET", "/sessions?include_closed=yes").problem() == (422, "invalid")


def test_closing_answers_the_same_on_every_repeat(app: Forge) -> None:
    session = app.create_session(agent="fake")
    path = f"/sessions/{session.session_id}"
    first, second = ask(app, "DELETE", path), ask(app, "DELETE", path)
    assert first.status == second.status == 200
    assert first.raw == second.raw
    assert first.body["ok"] is True


def test_a_closed_session_takes_no_turn(app: Forge) -> None:
    session = app.create_session(agent="fake")
    session.close()
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "hi"})
    assert answer.problem() == (410, "session_closed")


def test_an_agent_that_nobody_knows_is_refused_by_names(app: Forge) -> None:
    answer = ask(app, "POST", "/sessions", {"agent": "nobody"})
    assert answer.problem() == (422, "invalid")
    assert all(name in answer.body["detail"] for name in ("claude", "codex", "gemini", "local", "fake"))
    assert answer.body["errors"][0]["loc"] == ["agent"]


def test_an_agent_that_is_not_installed_is_told_with_what_to_do(app: Forge) -> None:
    answer = ask(app, "POST", "/sessions", {"agent": "absent"})
    assert answer.problem() == (503, "agent_unavailable")
    assert "no-program-has-this-name" in answer.body["detail"]
    assert "[agents.absent] argv" in answer.body["detail"]
    assert app.list_sessions()["count"] == 0


ROUTES = [
    ("GET", "/sessions/{id}", None),
    ("DELETE", "/sessions/{id}", None),
    ("POST", "/sessions/{id}/turn", {"prompt": "hi"}),
]


@pytest.mark.guarantee
@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_another_app_s_session_is_answered_as_one_that_never_was(
    gateway: Gateway, app: Forge, method: str, path: str, body: Any, closed: bool
) -> None:
    session = app.create_session(agent="fake")
    if closed:
        session.close()
    with gateway.app(f"stranger-{session.session_id}") as stranger:
        foreign = ask(stranger, method, path.format(id=session.session_id), body)
        never = ask(stranger, method, path.format(id="sess_" + "0" * 32), body)
    assert foreign.problem() == never.problem() == (404, "not_found")
    assert (
        without_request_id(foreign)
        == without_request_id(never)
        == {
            "detail": "session not found",
            "code": "not_found",
        }
    )
    assert session.state()["turn_count"] == 0
    assert session.state()["live"] is not closed


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_a_run_is_no_session(app: Forge, method: str, path: str, body: Any) -> None:
    run = app.run("hi", agent="fake")
    answer = ask(app, method, path.format(id=run.session_id), body)
    assert answer.problem() == (404, "not_found")
    assert app.list_sessions()["count"] == 0


def test_a_stranger_s_list_is_empty(gateway: Gateway, app: Forge) -> None:
    session = app.create_session(agent="fake")
    with gateway.app(f"stranger-{session.session_id}") as stranger:
        assert stranger.list_sessions() == {"ok": True, "sessions": [], "count": 0, "next_cursor": None}


def without_request_id(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.body.items() if name != "request_id"}
