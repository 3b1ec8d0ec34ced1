"""A gateway and agents whose paths are anything but plain: blanks, newlines, quotes, letters, links, and long."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from clawdforge.testing import fake_agent
from harness import agents
from harness.gateway import here
from harness.levels import gateway_at
from harness.stand import interpreter

ODD = "a  b\nc 'größe' \"$HOME\" %s {} 😀"
LONG = "/".join(["d" * 60] * 5)


@pytest.mark.parametrize("name", [ODD, LONG], ids=["odd", "long"])
@pytest.mark.parametrize("level", ["bwrap", "landlock", "none"])
def test_the_data_directory_and_a_program_may_lie_anywhere(level: str, name: str) -> None:
    with gateway_at(level) as gateway:
        place = gateway.root / name
        shown = place / "shown"  # Python looks around where a package lies
        shutil.copytree(Path(fake_agent.__file__).parent, shown / "fake_agent")
        script = shown / "agent"
        script.write_text(f"#!{interpreter().path} -IS\n" + RUNS_WHAT_LIES_BESIDE_IT)
        script.chmod(0o755)
        link = gateway.root / "link"
        link.symlink_to(place)
        argv = [interpreter().path, "-I", "-S", str(shown / "fake_agent")]
        gateway.agents = {
            "fake": agents.scripted(argv=argv, readable=[str(shown)]),
            "script": agents.scripted(argv=[str(link / "shown" / "agent")], readable=[str(link / "shown")]),
        }
        gateway.data_dir = link / "data"
        gateway.start()
        with gateway.app() as app:
            for agent in ("fake", "script"):
                session = app.create_session(agent=agent, permissions="allow")
                session.turn("[[SH echo text >file]]")
                assert here(session, f"{session.agent_cwd}/file").read_text() == "text\n"
                assert os.path.realpath(session.cwd).startswith(str(place))


RUNS_WHAT_LIES_BESIDE_IT = """
import os, runpy
runpy.run_path(os.path.join(os.path.dirname(__file__), "fake_agent"), run_name="__main__")
"""
