"""Which wall a gateway takes, what it says where it finds none, and where its level is told."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.gateway import Gateway
from harness.http import ask
from harness.levels import gateway_at

REFUSED = "bwrap: No permissions to create a new namespace"


@pytest.fixture
def without_namespaces() -> Iterator[dict[str, str]]:
    """The environment of a machine that refuses namespaces: bubblewrap is there, and fails."""
    with tempfile.TemporaryDirectory(prefix="refused-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        program = Path(name) / "bwrap"
        program.write_text(f"#!/bin/sh\necho '{REFUSED}' >&2\nexit 1\n")
        program.chmod(0o755)
        yield {"PATH": f"{name}:{os.environ['PATH']}"}


def refused(gateway: Gateway, env: dict[str, str], **settings: Any) -> str:
    """What a gateway says that must not start with these settings: one sentence, and nothing stays."""
    gateway.env, gateway.settings = env, settings
    said = gateway.fails_to_start().splitlines()
    assert len([line for line in said if line.startswith("clawdforge: ")]) == 1
    assert not [line for line in said if "Traceback" in line]
    assert not list(gateway.data_dir.glob("wall-*"))
    assert gateway.children() == []
    return said[-1]


def test_a_level_that_is_asked_for_and_does_not_work_is_refused_with_what_mends_it(
    without_namespaces: dict[str, str],
) -> None:
    with gateway_at("bwrap") as gateway:
        said = refused(gateway, without_namespaces, sandbox="bwrap")
        assert f"bwrap: a program behind it did not start: {REFUSED}" in said
        assert "allow them, or choose landlock" in said
        said = refused(gateway, {}, sandbox="landlock", network="none")
        assert said == 'clawdforge: landlock: it cannot close the network. Choose bwrap, or network = "open".'
        gateway.settings = {"sandbox": "bwrap"}
        gateway.start()


@pytest.mark.parametrize("level", ["bwrap", "landlock", "none"])
def test_the_level_in_force_is_told_wherever_somebody_looks(level: str) -> None:
    told = {"level": level, "network": "open"}
    with gateway_at(level) as gateway:
        gateway.start()
        with gateway.app() as app:
            made = ask(app, "POST", "/sessions", {"agent": "fake"}).body
            path = f"/sessions/{made['session_id']}"
            places = [
                ask(app, "GET", "/healthz").body,
                ask(app, "GET", "/agents").body,
                made,
                ask(app, "GET", path).body,
                ask(app, "GET", "/sessions").body["sessions"][0],
            ]
            assert [each["sandbox"] for each in places] == [told] * len(places)
            events = ask(app, "GET", f"{path}/events").body["events"]
            assert [each["sandbox"] for each in events if each["type"] == "agent_start"] == [level]
            moved = level == "bwrap"
            assert made["agent_cwd"] == ("/workspace" if moved else made["cwd"])
