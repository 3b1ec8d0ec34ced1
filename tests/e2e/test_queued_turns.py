"""`delivery: queue`: prompts that wait for their turn, in their order, bounded, each ended once in any case."""

from __future__ import annotations

import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from harness import ledger, prompts
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.prompts import accepted, cancel, ended, record, running, statuses, text, turn_later, turn_streamed
from harness.streams import Stream

Row = dict[str, Any]
NEVER_BEGUN = "no agent has heard of it"


@pytest.fixture
def session_id(app: Forge) -> str:
    return app.create_session(agent="fake").session_id


def queued(app: Forge, session_id: str, prompt: str, **body: Any) -> Answer:
    return turn_later(app, session_id, prompt, delivery="queue", **body)


def types_of(db: Ledger, session_id: str, turn_index: int) -> list[str]:
    return [each["type"] for each in db.events(session_id) if each["turn_index"] == turn_index]


# --- order --------------------------------------------------------------------------------------------------


def test_one_that_finds_nothing_running_begins_at_once(app: Forge, session_id: str, db: Ledger) -> None:
    assert prompts.turn(app, session_id, "hi", delivery="queue").body["turn_index"] == 1
    assert types_of(db, session_id, 1)[0] == "turn_start"


def test_one_waits_until_the_one_before_has_ended(
    app: Forge, session_id: str, db: Ledger, pool: ThreadPoolExecutor
) -> None:
    first = running(pool, app, session_id, "[[SAY a]] [[HANG]]")
    answer = queued(app, session_id, "second")
    assert (answer.status, answer.body["status"], answer.body["turn_index"]) == (202, "queued", 2)
    told = record(app, session_id, 2)
    assert (told["status"], told["events"], told["ok"]) == ("queued", [], None)
    assert prompts.turn(app, session_id, "third").problem() == (409, "turn_in_progress")
    cancel(app, session_id, 1)
    assert first.result().body["stop_reason"] == "cancelled"
    assert text(ended(app, session_id, 2)["events"]) == "turn 2: second"
    assert types_of(db, session_id, 2)[:2] == ["turn_queued", "turn_start"]
    events = [(each["type"], each["turn_index"]) for each in db.events(session_id)]
    assert events.index(("turn_queued", 2)) < events.index(("turn_end", 1)) < events.index(("turn_start", 2))


@pytest.mark.parametrize("form", ["blocking", "streamed", "later"])
def test_each_form_waits_its_turn(
    app: Forge, session_id: str, pool: ThreadPoolExecutor, form: str, db: Ledger
) -> None:
    first = running(pool, app, session_id, "[[SLEEP 0.3]] [[SAY one]]")
    if form == "blocking":
        told = prompts.turn(app, session_id, "[[SAY two]]", delivery="queue").body
        assert (told["turn_index"], text(told["events"])) == (2, "two")
    elif form == "streamed":
        with turn_streamed(app, session_id, "[[SAY two]]", delivery="queue") as stream:
            seen = [*stream.events()]
        assert [event["type"] for event in seen] == types_of(db, session_id, 2)
        assert [event["type"] for event in seen[:2]] == ["turn_queued", "turn_start"]
        assert (seen[0]["prompt"], seen[-1]["type"]) == ("[[SAY two]]", "turn_end")
    else:
        assert text(ended(app, session_id, accepted(queued(app, session_id, "[[SAY two]]")))["events"]) == "two"
    assert text(first.result().body["events"]) == "one"


@pytest.mark.guarantee
def test_the_order_in_which_they_were_accepted_is_the_order_in_which_they_run(
    app: Forge, gateway: Gateway, session_id: str, pool: ThreadPoolExecutor, db: Ledger
) -> None:
    mark = uuid.uuid4().hex
    first = running(pool, app, session_id, "[[SLEEP 0.3]]")
    for number in range(2, 12):
        assert accepted(queued(app, session_id, f"{mark} {number}")) == number
    assert first.result().status == 200
    assert ended(app, session_id, 11)["stop_reason"] == "end_turn"
    told = ledger.prompts(gateway.agent_log.of(session_id, "session/prompt"))
    assert [each for each in told if mark in each] == [f"{mark} {number}" for number in range(2, 12)]


def test_many_that_ask_at_the_same_instant_each_have_a_turn(
    app: Forge, gateway: Gateway, session_id: str, pool: ThreadPoolExecutor
) -> None:
    mark = uuid.uuid4().hex

    def ask_one(number: int) -> Answer:
        return prompts.turn(app, session_id, f"[[ECHO {mark} {number}]]", delivery="queue")

    answers = [*pool.map(ask_one, range(16))]
    assert {answer.status for answer in answers} == {200}
    assert sorted(answer.body["turn_index"] for answer in answers) == list(range(1, 17))
    for number, answer in enumerate(answers):
        assert text(answer.body["events"]) == f"turn {answer.body['turn_index']}: {mark} {number}"
    assert gateway.heard(mark) == 16


def test_a_failure_ahead_of_it_does_not_keep_it(app: Forge, session_id: str, pool: ThreadPoolExecutor) -> None:
    first = running(pool, app, session_id, "[[SLEEP 0.3]] [[EXIT 3]]")
    later = [accepted(queued(app, session_id, prompt)) for prompt in ("[[EXIT 4]]", "[[SAY three]]")]
    assert first.result().status == 502
    assert [ended(app, session_id, index)["stop_reason"] for index in later] == ["agent_failed", "end_turn"]
    assert text(record(app, session_id, 3)["events"]) == "three"


# --- bounds -------------------------------------------------------------------------------------------------


@pytest.mark.guarantee
def test_so_many_wait_and_no_more(tight_gateway: Gateway, tight_app: Forge, pool: ThreadPoolExecutor) -> None:
    app = tight_app
    session_id, other = (app.create_session(agent="fake").session_id for _ in range(2))
    first = running(pool, app, session_id, "[[HANG]]")
    answers = [queued(app, session_id, "not too many"), queued(app, session_id, "not too many")]
    assert [accepted(each) for each in answers] == [2, 3]
    for form in (prompts.turn, turn_later):
        refused = form(app, session_id, "too many", delivery="queue")
        assert refused.problem() == (429, "too_many_turns")
        assert int(refused.headers["retry-after"]) > 0
    assert turn_streamed(app, session_id, "too many", delivery="queue").refused() == (429, "too_many_turns")
    assert prompts.turn(app, other, "another session has its own").status == 200
    assert cancel(app, session_id, 2).body["cancelled"] is True
    assert accepted(queued(app, session_id, "room again")) == 4
    cancel(app, session_id)
    first.result()
    assert ended(app, session_id, 4)["stop_reason"] == "end_turn"
    assert tight_gateway.heard("too many") == 1


def test_those_that_wait_count_among_the_gateway_s_turns(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    """Each holds its prompt, which may be megabytes."""
    gateway = new_gateway(settings={"max_running_turns": 3}).start()
    with gateway.app() as app:
        busy, other = (app.create_session(agent="fake").session_id for _ in range(2))
        first = running(pool, app, busy, "[[HANG]]")
        waiting = [accepted(queued(app, busy, "waits")) for _ in range(2)]
        for each in (busy, other):
            assert queued(app, each, "too many").problem() == (429, "too_many_turns")
        assert prompts.run(app, "too many").problem() == (429, "too_many_turns")
        cancel(app, busy, waiting[0])
        assert prompts.turn(app, other, "room again").status == 200
        cancel(app, busy)
        first.result()
        assert ended(app, busy, waiting[1])["stop_reason"] == "end_turn"
    assert gateway.heard("too many") == 0
    assert gateway.stop() == 0


# --- ends before the beginning ------------------------------------------------------------------------------


def test_one_that_is_cancelled_ends_at_once_and_the_others_go_on(
    app: Forge, gateway: Gateway, session_id: str, db: Ledger, pool: ThreadPoolExecutor
) -> None:
    mark = uuid.uuid4().hex
    first = running(pool, app, session_id, "[[SAY one]] [[HANG]]")
    second = pool.submit(prompts.turn, app, session_id, f"second {mark}", delivery="queue")
    until(lambda: len(statuses(app, session_id)) == 2, "the second to wait")
    third = accepted(queued(app, session_id, f"third {mark}"))
    assert cancel(app, session_id, 2).body == {"ok": True, "cancelled": True, "turn_index": 2}
    told = second.result()
    assert (told.status, told.body["ok"], told.body["stop_reason"]) == (200, False, "cancelled")
    assert (told.body["events"], told.body["duration_ms"]) == ([], 0)
    assert told.body["usage"]["total_tokens"] == 0
    assert cancel(app, session_id, 2).body["cancelled"] is False
    assert record(app, session_id, 1)["status"] == "running"
    assert record(app, session_id, third)["status"] == "queued"
    cancel(app, session_id)
    assert first.result().body["stop_reason"] == "cancelled"
    assert ended(app, session_id, third)["stop_reason"] == "end_turn"
    assert types_of(db, session_id, 2) == ["turn_queued", "turn_end"]
    assert (gateway.heard(f"second {mark}"), gateway.heard(f"third {mark}")) == (0, 1)


def test_the_stream_of_one_that_is_cancelled_ends(app: Forge, session_id: str, pool: ThreadPoolExecutor) -> None:
    first = running(pool, app, session_id, "[[HANG]]")
    with turn_streamed(app, session_id, "second", delivery="queue") as stream:
        assert [event["type"] for event in stream.until("turn_queued")] == ["turn_queued"]
        assert cancel(app, session_id, 2).body["cancelled"] is True
        (end,) = stream.events()
    assert (end["type"], end["stop_reason"]) == ("turn_end", "cancelled")
    cancel(app, session_id)
    first.result()


def test_a_close_ends_all_that_run_and_wait(
    app: Forge, gateway: Gateway, session_id: str, pool: ThreadPoolExecutor
) -> None:
    mark = uuid.uuid4().hex
    first = running(pool, app, session_id, "[[HANG]]")
    waiting = [
        pool.submit(prompts.turn, app, session_id, f"{mark} {number}", delivery="queue") for number in range(4)
    ]
    until(lambda: len(statuses(app, session_id)) == 5, "them to wait")
    with Stream(app, session_id) as stream:
        app.attach_session(session_id).close()
        assert [*stream.events()][-1]["type"] == "session_closed"
    answers = [each.result() for each in (first, *waiting)]
    assert {(each.status, each.body["stop_reason"]) for each in answers} == {(200, "cancelled")}
    assert gateway.heard(mark) == 0
    assert prompts.turn(app, session_id, "late", delivery="queue").problem() == (410, "session_closed")


@pytest.mark.guarantee
def test_a_stop_lets_the_running_one_end_and_begins_none(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings={"drain_timeout_secs": 30}).start()
    with gateway.app() as app:
        session_id = app.create_session(agent="fake").session_id
        first = running(pool, app, session_id, "[[SAY begun]] [[SLEEP 1]] [[SAY  ended]]")
        second = pool.submit(prompts.turn, app, session_id, "second", delivery="queue")
        until(lambda: len(statuses(app, session_id)) == 2, "the second to wait")
        third = accepted(queued(app, session_id, "third"))
        gateway.signal(signal.SIGTERM)
        refused = second.result()
        assert refused.problem() == (502, "interrupted")
        assert (refused.body["turn_index"], NEVER_BEGUN in refused.body["detail"]) == (2, True)
        assert text(first.result().body["events"]) == "begun ended"
    assert gateway.wait() == 0
    assert (gateway.heard("second"), gateway.heard("third")) == (0, 0)
    found = Ledger(gateway.data_dir)
    ends = [(row["status"], row["stop_reason"]) for row in found.turns(session_id)]
    assert ends == [("done", "end_turn"), ("failed", "interrupted"), ("failed", "interrupted")]
    assert types_of(found, session_id, third) == ["turn_queued", "error", "turn_end"]
    ledger.check(found, "app", gateway.agent_log)


@pytest.mark.guarantee
def test_after_a_kill_none_is_begun_and_each_ends_once(new_gateway: NewGateway, pool: ThreadPoolExecutor) -> None:
    gateway = new_gateway().start()
    app = gateway.app()
    session_id = app.create_session(agent="fake").session_id
    accepted(turn_later(app, session_id, "[[SAY first]] [[HANG]]"))
    gateway.until_heard("first")
    for number in (2, 3):
        assert (
            accepted(queued(app, session_id, f"waiting {number}", key=f"key {number}".replace(" ", "-"))) == number
        )
    gateway.kill()
    token = app._config.token
    app.close()
    for _ in range(2):
        gateway.start()
        with Forge(base_url=gateway.url, token=token) as later:
            assert statuses(later, session_id) == [("failed", "interrupted")] * 3
            details = [record(later, session_id, index)["error"]["detail"] for index in (1, 2, 3)]
            assert [NEVER_BEGUN in each for each in details] == [False, True, True]
            again = prompts.turn(later, session_id, "waiting 2", key="key-2", delivery="queue")
            assert again.problem() == (502, "interrupted")
        gateway.stop()
    assert gateway.heard("waiting") == 0
    found = Ledger(gateway.data_dir)
    assert [types_of(found, session_id, index)[-2:] for index in (1, 2, 3)] == [["error", "turn_end"]] * 3
    ledger.check(found, "app", gateway.agent_log)


# --- files --------------------------------------------------------------------------------------------------


def test_one_with_files_has_them_in_its_turn(
    app: Forge, session_id: str, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    first = running(pool, app, session_id, "[[SLEEP 0.3]]")
    (tmp_path / "notes.txt").write_text("the content")
    file = app.upload_file(tmp_path / "notes.txt")
    waiting = accepted(queued(app, session_id, "[[READ notes.txt]]", files=[file.file_token]))
    assert first.result().status == 200
    assert "the content" in text(ended(app, session_id, waiting)["events"])


def test_one_whose_file_is_gone_is_refused_and_the_next_one_has_its_place(
    app: Forge, session_id: str, pool: ThreadPoolExecutor
) -> None:
    first = running(pool, app, session_id, "[[SLEEP 0.3]]")
    assert queued(app, session_id, "never", files=["ff_gone"]).problem() == (404, "not_found")
    assert accepted(queued(app, session_id, "[[SAY two]]")) == 2
    assert first.result().status == 200
    assert text(ended(app, session_id, 2)["events"]) == "two"


# --- time ---------------------------------------------------------------------------------------------------


def test_the_time_of_one_that_waits_begins_with_its_turn(
    app: Forge, session_id: str, pool: ThreadPoolExecutor
) -> None:
    first = running(pool, app, session_id, "[[SLEEP 2.2]]")
    waiting = accepted(queued(app, session_id, "[[SLEEP 0.2]] [[SAY in time]]", timeout_secs=2))
    assert first.result().status == 200
    told = ended(app, session_id, waiting)
    assert (told["stop_reason"], text(told["events"])) == ("end_turn", "in time")


@pytest.mark.parametrize("delivery", ["Queue", "", 1, True, ["queue"]])
def test_what_is_no_delivery_is_refused(app: Forge, session_id: str, delivery: Any) -> None:
    body = {"prompt": "hi", "delivery": delivery}
    assert ask(app, "POST", f"/sessions/{session_id}/turn", body).problem() == (422, "invalid")
    assert statuses(app, session_id) == []


def test_a_run_has_no_queue(app: Forge) -> None:
    assert prompts.run(app, "hi", delivery="queue").problem() == (422, "invalid")
