"""The ladder of policies: each rung allows what the one below allows, and something more."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.server.sandbox.base import View
from clawdforge.server.sessions.permissions import Here, bounded, chosen, decide, outcome
from clawdforge.wire import codec
from clawdforge.wire.agents import PermissionPolicy
from clawdforge.wire.permissions import OPTION_ID_CHARS, Decision, PermissionAsk, PermissionOption

LADDER: tuple[PermissionPolicy, ...] = ("deny", "ask", "reads", "workspace", "allow")
KINDS = ("read", "search", "think", "edit", "delete", "move", "execute", "fetch", "switch_mode", "other", "new")


def ask(kind: str, *paths: str) -> PermissionAsk:
    return PermissionAsk("perm_1", "call-1", "title", kind, paths, ())


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A session's workspace, in the gateway's own directory."""
    folder = tmp_path / "data" / "workspaces" / "sess_1"
    folder.mkdir(parents=True)
    return folder


def private(workspace: Path) -> Path:
    return workspace.parents[1]


def allowed_by(kind: str, paths: tuple[str, ...], workspace: Path, here: Here = lambda path: path) -> set[str]:
    return {
        policy
        for policy in LADDER
        if decide(policy, ask(kind, *paths), workspace, private(workspace), here) == "allow"
    }


def as_it_is(path: str) -> str:
    """Where no wall moves anything."""
    return path


@pytest.mark.parametrize("kind", ["read", "search", "think"])
@pytest.mark.parametrize("paths", [(), ("a",), ("/etc/passwd",)], ids=str)
def test_what_only_reads_is_allowed_from_reads_on(kind: str, paths: tuple[str, ...], workspace: Path) -> None:
    assert allowed_by(kind, paths, workspace) == {"reads", "workspace", "allow"}


@pytest.mark.parametrize("kind", ["edit", "delete", "move"])
def test_what_writes_inside_is_allowed_from_workspace_on(kind: str, workspace: Path) -> None:
    assert allowed_by(kind, ("a/b.txt",), workspace) == {"workspace", "allow"}
    assert allowed_by(kind, (str(workspace / "c"), "d"), workspace) == {"workspace", "allow"}
    assert allowed_by(kind, ("backup~", "a/$x", "./file:x", "a b", "1:2"), workspace) == {"workspace", "allow"}


@pytest.mark.parametrize("kind", ["edit", "delete", "move"])
@pytest.mark.parametrize(
    "paths",
    [
        (),
        ("/etc/passwd",),
        ("..",),
        ("a", "/etc/passwd"),
        ("a", "../b"),
        (".git/config",),
        ("x/.claude/y",),
        ("a\0b",),
        (".",),
        ("a/..",),
        ("~/.ssh/authorized_keys",),
        ("~root/x",),
        ("$HOME/x",),
        ("${HOME}/x",),
        ("file:///etc/passwd",),
        ("FILE:x",),
        ("vscode-remote+ssh://host/x",),
        (" /etc/passwd",),
    ],
    ids=str,
)
def test_what_writes_elsewhere_or_nobody_knows_where_is_for_allow_alone(
    kind: str, paths: tuple[str, ...], workspace: Path
) -> None:
    assert allowed_by(kind, paths, workspace) == {"allow"}


@pytest.mark.parametrize("kind", ["execute", "fetch", "switch_mode", "other", "", "READ", "new"])
def test_every_other_kind_is_for_allow_alone(kind: str, workspace: Path) -> None:
    assert allowed_by(kind, ("a",), workspace) == {"allow"}


@pytest.mark.parametrize("kind", ["read", "search"])
@pytest.mark.parametrize(
    "path", ["../sess_2/a", "../../admin-token", "../../homes/app/claude/.claude.json", "to_db"]
)
def test_what_is_the_gateway_s_or_another_session_s_is_read_by_allow_alone(
    kind: str, path: str, workspace: Path
) -> None:
    (workspace / "to_db").symlink_to(private(workspace) / "clawdforge.db")
    assert allowed_by(kind, (path,), workspace) == {"allow"}
    assert allowed_by(kind, ("a", str(workspace / path)), workspace) == {"allow"}


@pytest.mark.parametrize(
    ("kind", "path", "rungs"),
    [
        ("edit", "/workspace/a", {"workspace", "allow"}),
        ("edit", "b", {"workspace", "allow"}),
        ("edit", "/workspace/.git/config", {"allow"}),
        ("edit", "/workspace/link/../config", {"allow"}),
        ("edit", "/workspace", {"allow"}),
        ("edit", "/home/agent/.claude/settings.json", {"allow"}),
        ("edit", "/elsewhere/a", {"allow"}),
        ("read", "/workspace/a", {"reads", "workspace", "allow"}),
        ("read", "/usr/include/a", {"reads", "workspace", "allow"}),
        ("read", "/home/agent/.credentials", {"allow"}),
        ("read", "/workspace/../../clawdforge.db", {"allow"}),
    ],
)
def test_behind_a_wall_that_moves_paths_they_are_judged_by_where_they_are_here(
    kind: str, path: str, rungs: set[str], workspace: Path
) -> None:
    (workspace / ".git" / "hooks").mkdir(parents=True)
    (workspace / "link").symlink_to(".git/hooks")
    moved = ((str(workspace), "/workspace"), (str(private(workspace) / "homes" / "sess_1"), "/home/agent"))
    view = View("/workspace", "/home/agent", "/tmp", moved)
    assert allowed_by(kind, (path,), workspace, view.here) == rungs


def test_a_workspace_that_is_itself_reached_by_a_link_is_judged_by_what_it_is(
    workspace: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(workspace)
    for path, decision in ((workspace / "a", "allow"), (link / "a", "allow"), (tmp_path / "other", "reject")):
        assert decide("workspace", ask("edit", str(path)), link, private(workspace), as_it_is) == decision


@given(kind=st.sampled_from(KINDS), paths=st.lists(st.text(max_size=20), max_size=3))
def test_a_higher_rung_never_allows_less(kind: str, paths: list[str]) -> None:
    workspace, data = Path("/nonexistent/workspaces/sess_1"), Path("/nonexistent")
    decisions = [decide(policy, ask(kind, *paths), workspace, data, as_it_is) for policy in LADDER]
    assert decisions == sorted(decisions, key=lambda decision: decision == "allow")
    assert decisions[0] == "reject"
    assert decisions[-1] == "allow"


@pytest.mark.parametrize("kind", ["edit", "delete", "move"])
def test_the_workspace_itself_is_not_the_agent_s_to_move_or_delete(kind: str, workspace: Path) -> None:
    (workspace / "link").symlink_to(workspace)
    for path in (str(workspace), f"{workspace}/", "link", "./"):
        assert allowed_by(kind, ("a", path), workspace) == {"allow"}


# --- what is said to the agent, and of what it said ------------------------------------------------------------

OPTION_KINDS = ("allow_once", "allow_always", "reject_once", "reject_always", "new", "")


def offered(*kinds: str) -> tuple[PermissionOption, ...]:
    return tuple(PermissionOption(f"option-{place}", kind, kind) for place, kind in enumerate(kinds))


@given(
    decision=st.sampled_from(get_args(Decision)),
    kinds=st.lists(st.sampled_from(OPTION_KINDS), max_size=8),
)
def test_a_decision_is_never_turned_round_and_an_allow_never_widened(decision: Decision, kinds: list[str]) -> None:
    options = offered(*kinds)
    place = chosen(options, decision)
    direction = decision.partition("_")[0]
    if place is None:
        exact = {"allow": "allow_once"}.get(decision)
        assert exact not in kinds
        assert decision == "allow" or not any(kind.startswith(direction) for kind in kinds)
    else:
        assert outcome(options[place]).partition("_")[0] == direction
        assert decision != "allow" or kinds[place] == "allow_once"
        best = decision if decision.endswith("always") else f"{decision}_once"
        assert kinds[place] == best or best not in kinds


def test_an_option_of_a_new_kind_means_something_else() -> None:
    assert [outcome(each) for each in offered(*OPTION_KINDS)] == [
        *("allow", "allow_always", "reject", "reject_always"),
        *("other", "other"),
    ]


TEXTS = st.one_of(st.text(max_size=50), st.integers(0, 20_000).map(lambda size: "é" * size))


@given(title=TEXTS, call_id=st.none() | TEXTS, kind=TEXTS, text=TEXTS, count=st.integers(0, 120))
def test_a_request_is_told_in_bounds_and_the_places_of_its_options_stay(
    title: str, call_id: str | None, kind: str, text: str, count: int
) -> None:
    options = tuple(PermissionOption(f"{place}{text}", text, text) for place in range(count))
    whole = PermissionAsk("perm_1", call_id, title, kind, ("a",), options, held_bytes=7)
    told = bounded(whole)
    assert len(codec.text(told.as_data())) < 64 * 1024
    assert (told.permission_id, told.paths, told.held_bytes) == ("perm_1", ("a",), 7)
    assert len(told.options) == min(count, 50)
    for each, original in zip(told.options, options, strict=False):
        assert each == original or each.option_id[:-1] == original.option_id[: len(each.option_id) - 1]
        assert len(each.option_id) <= OPTION_ID_CHARS
    if max(map(len, (title, call_id or "", kind, text))) <= 150 and count <= 50:
        assert told == whole
