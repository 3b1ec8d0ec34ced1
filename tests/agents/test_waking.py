"""Real agents sleep, wake, and outlive a gateway that was killed: they go on with the conversation as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from clawdforge import Forge, Session
from clawdforge.testing.fake_model import FakeModel, Request
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger
from harness.real_agents import gateway_of

FACT = "My bicycle is called Rosinante."
SYSTEM = "Speak like the pirate Querigut."


@pytest.fixture
def sleepy(tmp_path: Path, node_agents: Path, model: FakeModel, user_home: Path) -> Iterator[Gateway]:
    """A gateway whose agents fall asleep after a second."""
    settings = {"agent_idle_secs": 1, "reap_interval_secs": 0.1}
    gateway = gateway_of(tmp_path, node_agents, model, user_home, **settings).start()
    yield gateway
    gateway.close()


@pytest.mark.guarantee
@pytest.mark.parametrize("agent", ["claude", "codex", "gemini"])
def test_it_goes_on_after_its_sleep_and_after_a_gateway_that_was_killed(
    sleepy: Gateway, model: FakeModel, agent: str
) -> None:
    with sleepy.app() as app, ThreadPoolExecutor(1) as pool:
        session = app.create_session(agent=agent, system=SYSTEM)
        session.turn(f"{FACT} first-{session.session_id} [[SAY Noted.]]")
        first = request(model, f"first-{session.session_id}")
        until(lambda: not sleepy.children(session), "the agent to sleep")
        began_long_ago(sleepy, session)

        word = f"hang-{session.session_id}"
        path = f"/sessions/{session.session_id}/turn"
        lost = pool.submit(ask, app, "POST", path, {"prompt": f"{word} [[HANG 60]]"})
        model.wait_for(lambda model: any(word in each.last_text for each in model.turns), 60)
        sleepy.kill()
        lost.exception()
        check_goes_on(request(model, word), first)

        sleepy.start()
        with Forge(base_url=sleepy.url, token=app._config.token) as again:
            found = again.attach_session(session.session_id)
            db = Ledger(sleepy.data_dir)
            until(lambda: db.turns(session.session_id)[1]["stop_reason"] == "interrupted", "the turn to end")
            turn = found.turn(f"again-{word} [[SAY still here]]")
            assert turn.text() == "still here"
            check_goes_on(request(model, f"again-{word}"), first)
            events = db.events(session.session_id)
            starts = [(each["turn_index"] or 0, each["data"]) for each in events if each["type"] == "agent_start"]
            assert [(index, data["how"]) for index, data in starts if index > 1] == [(2, "native"), (3, "native")]
            texts = [(each["turn_index"], each["data"]["content"]) for each in events if each["type"] == "text"]
            assert "".join(text for _, text in texts) == "Noted.still here"
            assert {index for index, _ in texts} == {1, 3}
            found.close()


@pytest.mark.guarantee
@pytest.mark.parametrize("agent", ["claude", "codex", "gemini"])
def test_it_goes_on_with_what_was_said_right_before_it_was_killed(
    app: Forge,
    gateway: Gateway,
    model: FakeModel,
    tree: Callable[[Session], list[psutil.Process]],
    agent: str,
) -> None:
    with app.create_session(agent=agent, system=SYSTEM) as session:
        running = tree(session)
        session.turn(f"{FACT} first-{session.session_id} [[SAY Noted.]]")
        for each in reversed(running):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        until(lambda: not gateway.children(session), "the agent to be gone")
        began_long_ago(gateway, session)
        assert session.turn(f"again-{session.session_id} [[SAY still here]]").text() == "still here"
        check_goes_on(*(request(model, f"{word}-{session.session_id}") for word in ("again", "first")))


def request(model: FakeModel, word: str) -> Request:
    return next(each for each in model.turns if word in each.last_text)


def check_goes_on(later: Request, first: Request) -> None:
    """The model is told the conversation again, by the same agent in the same settings."""
    told = json.dumps(later.body)
    assert FACT in told
    assert "Noted." in told
    assert SYSTEM in told
    assert "conversation-so-far" not in told
    assert later.model == first.model


def began_long_ago(gateway: Gateway, session: Session) -> None:
    """Else it would matter in which minute gemini wakes: it calls a conversation's file by that of its start."""
    for chats in gateway.home(session).glob(".gemini/tmp/*/chats"):
        for file in chats.iterdir():
            prefix, _, last = file.name.rpartition("-")
            assert prefix.startswith("session-20")
            file.rename(chats / f"session-2001-01-01T00-00-{last}")
