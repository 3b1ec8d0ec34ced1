"""The policy that answers an agent's permission requests: a ladder, judged by tool kind and real path.

Pure but for looking at the file system, where a path is made real. Must not talk to anyone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clawdforge.server.workspaces import paths
from clawdforge.wire.agents import PermissionPolicy
from clawdforge.wire.permissions import Decision, PermissionAsk

_READING: Final = frozenset({"read", "search", "think"})
_WRITING: Final = frozenset({"edit", "delete", "move"})
# What an agent may expand to another place than the file of that name: ~, $HOME, file:///etc, a space before /etc.
_MEANS_ELSEWHERE: Final = re.compile(r"[~$\s]|[A-Za-z][A-Za-z0-9+.-]*:")
_KINDS: Final[Mapping[PermissionPolicy, frozenset[str]]] = MappingProxyType(
    {"deny": frozenset(), "reads": _READING, "workspace": _READING | _WRITING}
)


Here = Callable[[str], str | None]
"""A path as the agent names it, on this machine; None where it is not one of its session's own."""


def decide(policy: PermissionPolicy, ask: PermissionAsk, workspace: Path, private: Path, here: Here) -> Decision:
    """What a policy answers.

    `deny` allows nothing, `reads` what only reads, `workspace` also edits inside the workspace, outside of the
    agents' and git's own directories, `allow` everything. A write that names no path is not allowed by
    `workspace`: nobody could say where it goes. Nor is one to a path that the agent may take for another place.

    Args:
        policy: the session's.
        ask: what the agent wants.
        workspace: the session's directory.
        private: the gateway's own directory, with the tokens, logins and workspaces of others: below it nothing
            is read but the workspace.
        here: where what the agent names lies.
    """
    if policy == "allow":
        return "allow"
    if ask.kind not in _KINDS[policy]:
        return "reject"
    if ask.kind in _READING:
        return "allow" if all(_readable(workspace, private, here(path)) for path in ask.paths) else "reject"
    return "allow" if ask.paths and all(_writable(workspace, path, here(path)) for path in ask.paths) else "reject"


def _readable(workspace: Path, private: Path, path: str | None) -> bool:
    if path is None:  # behind its wall there is nothing else than what all may read
        return True
    # A relative path starts at the workspace for both.
    return paths.inside(workspace, path) is not None or paths.inside(private, workspace / path) is None


def _writable(workspace: Path, named: str, path: str | None) -> bool:
    real = None if path is None else paths.inside(workspace, path)
    if real is None or _MEANS_ELSEWHERE.match(named):
        return False
    # Whoever moves or deletes the workspace itself takes its protected directories along.
    return real != paths.inside(workspace, ".") and not paths.protected(workspace, real)
