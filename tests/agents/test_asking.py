"""Real agents whose requests an app answers for good: what it has allowed happens, and how long that holds."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge, Session
from harness.http import ask
from harness.permissions import Row, reply, waiting

AGENTS = ("claude", "codex", "gemini")


def answered(app: Forge, session: Session, prompt: str, **body: Any) -> tuple[list[Row], list[Row]]:
    """What an agent asked in a turn, where each request got this answer, and what it was told."""
    asked, given = [], []
    path = f"/sessions/{session.session_id}/turn"
    with ThreadPoolExecutor(1) as threads:
        turn = threads.submit(ask, app, "POST", path, {"prompt": prompt})
        while not turn.done():
            for each in waiting(app, session.session_id):
                asked.append(each)
                given.append(reply(app, session.session_id, each["permission_id"], **body).body)
            time.sleep(0.02)
    assert turn.result().status == 200, turn.result().raw
    return asked, given


@pytest.mark.parametrize("agent", AGENTS)
def test_a_file_that_is_allowed_for_good_is_written(app: Forge, agent: str) -> None:
    """Where an agent offers no "always" for it, or does not keep it, it is allowed once."""
    with app.session(agent, permissions="ask") as session:
        _, given = answered(app, session, "[[WRITE a.txt mine]]", decision="allow_always")
        assert [each["decision"] for each in given] == ["allow_always" if agent == "claude" else "allow"]
        assert Path(session.cwd, "a.txt").read_text().strip() == "mine"


@pytest.mark.parametrize("agent", AGENTS)
def test_a_command_that_is_allowed_for_good_is_not_asked_for_again(app: Forge, agent: str) -> None:
    with app.session(agent, permissions="ask") as session:
        made = Path(session.cwd, "made.txt")
        asked, given = answered(app, session, "[[BASH touch made.txt]]", decision="allow_always")
        assert [(each["kind"], each["title"]) for each in asked] == [("execute", "touch made.txt")]
        assert [each["decision"] for each in given] == ["allow_always"]
        made.unlink()
        asked, _ = answered(app, session, "[[BASH touch made.txt]]", decision="reject")
        assert asked == []
        assert made.exists()
