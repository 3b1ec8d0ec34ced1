"""How a turn can end: one table, the same for runs and turns.

The table is the contract's (docs/api.md, "How a turn can end"). Must not do anything: it only says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from clawdforge.server.agents.base import Answered, Prompt, PromptEnd
from clawdforge.server.store.stored import TurnRow
from clawdforge.wire import codec, events
from clawdforge.wire.events import Draft
from clawdforge.wire.problems import Problem
from clawdforge.wire.usage import Usage


@dataclass(frozen=True, slots=True)
class EndKind:
    """What an end means: the record's status, the error code that it is answered with, and `ok`."""

    status: Literal["done", "failed"]
    error: str | None
    ok: bool


ENDS: Final[Mapping[str, EndKind]] = MappingProxyType(
    {
        "end_turn": EndKind("done", None, True),  # but see `TurnEnd.ok`
        "max_tokens": EndKind("done", None, True),
        "max_turn_requests": EndKind("done", None, True),
        "refusal": EndKind("done", None, False),
        "cancelled": EndKind("done", None, False),
        "timeout": EndKind("failed", "timeout", False),
        "agent_failed": EndKind("failed", "agent_failed", False),
        "interrupted": EndKind("failed", "interrupted", False),
        "budget_exceeded": EndKind("failed", "budget_exceeded", False),
    }
)

_NEVER_BEGUN: Final = "the gateway stopped before the turn began: no agent has heard of it"
_INTERRUPTED: Final = "the gateway stopped while the turn ran; whether the agent had finished is not known"


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How one turn ended.

    Attributes:
        stop_reason: a key of `ENDS`.
        detail: a sentence for a person, for the ends that are errors.
        extra: what the error body tells besides (`phase`, `exit_code`, `stderr_tail`, `limit`).
        agent_usable: False where the agent must not be given another prompt.
        refused: a value of the caller's that the agent refused: answered in place of the error.
    """

    stop_reason: str
    detail: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    agent_usable: bool = True
    refused: Problem | None = None

    @property
    def kind(self) -> EndKind:
        """The row of the table."""
        return ENDS[self.stop_reason]

    @property
    def error(self) -> str | None:
        """The code of the error that is answered, if it is one."""
        return self.kind.error if self.refused is None else self.refused.code

    @property
    def told(self) -> Mapping[str, Any]:
        """What the error body tells besides."""
        return self.extra if self.refused is None else self.refused.extra

    def ok(self, *, empty: bool) -> bool:
        """Whether the turn did what was asked. An agent that ends at once, having done nothing, did not."""
        return self.kind.ok and not (self.stop_reason == "end_turn" and empty)


def by_agent(end: PromptEnd) -> TurnEnd:
    """The end of a turn that its agent ended, well or badly."""
    if isinstance(end, Answered):
        return TurnEnd(end.stop_reason)
    if end.phase is not None:
        return timed_out(end.phase, end.detail)
    extra: dict[str, Any] = {"exit_code": end.exit_code, "stderr_tail": end.stderr_tail}
    if end.limit is not None:
        extra["limit"] = end.limit
    return TurnEnd("agent_failed", end.detail, extra, agent_usable=end.alive)


def timed_out(phase: str, detail: str) -> TurnEnd:
    """The end of a turn whose time was over. Its agent is not asked again: the next turn gets a fresh one."""
    return TurnEnd("timeout", detail, {"phase": phase}, agent_usable=False)


def with_lost_agent(end: TurnEnd) -> TurnEnd:
    """The same end, of an agent that did not stop when it was asked to."""
    return replace(end, agent_usable=False)


def broken() -> TurnEnd:
    """The end of a turn that failed by a fault of the gateway's own: what its agent did is not known."""
    return TurnEnd("agent_failed", "the gateway failed while the turn ran; its log says more", agent_usable=False)


def cancelled() -> TurnEnd:
    """The end of a turn that a client cancelled."""
    return TurnEnd("cancelled")


def interrupted() -> TurnEnd:
    """The end of a turn that the gateway did not live to see, or had to cut off."""
    return TurnEnd("interrupted", _INTERRUPTED, agent_usable=False)


def never_begun() -> TurnEnd:
    """The end of a turn that was queued when the gateway stopped."""
    return TurnEnd("interrupted", _NEVER_BEGUN)


def ended(
    row: TurnRow,
    end: TurnEnd,
    *,
    empty: bool,
    duration_ms: int,
    used: Usage,
    model: str | None,
    extra: dict[str, Any] | None = None,
) -> TurnRow:
    """The row of a turn that has ended so. `empty`: it has neither text nor a tool call."""
    return TurnRow(
        row.session_id,
        row.turn_index,
        end.kind.status,
        row.started_at_ms,
        stop_reason=end.stop_reason,
        ok=end.ok(empty=empty),
        duration_ms=duration_ms,
        error=end.error,
        detail=end.detail or None,
        usage=codec.to_json(used),
        model=model,
        extra=extra,
    )


def turn_queued(prompt: Prompt) -> Draft:
    """The event of a prompt that waits for its turn."""
    return Draft(events.TURN_QUEUED, {"prompt": prompt.text})


def turn_start(prompt: Prompt) -> Draft:
    """The event that begins a turn's part of the log."""
    names = [each.path.name for each in prompt.files]
    return Draft(events.TURN_START, {"prompt": prompt.text, "files": names})


def last_events(row: TurnRow, end: TurnEnd) -> list[Draft]:
    """What ends a turn's part of the log: why, where it ended in an error, then how."""
    how = {"stop_reason": row.stop_reason, "ok": row.ok, "duration_ms": row.duration_ms, "usage": row.usage}
    told = [Draft(events.TURN_END, how)]
    if end.error is not None:
        why = {"code": end.error, "detail": end.detail}
        if "limit" in end.told:
            why["limit"] = end.told["limit"]
        told.insert(0, Draft(events.ERROR, why))
    return told
