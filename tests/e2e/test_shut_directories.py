"""An agent that shuts its own directories: where the gateway is no root, that shuts them for it as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.http import ask
from harness.levels import gateway_at

SETTINGS = ".tool/settings.json"


@pytest.mark.parametrize("level", ["bwrap", "landlock", "none"])
def test_what_an_agent_has_shut_is_in_nobody_s_way(level: str, tmp_path: Path) -> None:
    (tmp_path / "upload").write_text("an upload")
    with gateway_at(level) as gateway:
        gateway.agents = {"fake": {**gateway.agents["fake"], "home_files": {SETTINGS: "by the gateway"}}}
        with gateway.start().app() as app:
            token = app.upload_file(tmp_path / "upload")
            for mode in ("000", "400", "500"):
                session = app.create_session(agent="fake", permissions="allow")
                shut = f"mkdir -p sub/sub; chmod {mode} sub/sub sub $HOME/.tool $HOME ."
                assert session.turn(f"[[SH {shut}]]").ok
                assert session.turn("hi", files=[token]).text().startswith("turn 2: hi")
                assert Path(session.cwd, "upload").read_text() == "an upload"
                assert session.turn(f"[[SH {shut}]]").ok
                killed = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[KILL9]]"})
                assert killed.problem() == (502, "agent_failed")
                assert session.turn("hi again").text() == "turn 1: hi again"
                assert (gateway.home(session) / SETTINGS).read_text() == "by the gateway"
                assert session.turn(f"[[SH {shut}]]").ok
                session.close()
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log()
