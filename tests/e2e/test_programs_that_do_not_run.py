"""Agents whose program is there and does not run: it is closed to them, or in want of another one."""

from __future__ import annotations

import os

import pytest

from harness.http import ask
from harness.levels import gateway_at


@pytest.mark.parametrize("level", ["landlock", "none"])
def test_a_directory_that_agents_may_not_pass_is_named_and_opening_it_mends_it(level: str) -> None:
    with gateway_at(level) as gateway:
        gateway.start()
        shut = gateway.root / "shown"
        shut.chmod(0o700)
        with gateway.app() as app:
            found = ask(app, "POST", "/sessions", {"agent": "fake"})
            listed = ask(app, "GET", "/agents/fake").body
            if os.geteuid() != 0:
                assert found.status == 200, "agents are the gateway's own user"
                return
            assert found.problem() == (503, "agent_unavailable")
            assert f"may not pass {shut}: let others (chmod o+x {shut})" in found.body["detail"]
            assert (listed["available"], listed["reason"] in found.body["detail"]) == (False, True)
            assert app.list_sessions()["count"] == 0
            shut.chmod(0o755)
            assert ask(app, "GET", "/agents/fake").body["available"] is True
            assert app.run("hi", agent="fake").ok


@pytest.mark.parametrize("level", ["bwrap", "landlock", "none"])
def test_a_script_whose_interpreter_is_not_there_is_told(level: str) -> None:
    with gateway_at(level) as gateway:
        script = gateway.root / "script"
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        gateway.agents = {"script": {"argv": [str(script)]}}
        gateway.start()
        with gateway.app() as app:
            found = ask(app, "POST", "/sessions", {"agent": "script"})
            assert found.problem() == (502, "agent_failed")
            words = found.body["detail"] + (found.body["stderr_tail"] or "")
            assert "was not found" in words or "No such file or directory" in words
            assert "exited with code 127" not in words
            assert app.list_sessions()["count"] == 0
