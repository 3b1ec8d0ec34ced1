"""Sessions outlive their agents: idle ones sleep, whatever ended one the next turn wakes it, and it remembers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clawdforge import Forge, Session
from clawdforge.server import settings
from clawdforge.server.sessions.history import CLOSING, OPENING
from clawdforge.testing.fake_agent.turn import HANDED_OVER
from harness.agents import NewGateway, scripted
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger
from harness.tenants import tenant

IDLE = {"agent_idle_secs": 0.6, "reap_interval_secs": 0.05, "startup_timeout_secs": 4}
RESUME = {"sessionCapabilities": {"resume": {}}}
LOAD = {"loadSession": True}


def remembering(caps: dict[str, Any], fault: str = "", **entry: Any) -> dict[str, Any]:
    """A scripted agent that says it can go on with a conversation."""
    env = {"FAKE_AGENT_CAPS": json.dumps(caps), "FAKE_AGENT_START": fault}
    return scripted(env=env, **entry)


AGENTS = {
    "resumes": remembering(RESUME),
    "loads": remembering(LOAD),
    "both": remembering({**RESUME, **LOAD}),
    "late": remembering(LOAD, "late-history"),
    "liar": remembering({**RESUME, **LOAD}, "no-recall"),
    "empty": remembering(LOAD, "empty-load"),
    "hangs": remembering(RESUME, "hang-recall"),
    "exits": remembering(LOAD, "exit-recall"),
    "ghost": remembering(RESUME, "ghost-recall"),
    "odd": remembering(RESUME, "odd-session-id", ask_mode=None),
    "moody": remembering(RESUME, "@fault"),
    # Nothing is set after its start by which it could be found out.
    "meek": {**remembering(RESUME, "ghost-recall"), "ask_mode": None, "model": None},
}
AGAIN = ("tool_call", "tool_call_update", "plan", "thinking")
NATIVE = ("resumes", "loads", "both", "late")
TOLD = ("fake", "liar", "hangs", "exits", "ghost")


@pytest.fixture(scope="module")
def sleepy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose agents fall asleep at once."""
    root = tmp_path_factory.mktemp("sleepy")
    agents = {
        name: {key: each for key, each in entry.items() if each is not None} for name, entry in AGENTS.items()
    }
    gateway = Gateway(root, agents=agents, settings={"cancel_timeout_secs": 0.5, **IDLE}).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log()
    gateway.close()


@pytest.fixture
def app(sleepy: Gateway) -> Iterator[Forge]:
    with tenant(sleepy) as forge:
        yield forge


@pytest.fixture
def db(sleepy: Gateway) -> Ledger:
    return Ledger(sleepy.data_dir)


def until_asleep(gateway: Gateway, session: Session) -> None:
    until(lambda: not gateway.children(session), "the agent to sleep")


def woken(db: Ledger, session: Session, first: int = 2) -> list[str]:
    """How each agent from a turn on came to know what it knows; a busy machine may let one more fall asleep."""
    found = [each for each in db.events(session.session_id) if each["type"] == "agent_start"]
    return [each["data"]["how"] for each in found if (each["turn_index"] or 0) >= first]


def said(db: Ledger, session: Session) -> list[tuple[int | None, str]]:
    """All text of the log, by turns."""
    found: list[tuple[int | None, str]] = []
    for each in db.events(session.session_id):
        if each["type"] == "text":
            turn, text = each["turn_index"], each["data"]["content"]
            if found and found[-1][0] == turn:
                text = found.pop()[1] + text
            found.append((turn, text))
    return found


def handed(text: str) -> list[dict[str, Any]]:
    """The lines of a conversation that was handed over."""
    lines = text.splitlines()
    assert (lines[0], lines[-1]) == (OPENING, CLOSING)
    return [json.loads(line) for line in lines[2:-1]]


@pytest.mark.guarantee
@pytest.mark.parametrize("agent", NATIVE)
def test_an_agent_that_remembers_goes_on_where_it_was(app: Forge, sleepy: Gateway, db: Ledger, agent: str) -> None:
    session = app.create_session(agent=agent, model="fake-large")
    session.turn("one [[SAY un]][[TOOL look {}]][[PLAN a|b]][[THINK hm]]")
    until_asleep(sleepy, session)
    assert session.state()["live"] is True
    assert session.turn("[[RECALL]]").text() == json.dumps(
        ["one [[SAY un]][[TOOL look {}]][[PLAN a|b]][[THINK hm]]"]
    )
    assert session.turn("three").text() == "turn 3: three"
    config = {"mode": "ask", "model": "fake-large", "effort": "default"}
    assert json.loads(session.turn("[[CONFIG]]").text()) == config
    assert session.turn("[[HANDED]]").events == []
    assert set(woken(db, session)) == {"native"}
    # Nothing that a load told again came into the log.
    told = [each["turn_index"] for each in db.events(session.session_id) if each["type"] in AGAIN]
    assert told == [1] * len(told)
    assert [turn for turn, _ in said(db, session)] == [1, 2, 3, 4]


@pytest.mark.guarantee
@pytest.mark.parametrize("agent", TOLD)
def test_an_agent_that_has_forgotten_is_told_the_conversation_so_far(
    app: Forge, sleepy: Gateway, db: Ledger, agent: str
) -> None:
    session = app.create_session(agent=agent)
    session.turn("My cat is called Mia. [[SAY Noted.]]")
    until_asleep(sleepy, session)
    turn = session.turn("[[HANDED]]")
    assert handed(turn.text()) == [
        {"turn": 1, "user": "My cat is called Mia. [[SAY Noted.]]"},
        {"turn": 1, "assistant": "Noted."},
    ]
    session.turn("three")
    assert set(woken(db, session)) == {"replayed"}
    prompts = [e["data"]["prompt"] for e in db.events(session.session_id) if e["type"] == "turn_start"]
    assert prompts == ["My cat is called Mia. [[SAY Noted.]]", "[[HANDED]]", "three"]
    # Each agent is told once, ahead of its first prompt.
    heard: list[list[int]] = []
    for entry in sleepy.agent_log.of(session.session_id):
        if "argv" in entry:
            heard.append([])
        elif entry["m"].get("method") == "session/prompt":
            heard[-1].append(len(entry["m"]["params"]["prompt"]))
    told = [each for each in heard if each]  # one that slept before the first turn heard nothing
    assert told == [[1], *([2, *[1] * (len(each) - 1)] for each in told[1:])]


def test_a_load_that_is_empty_is_no_memory(app: Forge, sleepy: Gateway, db: Ledger) -> None:
    session = app.create_session(agent="empty")
    session.turn("one")
    until_asleep(sleepy, session)
    [kept] = (sleepy.home(session) / ".fake_agent").iterdir()
    kept.unlink()
    assert [line["turn"] for line in handed(session.turn("[[HANDED]]").text())] == [1, 1]
    assert woken(db, session) == ["replayed"]
    until_asleep(sleepy, session)
    assert session.turn("three").text() == "turn 2: three"  # of its second conversation
    assert woken(db, session) == ["replayed", "native"]


def test_an_agent_that_only_seems_to_remember_is_found_out_by_its_first_prompt(
    app: Forge, sleepy: Gateway, db: Ledger
) -> None:
    session = app.create_session(agent="meek")
    session.turn("one")
    until_asleep(sleepy, session)
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "two"})
    assert answer.problem() == (502, "agent_failed")
    assert "Session not found" in answer.body["detail"]
    lines = handed(session.turn("[[HANDED]]").text())
    assert [line.get("user") for line in lines] == ["one", None, "two", None]
    assert lines[-1] == {"turn": 2, "ended": "agent_failed"}
    assert woken(db, session) == ["native", "replayed"]


def test_an_id_that_nobody_could_keep_breaks_nothing(app: Forge, sleepy: Gateway, db: Ledger) -> None:
    session = app.create_session(agent="odd")
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "one"})
    assert answer.problem() == (502, "agent_failed")  # its own id, mended, it does not know
    question = "SELECT agent_session_id FROM sessions WHERE session_id = ?"
    assert db.rows(question, session.session_id) == [{"agent_session_id": None}]
    until_asleep(sleepy, session)
    ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "two"})
    assert set(woken(db, session)) == {"replayed"}


def test_a_session_without_a_turn_wakes_anew(app: Forge, sleepy: Gateway, db: Ledger) -> None:
    session = app.create_session(agent="resumes", system="Be brief.")
    until_asleep(sleepy, session)
    blocks = json.loads(session.turn("[[BLOCKS]]").text())
    assert [each["text"] for each in blocks] == ["Be brief.", "[[BLOCKS]]"]
    assert woken(db, session, first=1) == ["new"]
    until_asleep(sleepy, session)
    assert len(json.loads(session.turn("[[BLOCKS]]").text())) == 1
    assert woken(db, session) == ["native"]


def test_a_running_turn_keeps_its_agent_awake(app: Forge) -> None:
    session = app.create_session(agent="resumes")
    assert session.turn("[[SAY a]][[SLEEP 2]][[SAY b]]").text() == "ab"


def test_an_agent_that_waits_for_an_answer_is_awake(
    app: Forge, sleepy: Gateway, db: Ledger, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake", permissions="ask")
    turn = pool.submit(session.turn, "[[ASK edit a.txt]]")
    path = f"/sessions/{session.session_id}/permissions"
    until(lambda: bool(ask(app, "GET", path).body["permissions"]), "the agent to ask")
    app.run("[[SLEEP 2]]", agent="fake")  # longer than an idle agent may stay awake
    [request] = ask(app, "GET", path).body["permissions"]
    assert ask(app, "POST", f"{path}/{request['permission_id']}", {"decision": "allow"}).status == 200
    assert '"selected"' in turn.result().text()
    agents_of_the_turn = [e["turn_index"] for e in db.events(session.session_id) if e["type"] == "agent_start"]
    assert agents_of_the_turn in ([None], [None, 1])


def test_a_turn_at_the_very_moment_of_falling_asleep_has_an_agent(
    app: Forge, db: Ledger, pool: ThreadPoolExecutor
) -> None:
    def use(pause_s: float) -> list[str]:
        session = app.create_session(agent="resumes")
        found = []
        for number in range(1, 4):
            found.append(session.turn(f"{number}").text())
            app.run(f"[[SLEEP {pause_s}]]", agent="fake")
        assert set(woken(db, session)) <= {"native"}
        return found

    pauses = [IDLE["agent_idle_secs"] + 0.02 * step for step in range(-3, 5)]
    assert all(found == ["turn 1: 1", "turn 2: 2", "turn 3: 3"] for found in pool.map(use, pauses))


@pytest.mark.guarantee
def test_a_session_that_sleeps_holds_no_process_no_pipe_and_no_lock(app: Forge, sleepy: Gateway) -> None:
    sessions = [app.create_session(agent="resumes") for _ in range(3)]
    for session in sessions:
        session.turn("[[DAEMON]][[CHILD]]")
    sleepy.settle()
    sessions[0].close()
    assert ask(app, "POST", f"/sessions/{sessions[0].session_id}/turn", {"prompt": "x"}).status == 410
    assert sessions[1].turn("two").text() == "turn 2: two"


@pytest.mark.guarantee
@pytest.mark.parametrize(
    ("prompt", "options", "end"),
    [
        ("[[SAY half]][[EXIT 1]]", {}, (502, "agent_failed")),
        ("[[SAY half]][[KILL9]]", {}, (502, "agent_failed")),
        ("[[SAY half]][[IGNORE_CANCEL]][[HANG]]", {"idle_timeout_secs": 1}, (504, "timeout")),
    ],
)
def test_after_an_agent_that_was_lost_the_next_one_remembers(
    app: Forge, db: Ledger, prompt: str, options: dict[str, Any], end: tuple[int, str]
) -> None:
    for agent, how in (("resumes", "native"), ("fake", "replayed")):
        session = app.create_session(agent=agent)
        path = f"/sessions/{session.session_id}/turn"
        assert ask(app, "POST", path, {"prompt": prompt, **options}).problem() == end
        turn = session.turn("[[RECALL]][[HANDED]]")
        assert json.dumps(prompt) in turn.text()
        assert ('"ended"' in turn.text()) == (how == "replayed")
        assert woken(db, session) == [how]
        assert said(db, session)[0] == (1, "half")


def test_an_agent_that_does_not_start_keeps_its_memory_for_the_one_that_does(
    app: Forge, sleepy: Gateway, db: Ledger
) -> None:
    session = app.create_session(agent="moody")
    session.turn("one")
    until_asleep(sleepy, session)
    fault = Path(session.cwd, "fault")
    fault.write_text("exit1")
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "two"})
    assert answer.problem() == (502, "agent_failed")
    fault.unlink()
    assert session.turn("[[RECALL]]").text() == json.dumps(["one"])
    assert woken(db, session) == ["native"]


def test_a_command_of_the_agent_s_own_goes_ahead_of_what_it_is_told(
    app: Forge, sleepy: Gateway, db: Ledger
) -> None:
    """With anything ahead of it, it would be none. What it keeps by then is no whole conversation."""
    session = app.create_session(agent="empty")
    session.turn("one")
    until_asleep(sleepy, session)
    [kept] = (sleepy.home(session) / ".fake_agent").iterdir()
    kept.unlink()
    assert json.loads(session.turn("/do [[BLOCKS]]").text()) == [{"type": "text", "text": "/do [[BLOCKS]]"}]
    until_asleep(sleepy, session)
    asked = [line["user"] for line in handed(session.turn("[[HANDED]]").text()) if "user" in line]
    assert asked == ["one", "/do [[BLOCKS]]"]
    assert woken(db, session) == ["replayed", "replayed"]


def test_what_was_handed_over_counts_for_nobody(app: Forge, sleepy: Gateway) -> None:
    session = app.create_session(agent="fake")
    session.turn("x" * 40_000)
    first = session.turn("[[SAY short]]").usage or {}
    until_asleep(sleepy, session)
    second = session.turn("[[SAY short]]").usage or {}
    assert second == first
    assert second["input_tokens"] < 100


@pytest.mark.parametrize("agent", ["resumes", "loads", "late"])
def test_what_was_paid_for_before_is_not_paid_for_again(
    app: Forge, sleepy: Gateway, db: Ledger, agent: str
) -> None:
    session = app.create_session(agent=agent)
    paid = [session.turn("[[USAGE]][[COST 0.5]]").usage]
    until_asleep(sleepy, session)
    paid += [session.turn(prompt).usage for prompt in ("[[SAY free]]", "[[USAGE]][[COST 0.1]]")]
    assert [(each or {})["cost_usd"] for each in paid] == [0.501, None, 0.101]
    told = [each["turn_index"] for each in db.events(session.session_id) if each["type"] == "usage"]
    assert told == [1, 1, 3, 3]


@pytest.mark.guarantee
@pytest.mark.parametrize("agent", ["resumes", "loads", "fake"])
def test_a_gateway_that_was_killed_in_mid_turn_goes_on_with_the_conversation(
    new_gateway: NewGateway, pool: ThreadPoolExecutor, agent: str
) -> None:
    gateway = new_gateway(agents=AGENTS_OF_A_LIFE).start()
    app = gateway.app()
    session = app.create_session(agent=agent)
    session.turn("one [[SAY un]]")
    lost = pool.submit(
        ask, app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "two [[SAY deux]][[HANG]]"}
    )
    gateway.until_heard("two")
    kept = [*gateway.home(session).glob(".fake_agent/*")]
    until(lambda: all("two" in file.read_text() for file in kept), "the agent to have kept it")
    gateway.kill()
    lost.exception()
    gateway.start()
    db = Ledger(gateway.data_dir)
    with Forge(base_url=gateway.url, token=app._config.token) as again:
        found = again.attach_session(session.session_id)
        until(lambda: db.turns(session.session_id)[1]["stop_reason"] == "interrupted", "the turn to end")
        told = found.turn("[[RECALL]][[HANDED]]").text()
        assert "one [[SAY un]]" in told and "two [[SAY deux]]" in told
        assert woken(db, session, first=3) == ["replayed" if agent == "fake" else "native"]
        assert [gateway.heard(text) for text in ("one", "two")] == [1, 1]
        found.close()
    app.close()


AGENTS_OF_A_LIFE = {name: AGENTS[name] for name in ("resumes", "loads")}


def test_a_sleeping_session_is_closed_when_its_time_is_over(new_gateway: NewGateway) -> None:
    short = {**IDLE, "session_ttl_secs": 1}
    gateway = new_gateway(agents=AGENTS_OF_A_LIFE, settings=short).start()
    with gateway.app() as app:
        session = app.create_session(agent="resumes")
        session.turn("one")
        until_asleep(gateway, session)
        until(lambda: session.state()["closed_at"] is not None, "the session to be closed")
        assert session.state()["close_reason"] == "idle"


@pytest.mark.parametrize("session_ttl_secs", [1, 60])
def test_an_agent_that_would_sleep_only_when_its_session_is_closed_is_a_mistake(session_ttl_secs: int) -> None:
    with pytest.raises(ValidationError, match="must be below session_ttl_secs"):
        settings.load(agent_idle_secs=60, session_ttl_secs=session_ttl_secs)
    assert settings.load(session_ttl_secs=session_ttl_secs).session_ttl_secs == session_ttl_secs


def test_an_agent_may_be_kept_awake(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={**IDLE, "agent_idle_secs": 0}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        session.turn("one")
        app.run("[[SLEEP 1]]", agent="fake")
        assert session.turn("two").text() == "turn 2: two"


def test_the_scripted_agent_knows_the_words_by_which_a_conversation_is_handed_over() -> None:
    assert HANDED_OVER == OPENING
