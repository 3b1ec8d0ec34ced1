"""`/runs`: every run has a record, from its start on: its state, how it ended, and its result."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from clawdforge import Forge
from harness import agents
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger

NEVER = "run_" + "0" * 32


def listed(app: Forge, **query: Any) -> dict[str, Any]:
    """A page of the app's runs."""
    given = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
    return ask(app, "GET", f"/runs?{given}").body


def plain(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.body.items() if name != "request_id"}


def test_a_run_answers_its_id_and_its_record_tells_the_same(app: Forge) -> None:
    before = int(time.time())
    run = app.run('[[TOOL look {}]][[JSON {"n": [1, "é"]}]][[USAGE]]', agent="fake", model="fake-small")
    assert run.run_id is not None and run.run_id.startswith("run_")
    record = app.get_run(run.run_id)
    created_at = record.pop("created_at")
    assert before <= created_at <= int(time.time())
    assert record == {
        "run_id": run.run_id,
        "status": "done",
        "agent": "fake",
        "model": "fake-small",
        "ok": True,
        "stop_reason": "end_turn",
        "duration_ms": run.duration_ms,
        "error": None,
        "usage": run.usage,
        "result": {"n": [1, "é"]},
    }
    [row] = listed(app)["runs"]
    assert row == {name: value for name, value in {**record, "created_at": created_at}.items() if name != "result"}


@pytest.mark.parametrize("said", ["plain words", "42", "null", '"quoted"', "{broken", ""])
def test_the_result_is_the_one_that_was_answered(app: Forge, said: str) -> None:
    run = app.run(f"[[SAY {said}]]" if said else "[[EMPTY]]", agent="fake")
    record = app.get_run(str(run.run_id))
    assert (record["result"], record["ok"], record["status"]) == (run.result, run.ok, "done")


def test_a_run_that_failed_says_why(app: Forge) -> None:
    answer = ask(app, "POST", "/run", {"prompt": "[[SAY half]][[EXIT 3]]", "agent": "fake"})
    assert answer.problem() == (502, "agent_failed")
    record = app.get_run(answer.body["run_id"])
    assert (record["status"], record["stop_reason"], record["ok"]) == ("failed", "agent_failed", False)
    assert record["error"] == {"code": "agent_failed", "detail": answer.body["detail"]}
    assert record["result"] is None
    assert record["usage"]["source"] == "estimate"


def test_a_run_that_is_under_way_is_listed_and_found(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    marker = f"under way {id(app)}"
    running = pool.submit(app.run, f"[[SAY {marker}]][[SLEEP 1]]", agent="fake")
    gateway.until_heard(marker)
    [row] = listed(app)["runs"]
    record = app.get_run(row["run_id"])
    assert record["status"] == row["status"] == "running"
    unknown = ("ok", "stop_reason", "duration_ms", "error", "usage", "result")
    assert [record[name] for name in unknown] == [None] * len(unknown)
    assert running.result().run_id == row["run_id"]
    assert app.get_run(row["run_id"])["status"] == "done"


def test_runs_are_listed_newest_first_page_by_page(app: Forge) -> None:
    runs = [app.run(f"[[SAY {number}]]", agent="fake").run_id for number in range(5)]
    newest_first = runs[::-1]
    page = listed(app)
    assert [row["run_id"] for row in page["runs"]] == newest_first
    assert (page["ok"], page["count"], page["next_cursor"]) == (True, 5, None)
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = listed(app, limit=2, cursor=cursor)
        assert page["count"] == len(page["runs"])
        seen += [row["run_id"] for row in page["runs"]]
        cursor = page["next_cursor"]
    assert seen == newest_first
    assert cursor is None


def test_sessions_are_no_runs_and_runs_are_no_sessions(app: Forge) -> None:
    session = app.create_session(agent="fake")
    session.turn("hi")
    run = app.run("hi", agent="fake")
    assert [row["run_id"] for row in listed(app)["runs"]] == [run.run_id]
    assert [row["session_id"] for row in app.list_sessions()["sessions"]] == [session.session_id]
    assert ask(app, "GET", f"/runs/{session.session_id}").problem() == (404, "not_found")


def test_another_app_s_run_is_answered_as_one_that_never_was(gateway: Gateway, app: Forge) -> None:
    run = app.run("hi", agent="fake")
    with gateway.app(f"stranger-{run.run_id}") as stranger:
        foreign = ask(stranger, "GET", f"/runs/{run.run_id}")
        never = ask(stranger, "GET", f"/runs/{NEVER}")
        assert foreign.problem() == never.problem() == (404, "not_found")
        assert plain(foreign) == plain(never) == {"detail": "run not found", "code": "not_found"}
        assert listed(stranger) == {"ok": True, "runs": [], "count": 0, "next_cursor": None}


def test_another_app_s_cursor_opens_nothing(gateway: Gateway, app: Forge) -> None:
    for _ in range(2):
        app.run("hi", agent="fake")
    cursor = listed(app, limit=1)["next_cursor"]
    with gateway.app(f"stranger-{cursor}") as stranger:
        assert listed(stranger, cursor=cursor)["runs"] == []


@pytest.mark.parametrize(
    "asked",
    [
        *(f"limit={value}" for value in ("0", "201", "-1", "", "x", "1.0", "9" * 30)),
        *(f"cursor={value}" for value in ("", "x", "MTIz", "LTE6eA", "%C3%A9")),
        "limit=1&limit=1", "include_closed=true", "after=1",
    ],
)  # fmt: skip
def test_the_list_takes_no_nonsense(app: Forge, asked: str) -> None:
    assert ask(app, "GET", f"/runs?{asked}").problem() == (422, "invalid")


def test_a_record_takes_no_parameters(app: Forge) -> None:
    run = app.run("hi", agent="fake")
    assert ask(app, "GET", f"/runs/{run.run_id}?events=true").problem() == (422, "invalid")


@pytest.mark.parametrize("name", ["%00", "..%2f..", "run_%FF", "'%20OR%201=1", "x" * 5_000])
def test_an_id_that_cannot_be_one_is_not_found(app: Forge, name: str) -> None:
    assert ask(app, "GET", f"/runs/{name}").problem() == (404, "not_found")


def test_a_killed_gateway_s_run_is_found_interrupted_with_the_usage_of_what_was_seen(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        token = app._config.token
        prompt = "[[CONTEXT 1000]][[SAY seen]][[HANG]]"
        running = pool.submit(call_that_breaks_off, app, {"prompt": prompt, "agent": "fake"})
        stored = "SELECT 1 FROM events WHERE type = 'text'"
        until(lambda: bool(Ledger(gateway.data_dir).rows(stored)), "what was said to be stored")
        gateway.kill()
        running.result()
    gateway.start()
    with Forge(base_url=gateway.url, token=token) as again:
        [row] = listed(again)["runs"]
        assert (row["status"], row["stop_reason"]) == ("failed", "interrupted")
        assert (row["usage"]["total_tokens"], row["usage"]["source"]) == (1_000, "estimate")
        record = again.get_run(row["run_id"])
        assert record["error"]["code"] == "interrupted"
        assert again.usage()["total"]["turns"] == 1


def call_that_breaks_off(app: Forge, body: dict[str, Any]) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(app, "POST", "/run", body)


def test_a_record_goes_when_its_time_is_over_and_its_usage_stays(new_gateway: agents.NewGateway) -> None:
    settings = {"session_hard_ttl_secs": 1, "reap_interval_secs": 0.1}
    gateway = new_gateway(settings=settings).start()
    with gateway.app() as app:
        run = app.run("hi", agent="fake")
        until(lambda: listed(app)["count"] == 0, "the run to be removed")
        assert ask(app, "GET", f"/runs/{run.run_id}").problem() == (404, "not_found")
        assert app.usage()["total"]["turns"] == 1
