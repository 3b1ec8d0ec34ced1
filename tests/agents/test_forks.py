"""Real agents in forks: each goes on with what was said before, and hears nothing of what the other is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clawdforge import Forge, Session
from clawdforge.testing.fake_model import FakeModel, Request
from harness.gateway import Gateway
from harness.http import ask
from harness.ledger import Ledger

FACT = "My bicycle is called Rosinante."


@pytest.mark.guarantee
@pytest.mark.parametrize("agent", ["claude", "codex", "gemini"])
def test_a_fork_goes_on_natively_and_apart(app: Forge, gateway: Gateway, model: FakeModel, agent: str) -> None:
    session = app.create_session(agent=agent)
    word = session.session_id
    session.turn(f"{FACT} first-{word} [[SAY Noted.]]")
    (Path(session.cwd) / "file").write_text("text")
    answer = ask(app, "POST", f"/sessions/{session.session_id}/fork")
    assert answer.status == 200, answer.raw
    fork = app.attach_session(answer.body["session_id"])
    for each in (fork, session):
        began_long_ago(gateway, each)
    assert fork.turn(f"fork-{word} [[SAY in the fork]]").text() == "in the fork"
    assert session.turn(f"source-{word} [[SAY in the source]]").text() == "in the source"
    assert fork.turn(f"again-{word} [[SAY once more]]").text() == "once more"

    for prompt, heard in (("fork", ("fork",)), ("source", ("source",)), ("again", ("fork", "again"))):
        told = json.dumps(request(model, f"{prompt}-{word}").body)
        assert FACT in told
        assert "Noted." in told
        assert "conversation-so-far" not in told
        assert tuple(each for each in ("fork", "source", "again") if f"{each}-{word}" in told) == heard
    events = Ledger(gateway.data_dir).events(fork.session_id)
    starts = [each["data"]["how"] for each in events if each["type"] == "agent_start"]
    assert starts == ["new", "native"]
    assert (Path(answer.body["cwd"]) / "file").read_text() == "text"
    for each in (session, fork):
        each.close()


def request(model: FakeModel, word: str) -> Request:
    return next(each for each in model.turns if word in each.last_text)


def began_long_ago(gateway: Gateway, session: Session) -> None:
    """Else gemini would find nothing: it calls a conversation's file by the minute of its start."""
    for chats in gateway.home(session).glob(".gemini/tmp/*/chats"):
        for file in chats.iterdir():
            _, _, last = file.name.rpartition("-")
            file.rename(chats / f"session-2001-01-01T00-00-{last}")
