from __future__ import annotations

from pathlib import Path

import pytest

from clawdforge.server.sandbox.base import View

PAIRS = (("/data/workspaces/s1", "/workspace"), ("/data/homes/s1", "/home/agent"))
MOVED = View("/workspace", "/home/agent", "/tmp", PAIRS)
AS_IT_IS = View("/data/workspaces/s1", "/data/homes/s1", "/data/tmp/s1")


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("/data/workspaces/s1", "/workspace"),
        ("/data/workspaces/s1/a b/ü", "/workspace/a b/ü"),
        ("/data/homes/s1/.claude", "/home/agent/.claude"),
    ],
)
def test_a_path_of_the_session_reads_differently_on_each_side(here: str, there: str) -> None:
    assert MOVED.there(Path(here)) == there
    assert MOVED.here(there) == here


@pytest.mark.parametrize("path", ["/data/workspaces/s10/a", "/etc/passwd", "/usr/bin/node"])
def test_what_is_not_moved_is_told_as_it_is(path: str) -> None:
    assert MOVED.there(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "/workspaces/a",
        "/etc/passwd",
        "/",
        "/data/workspaces/s1/a",
        "//workspace/a",
        "/usr/../workspace/a",
        "/home/agent2",
    ],
)
def test_what_is_not_surely_the_sessions_own_is_nowhere_here(path: str) -> None:
    assert MOVED.here(path) is None


def test_dots_are_left_to_whoever_sees_the_links() -> None:
    assert MOVED.here("/workspace/link/../config") == "/data/workspaces/s1/link/../config"


def test_a_relative_path_starts_at_the_workspace_on_both_sides() -> None:
    assert MOVED.here("src/main.py") == "src/main.py"


def test_where_nothing_is_moved_every_path_is_its_own() -> None:
    assert AS_IT_IS.there("/data/a") == AS_IT_IS.here("/data/a") == "/data/a"
