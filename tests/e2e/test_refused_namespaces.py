"""Where namespaces are refused, as in a container of Docker's: agents are behind the next wall, and it is said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import without_namespaces
from harness.gateway import Gateway, here
from harness.levels import gateway_at
from harness.ordinary import command as as_ordinary_user
from harness.stand import ROOT, USER_UID

WHY = "bwrap: a program behind it did not start: bwrap: No permissions to creat"
WHY_AS_ROOT = "bwrap: no user namespace can be made here"
MEND = "seccomp of Docker), allow them"


@pytest.fixture(params=("root", "user") if ROOT else ("user",))
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """One of root's and one of an ordinary user's, by their own choice of a wall; not started."""
    with gateway_at(None) as made:
        refused = (sys.executable, without_namespaces.__file__)
        made.prefix = refused
        if ROOT and request.param == "user":
            holder = made.root / "holder"
            holder.mkdir()
            made.prefix = (*as_ordinary_user(USER_UID, holder), *refused)
            os.chown(made.root, USER_UID, USER_UID)
        yield made


def test_agents_are_behind_landlock_and_the_log_says_why(gateway: Gateway, request: pytest.FixtureRequest) -> None:
    gateway.start()
    with gateway.app() as app:
        assert app.healthz()["sandbox"]["level"] == "landlock"
        session = app.create_session(agent="fake", permissions="allow")
        turn = session.turn(f"[[SH cat {gateway.data_dir}/admin-token; echo made > file; cat file]]")
        (call,) = (event for event in turn.events if event["type"] == "tool_call")
        assert "Permission denied" in call["result"]["output"]
        assert here(session, f"{session.agent_cwd}/file").read_text() == "made\n"
    (line,) = (line for line in gateway.log().splitlines() if "not the best wall" in line)
    assert "agents stand behind landlock" in line
    assert (WHY_AS_ROOT if "root" in request.node.name else WHY) in line
    assert MEND in line


def test_what_needs_namespaces_is_not_done_without(gateway: Gateway) -> None:
    gateway.settings = {"sandbox": "bwrap"}
    assert MEND in gateway.fails_to_start()
    gateway.settings = {"network": "none"}
    assert MEND in gateway.fails_to_start()


def test_doctor_says_why(gateway: Gateway) -> None:
    told = subprocess.run(
        [*gateway.prefix, sys.executable, "-m", "clawdforge", "doctor", "--data-dir", str(gateway.data_dir)],
        env={"PATH": os.environ["PATH"], "HOME": str(Path("/"))},
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = (line for line in told.stdout.splitlines() if " sandbox: " in line)
    assert line.startswith("ok       sandbox: landlock, network open: not the best wall. bwrap: ")
    assert MEND in line
