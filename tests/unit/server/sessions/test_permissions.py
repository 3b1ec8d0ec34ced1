"""The ladder of policies, on a real directory with real links."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawdforge.server.sessions.permissions import decide
from clawdforge.wire.agents import PermissionPolicy
from clawdforge.wire.permissions import PermissionAsk


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A gateway's data directory, with two workspaces and a secret."""
    data = tmp_path / "data"
    for name in ("mine", "other"):
        (data / "workspaces" / name).mkdir(parents=True)
    (data / "admin-token").write_text("secret")
    (data / "workspaces" / "mine" / "link").symlink_to(data / "admin-token")
    (data / "workspaces" / "mine" / "out").symlink_to(tmp_path)
    (data / "workspaces" / "mine" / ".git").mkdir()
    return data


@pytest.fixture
def mine(private: Path) -> Path:
    return private / "workspaces" / "mine"


def ask(kind: str, *paths: str) -> PermissionAsk:
    return PermissionAsk("perm_1", None, "", kind, paths, ())


@pytest.mark.parametrize(
    "kind", ["read", "search", "think", "edit", "delete", "move", "execute", "fetch", "other", "?"]
)
@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ("deny", set()),
        ("reads", {"read", "search", "think"}),
        ("workspace", {"read", "search", "think", "edit", "delete", "move"}),
        ("allow", {"read", "search", "think", "edit", "delete", "move", "execute", "fetch", "other", "?"}),
    ],
)
def test_each_policy_allows_its_kinds_inside_the_workspace(
    policy: PermissionPolicy, allowed: set[str], kind: str, mine: Path, private: Path
) -> None:
    expected = "allow" if kind in allowed else "reject"
    assert decide(policy, ask(kind, str(mine / "a.txt")), mine, private) == expected


@pytest.mark.parametrize("kind", ["edit", "delete", "move"])
@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../other/a", "out/a", "link", ".git/config", "a/../.GIT/x", ".claude/settings.json", "\0"],
)
def test_nothing_is_written_outside_or_where_it_would_arm_an_agent(
    kind: str, path: str, mine: Path, private: Path
) -> None:
    assert decide("workspace", ask(kind, path), mine, private) == "reject"
    assert decide("workspace", ask(kind, "fine.txt", path), mine, private) == "reject"


def test_a_write_that_names_no_path_is_not_allowed(mine: Path, private: Path) -> None:
    assert decide("workspace", ask("edit"), mine, private) == "reject"
    assert decide("workspace", ask("search"), mine, private) == "allow"


@pytest.mark.parametrize("policy", ["reads", "workspace"])
@pytest.mark.parametrize(
    "path", ["../../admin-token", "../other/notes", "link", "../../homes/app/claude/.x", "out/data"]
)
def test_what_is_the_gateways_or_anothers_is_not_read(
    policy: PermissionPolicy, path: str, mine: Path, private: Path
) -> None:
    assert decide(policy, ask("read", path), mine, private) == "reject"
    assert decide(policy, ask("read", str(mine / path)), mine, private) == "reject"
    assert decide(policy, ask("search", "fine.txt", path), mine, private) == "reject"


@pytest.mark.parametrize("path", ["a.txt", ".git/config", "/etc/hostname", "out/elsewhere"])
def test_the_workspace_and_the_rest_of_the_machine_are_read(path: str, mine: Path, private: Path) -> None:
    assert decide("reads", ask("read", path), mine, private) == "allow"
