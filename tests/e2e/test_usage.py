"""What a turn took: told by its agent in whatever way, or estimated; in the answer, the log, an app's sums."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from clawdforge import Forge, ForgeAPIError
from harness import agents
from harness.gateway import Gateway
from harness.http import ask
from harness.ledger import Ledger
from harness.tenants import tenant

TOLD = {
    "input_tokens": 100, "output_tokens": 20, "cached_read_tokens": 10, "cached_write_tokens": 0,
    "thought_tokens": 0, "total_tokens": 130,
}  # fmt: skip
SUMS = {*TOLD, "turns", "duration_ms", "cost_usd", "estimated_turns", "estimated_tokens"}
DAY_S = 86_400


@pytest.fixture(scope="module")
def counting_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with an agent that counts its session, and one that tells no model."""
    root = tmp_path_factory.mktemp("counting")
    counting = {
        "sums": agents.scripted(usage_counts="session"),
        "modelless": agents.scripted(env={"FAKE_AGENT_MODEL_BY": "none"}),
    }
    gateway = Gateway(root, agents=counting, settings={"cancel_timeout_secs": 0.5}).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log()
    gateway.close()


@pytest.fixture
def counted(counting_gateway: Gateway) -> Iterator[Forge]:
    """A new app of that gateway."""
    with tenant(counting_gateway) as forge:
        yield forge


def usage_of(answer: Any) -> dict[str, Any]:
    assert answer.usage is not None
    return dict(answer.usage)


def estimate(prompt: str, said: str, cost_usd: float | None = None) -> dict[str, Any]:
    """Four bytes are a token."""
    tokens = {"input_tokens": -(-len(prompt.encode()) // 4), "output_tokens": -(-len(said.encode()) // 4)}
    total = sum(tokens.values())
    return {
        **dict.fromkeys(TOLD, 0), **tokens, "total_tokens": total, "cost_usd": cost_usd, "source": "estimate",
    }  # fmt: skip


# --- one turn -----------------------------------------------------------------------------------------------


def test_what_the_agent_tells_stands_in_the_answers_of_turns_and_runs(app: Forge) -> None:
    told = {**TOLD, "cost_usd": 0.001, "source": "agent"}
    session = app.create_session(agent="fake")
    for _ in range(2):
        assert usage_of(session.turn("[[SAY x]][[USAGE]]")) == told
    assert usage_of(app.run("[[SAY x]][[USAGE]]", agent="fake")) == told


def test_what_the_agent_tells_stands_in_the_log_as_it_came(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    session.turn("[[COST 0.5]][[SAY x]]")
    session.turn("[[COST 0.25]][[SAY x]]")
    costs = [each["data"]["cost"] for each in db.events(session.session_id) if each["type"] == "usage"]
    assert costs == [{"amount": 0.5, "currency": "USD"}, {"amount": 0.75, "currency": "USD"}]


def test_a_counter_of_the_session_is_taken_apart_into_turns(counted: Forge) -> None:
    session = counted.create_session(agent="sums")
    first = usage_of(session.turn("[[SAY x]][[USAGE_SO_FAR]]"))
    assert first == {**TOLD, "cost_usd": None, "source": "agent"}
    assert usage_of(session.turn("[[SAY x]][[USAGE_SO_FAR]]")) == first
    twice = usage_of(session.turn("[[USAGE_SO_FAR]][[USAGE_SO_FAR]][[SAY x]]"))
    assert {name: twice[name] for name in TOLD} == {name: 2 * count for name, count in TOLD.items()}


def test_a_fresh_agent_begins_to_count_anew(counted: Forge) -> None:
    session = counted.create_session(agent="sums")
    for _ in range(3):
        session.turn("[[SAY x]][[USAGE_SO_FAR]][[COST 1]]")
    with pytest.raises(ForgeAPIError):
        session.turn("[[EXIT 1]]")
    usage = usage_of(session.turn("[[SAY x]][[USAGE_SO_FAR]][[USAGE_SO_FAR]][[COST 0.25]]"))
    assert (usage["input_tokens"], usage["cost_usd"], usage["source"]) == (200, 0.25, "agent")


def test_each_turn_has_its_own_part_of_the_cost(app: Forge) -> None:
    session = app.create_session(agent="fake")
    costs = [usage_of(session.turn(f"[[COST {cost}]][[SAY x]]"))["cost_usd"] for cost in (0.1, 0.2, 0, 0.7)]
    assert costs == [0.1, 0.2, 0.0, 0.7]
    assert usage_of(session.turn("[[SAY told nothing]]"))["cost_usd"] is None


def test_without_tokens_of_the_agent_they_are_estimated(app: Forge) -> None:
    prompt = "[[THINK grübel]][[SAY Grüße]][[TOOL look {}]]"
    assert usage_of(app.run(prompt, agent="fake")) == estimate(prompt, "grübelGrüße")


def test_the_context_that_an_agent_tells_makes_an_estimate_better(app: Forge) -> None:
    usage = usage_of(app.run("[[CONTEXT 12000]][[SAY four]]", agent="fake"))
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (11_999, 1, 12_000)
    assert usage["source"] == "estimate"


@pytest.mark.parametrize(
    "end",
    ["[[EXIT 3]]", "[[ERROR -32603 model failed]]", "[[HANG]]", "[[IGNORE_CANCEL]][[HANG]]"],
    ids=["exit", "error", "timeout", "timeout of a stubborn agent"],
)
def test_a_failed_turn_has_the_usage_of_what_was_seen(app: Forge, db: Ledger, end: str) -> None:
    session = app.create_session(agent="fake")
    prompt = f"[[COST 0.5]][[CONTEXT 0]][[SAY seen so far]]{end}"
    body = {"prompt": prompt, "timeout_secs": 1 if "HANG" in end else 60}
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", body)
    assert answer.status in (502, 504)
    [ended] = [event for event in db.events(session.session_id) if event["type"] == "turn_end"]
    assert ended["data"]["usage"] == answer.body["usage"] == estimate(prompt, "seen so far", cost_usd=0.5)


def test_a_cancelled_answer_that_tells_its_tokens_counts_them(app: Forge, db: Ledger) -> None:
    """The deadline ends the turn; what the agent says when it has been cancelled is its usage all the same."""
    session = app.create_session(agent="fake")
    prompt = "[[SAY x]][[USAGE]][[HANG]]"
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": prompt, "timeout_secs": 1})
    assert answer.problem() == (504, "timeout")
    [turn] = db.audit(session.session_id)
    assert (turn["total_tokens"], turn["estimated"]) == (130, 0)


def test_a_prompt_that_no_agent_was_given_took_nothing(app: Forge) -> None:
    answer = ask(app, "POST", "/run", {"prompt": "never told", "agent": "fake-exit1"})
    assert answer.problem() == (502, "agent_failed")
    total = app.usage()["total"]
    assert (total["turns"], total["total_tokens"], total["estimated_turns"]) == (1, 0, 1)


# --- the model ----------------------------------------------------------------------------------------------


def test_the_model_is_the_chosen_one_else_the_one_that_the_agent_tells_else_none(counted: Forge) -> None:
    assert counted.run("x", agent="sums", model="fake-large").model == "fake-large"
    assert counted.run("x", agent="sums").model == "default"
    assert counted.run("x", agent="modelless").model is None
    groups = counted.usage(by="model")["groups"]
    assert {each["key"]: each["turns"] for each in groups} == {"fake-large": 1, "default": 1, None: 1}


# --- sums ---------------------------------------------------------------------------------------------------


def test_usage_of_an_app_that_did_nothing(app: Forge) -> None:
    zeros = {**dict.fromkeys(SUMS, 0), "cost_usd": None}
    assert app.usage() == {
        "ok": True, "since": None, "until": None, "by": None, "total": zeros, "groups": [], "left_out": 0,
    }  # fmt: skip


def test_usage_is_the_sum_of_the_app_s_turns_and_tells_the_estimates(app: Forge) -> None:
    session = app.create_session(agent="fake")
    turns = [session.turn("[[SAY x]][[USAGE]]"), session.turn("[[SAY estimated]]")]
    session.close()
    run = app.run("[[SAY x]][[USAGE]]", agent="fake")
    total = app.usage()["total"]
    assert total.keys() == SUMS
    assert total["turns"] == 3
    assert total["duration_ms"] == sum(each.duration_ms for each in (*turns, run))
    estimated = usage_of(turns[1])["total_tokens"]
    assert total["total_tokens"] == 260 + estimated
    assert (total["estimated_turns"], total["estimated_tokens"]) == (1, estimated)
    assert total["cost_usd"] == 0.002


def test_usage_by_agent_and_day_adds_up_to_the_total(counted: Forge) -> None:
    for agent in ("fake", "fake", "sums"):
        counted.run("[[SAY x]]", agent=agent)
    by_agent = counted.usage(by="agent")
    assert [(each["key"], each["turns"]) for each in by_agent["groups"]] == [("fake", 2), ("sums", 1)]
    assert by_agent["by"] == "agent"
    by_day = counted.usage(by="day")
    days = {time.strftime("%Y-%m-%d", time.gmtime(time.time() - ago_s)) for ago_s in (0, 60)}
    assert {each["key"] for each in by_day["groups"]} <= days
    assert by_agent["total"] == by_day["total"] == counted.usage()["total"]
    assert sum(each["total_tokens"] for each in by_day["groups"]) == by_day["total"]["total_tokens"]


def test_usage_is_of_the_time_that_was_asked_for(app: Forge) -> None:
    before = int(time.time())
    app.run("[[SAY x]]", agent="fake")
    after = int(time.time()) + 1
    assert app.usage(since=before, until=after)["total"]["turns"] == 1
    assert app.usage(since=after)["total"]["turns"] == 0
    assert app.usage(until=before)["total"]["turns"] == 0
    assert app.usage(since=after, until=before)["total"]["turns"] == 0


def test_usage_is_the_app_s_own(gateway: Gateway, app: Forge) -> None:
    app.run("[[SAY x]]", agent="fake", model="fake-large")
    with tenant(gateway) as stranger:
        for by in ("agent", "model", "day"):
            report = stranger.usage(by=by)
            assert (report["total"]["turns"], report["groups"]) == (0, [])


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        *((f"since={value}", (422, "invalid")) for value in ("", "-1", "x", "1.5", "1e3", "%D9%A1", "9" * 30)),
        ("until=253402300800", (422, "invalid")),
        ("since=1&since=1", (422, "invalid")),
        *((f"by={value}", (422, "invalid")) for value in ("", "app", "Day", "agent,model")),
        ("by=day&by=agent", (422, "invalid")),
        ("app=other", (422, "invalid")),
        ("by=%00", (400, "bad_request")),
        ("since=%FF", (400, "bad_request")),
    ],
)
def test_usage_takes_no_nonsense(app: Forge, asked: str, problem: tuple[int, str]) -> None:
    assert ask(app, "GET", f"/usage?{asked}").problem() == problem
