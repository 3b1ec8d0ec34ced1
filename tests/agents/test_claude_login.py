"""How the real `claude` comes by its login: from its user, and back where it was renewed; else it says what to do.

The gateway here has no key in its environment. The tests' user has a home of his own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawdforge import ForgeAPIError
from clawdforge.testing.fake_model import FakeModel
from harness.gateway import Gateway, until

LOGIN = Path(".claude") / ".credentials.json"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a user who has not logged in."""
    home = tmp_path / "home"
    (home / ".claude").mkdir(parents=True)
    (home / ".claude" / "history.jsonl").write_text("his own")
    return home


@pytest.fixture
def keyless(tmp_path: Path, home: Path, node_agents: Path, model: FakeModel) -> Iterator[Gateway]:
    """A gateway of this user's, without a key."""
    path = f"{node_agents}{os.pathsep}{os.environ['PATH']}"
    gateway = Gateway(tmp_path, env={"PATH": path, "HOME": str(home), "ANTHROPIC_BASE_URL": model.url}).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log()
    gateway.close()
    assert "sk-ant-oat01" not in gateway.log()


def login(token: str) -> str:
    """What Claude Code keeps of a login."""
    return json.dumps(
        {
            "claudeAiOauth": {
                "accessToken": f"sk-ant-oat01-{token}",
                "refreshToken": f"sk-ant-ort01-{token}",
                "expiresAt": 32_503_680_000_000,  # the year 3000
                "scopes": ["user:inference", "user:profile"],
                "subscriptionType": "max",
            }
        }
    )


def log_in(home: Path, token: str) -> None:
    (home / LOGIN).write_text(login(token))
    (home / LOGIN).chmod(0o600)


def bearer(model: FakeModel) -> Any:
    assert "x-api-key" not in model.turns[-1].headers
    return model.turns[-1].headers["authorization"]


def files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def agents_logins(gateway: Gateway) -> list[Path]:
    """The copies that agents have, one for each session whose agent runs."""
    return list((gateway.data_dir / "homes").glob(f"*/{LOGIN}"))


def test_without_a_login_it_says_how_to_log_in_and_works_once_that_is_done(
    keyless: Gateway, home: Path, model: FakeModel
) -> None:
    before = len(model.turns)
    with keyless.app() as app, app.session() as session:
        with pytest.raises(ForgeAPIError) as caught:
            session.turn("[[SAY hello]]")
        error = caught.value
        assert (error.status_code, error.code, error.stop_reason) == (502, "agent_failed", "agent_failed")
        for way in ("~/.claude/.credentials.json", "ANTHROPIC_API_KEY", "log in"):
            assert way in error.detail
        assert "ANTHROPIC_BASE_URL" not in error.detail, "that one is no login"
        assert len(model.turns) == before
        log_in(home, "first")
        assert session.turn("[[SAY hello]]").text() == "hello"
        assert bearer(model) == "Bearer sk-ant-oat01-first"


def test_the_users_login_goes_in_and_comes_back_renewed(keyless: Gateway, home: Path, model: FakeModel) -> None:
    log_in(home, "first")
    before = files(home)
    with keyless.app() as app:
        with app.session(permissions="allow") as session:
            session.turn("[[SAY hello]]")
            assert bearer(model) == "Bearer sk-ant-oat01-first"
            [copy] = agents_logins(keyless)
            assert copy.read_text() == login("first")
            assert copy.stat().st_mode & 0o777 == 0o600
            # The agent renews its login as it would after it has expired: the file is replaced.
            (Path(session.cwd) / "renewed").write_text(login("second"))
            session.turn("[[BASH mv renewed ~/.claude/.credentials.json]]")
            assert (home / LOGIN).read_text() == login("second"), "kept when the turn is over"
        assert app.run("[[SAY hello]]").result == "hello"
        assert bearer(model) == "Bearer sk-ant-oat01-second"
    log_in(home, "third")
    with keyless.app("another") as another:
        another.run("[[SAY hello]]")
        assert bearer(model) == "Bearer sk-ant-oat01-third"
    until(lambda: not agents_logins(keyless), "the copies to go with their agents")
    assert (home / LOGIN).stat().st_mode & 0o777 == 0o600
    assert files(home) == before
    assert (home / ".claude" / "history.jsonl").read_text() == "his own"
