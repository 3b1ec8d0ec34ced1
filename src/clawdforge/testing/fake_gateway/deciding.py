"""Permission requests: what a policy decides by itself, which option a decision takes, how an answer is told."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Final

from clawdforge.testing.fake_gateway.script import Ask
from clawdforge.testing.fake_gateway.session import Asked, Session, Turn
from clawdforge.wire import codec, events
from clawdforge.wire.events import Draft
from clawdforge.wire.permissions import (
    Decision,
    Outcome,
    PermissionAnswered,
    PermissionAsk,
    PermissionItem,
    PermissionOption,
)

_READING: Final = frozenset({"read", "search", "think"})
_MAY: Final[Mapping[str, frozenset[str]]] = {
    "deny": frozenset(),
    "reads": _READING,
    "workspace": _READING | {"edit", "delete", "move"},
}
_MEANINGS: Final[Mapping[str, Decision]] = {
    "allow_once": "allow",
    "allow_always": "allow_always",
    "reject_once": "reject",
    "reject_always": "reject_always",
}
_KINDS_FOR: Final[Mapping[Decision, tuple[str, ...]]] = {
    "allow": ("allow_once",),
    "allow_always": ("allow_always", "allow_once"),
    "reject": ("reject_once", "reject_always"),
    "reject_always": ("reject_always", "reject_once"),
}


def by_policy(policy: str, kind: str) -> Decision:
    """What a policy other than `ask` says to a tool of this kind."""
    return "allow" if policy == "allow" or kind in _MAY[policy] else "reject"


def option_for(asked: Asked, decision: Decision) -> PermissionOption | None:
    """The option that a decision takes; None where none of its meaning is offered."""
    offered = {each.kind: each for each in reversed(asked.item.options)}
    return next((offered[kind] for kind in _KINDS_FOR[decision] if kind in offered), None)


def ask(session: Session, turn: Turn, step: Ask, tool_call_id: str, *, waits: bool) -> Asked:
    """The agent asks; the lock is held. `waits`: an app shall answer, until the turn's time for that is over."""
    permission_id = f"perm_{secrets.token_hex(16)}"
    options = tuple(PermissionOption(kind, kind.replace("_", " "), kind) for kind in step.options)
    told = PermissionAsk(permission_id, tool_call_id, step.title, step.kind, (), options)
    expires_at = time.time_ns() // 1_000_000 + round(turn.permission_s * 1000)
    item = PermissionItem(permission_id, tool_call_id, step.title, step.kind, [*options], expires_at)
    asked = session.asked[permission_id] = Asked(item, turn.index)
    data = {**told.as_data(), "expires_at": expires_at if waits else None}
    session.append(Draft(events.PERMISSION_REQUEST, data), turn.index)
    return asked


def answer(session: Session, asked: Asked, option: PermissionOption | None, by: str) -> PermissionAnswered:
    """A request has its answer, by this option, or by none of them; the lock is held."""
    decision: Outcome = "cancelled" if option is None else _MEANINGS.get(option.kind, "other")
    option_id = None if option is None else option.option_id
    asked.answer = told = PermissionAnswered(True, asked.item.permission_id, decision, option_id, by)
    data = {name: value for name, value in codec.to_json(told).items() if name != "ok"}
    session.append(Draft(events.PERMISSION_ANSWER, data), asked.turn_index)
    return told
