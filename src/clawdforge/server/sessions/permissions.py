"""How an agent's permission requests are judged: the ladder of policies, and which option a decision means.

Pure but for looking at the file system, where a path is made real. Must not talk to anyone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clawdforge.server.workspaces import paths
from clawdforge.wire.agents import PermissionPolicy
from clawdforge.wire.permissions import OPTION_ID_CHARS, Decision, Outcome, PermissionAsk, PermissionOption

_READING: Final = frozenset({"read", "search", "think"})
_WRITING: Final = frozenset({"edit", "delete", "move"})
# What an agent may expand to another place than the file of that name: ~, $HOME, file:///etc, a space before /etc.
_MEANS_ELSEWHERE: Final = re.compile(r"[~$\s]|[A-Za-z][A-Za-z0-9+.-]*:")
_KINDS: Final[Mapping[PermissionPolicy, frozenset[str]]] = MappingProxyType(
    {"deny": frozenset(), "ask": frozenset(), "reads": _READING, "workspace": _READING | _WRITING}
)
# What a decision may be answered with, best first. "Allow always" never stands for a single "allow": it would
# answer later requests that nobody has judged.
_KINDS_FOR: Final[Mapping[Decision, tuple[str, ...]]] = MappingProxyType(
    {
        "allow": ("allow_once",),
        "allow_always": ("allow_always", "allow_once"),
        "reject": ("reject_once", "reject_always"),
        "reject_always": ("reject_always", "reject_once"),
    }
)
_MEANINGS: Final[Mapping[str, Outcome]] = MappingProxyType(
    {
        "allow_once": "allow",
        "allow_always": "allow_always",
        "reject_once": "reject",
        "reject_always": "reject_always",
    }
)
_TITLE_CHARS: Final = 8_000  # a command that somebody shall allow is mostly its title
_NAME_CHARS: Final = 200
_ID_CHARS: Final = 1_000
_OPTIONS: Final = 50

Here = Callable[[str], str | None]
"""A path as the agent names it, on this machine; None where it is not one of its session's own."""


def decide(policy: PermissionPolicy, ask: PermissionAsk, workspace: Path, private: Path, here: Here) -> Decision:
    """What a policy answers by itself.

    `deny` and `ask` allow nothing, `reads` what only reads, `workspace` also edits inside the workspace, outside
    of the agents' and git's own directories, `allow` everything. A write that names no path is not allowed by
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


def chosen(options: Sequence[PermissionOption], decision: Decision) -> int | None:
    """The place of the option that says it best, by kind; None where none does."""
    places = (place for kind in _KINDS_FOR[decision] for place, each in enumerate(options) if each.kind == kind)
    return next(places, None)


def outcome(option: PermissionOption) -> Outcome:
    """What it means that this option was chosen."""
    return _MEANINGS.get(option.kind, "other")


def bounded(ask: PermissionAsk) -> PermissionAsk:
    """As much of a request as is told: an agent may write megabytes. What is cut ends with an ellipsis."""
    options = (
        PermissionOption(
            _cut(each.option_id, OPTION_ID_CHARS), _cut(each.name, _NAME_CHARS), _cut(each.kind, _NAME_CHARS)
        )
        for each in ask.options[:_OPTIONS]
    )
    return replace(
        ask,
        tool_call_id=None if ask.tool_call_id is None else _cut(ask.tool_call_id, _ID_CHARS),
        title=_cut(ask.title, _TITLE_CHARS),
        kind=_cut(ask.kind, _NAME_CHARS),
        options=tuple(options),
    )


def _cut(text: str, limit_chars: int) -> str:
    return text if len(text) <= limit_chars else text[: limit_chars - 1] + "…"
