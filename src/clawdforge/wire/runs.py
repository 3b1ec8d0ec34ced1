"""Runs: one prompt in, one result out, and the records of those that were. Times are epoch seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal

from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.bounds import Length
from clawdforge.wire.turns import TurnStatus
from clawdforge.wire.usage import Usage

if TYPE_CHECKING:
    # Its default, which Python 3.11 does not know, lets annotations say plainly `RunResult` or `TurnResult`.
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest(AgentOptions):
    """Body of `POST /run`."""

    prompt: Annotated[str, Length(1)]
    files: Annotated[tuple[str, ...], Length(0, 100)] | None = None


@dataclass(frozen=True, slots=True)
class RunResult(Generic[T]):
    """Answer of `POST /run`.

    `result` is the agent's final text without an enclosing code fence, parsed where it is JSON, else the text.
    `ok` is False where the agent did nothing (`empty`), refused, or was cancelled: see `stop_reason`. `usage` has
    the fields of `wire.usage.Usage`; `model` is the one that was chosen, else the one that the agent told.
    `schema_valid` says whether the result fits the schema that was asked for (None: none was), `schema_errors` why
    it does not, `schema_repaired` that it was asked for once more.
    """

    ok: bool
    result: T
    duration_ms: int
    stop_reason: str
    run_id: str | None = None
    session_id: str | None = None
    turn_index: int | None = None
    agent: str | None = None
    model: str | None = None
    empty: bool = False
    usage: dict[str, Any] | None = None
    schema_valid: bool | None = field(default=None, metadata={"omit_none": True})
    schema_errors: list[str] | None = field(default=None, metadata={"omit_none": True})
    schema_repaired: bool | None = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class RunAccepted:
    """Answer, 202, of a `POST /run` that does not wait for its end."""

    ok: bool
    run_id: str
    session_id: str
    turn_index: int
    status: TurnStatus


@dataclass(frozen=True, slots=True)
class RunError:
    """What a failed run was answered with."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunItem:
    """A row of `GET /runs`. What only its end can tell is None while it is `running`."""

    run_id: str
    status: Literal["running", "done", "failed"]
    agent: str
    model: str | None
    created_at: int
    ok: bool | None
    stop_reason: str | None
    duration_ms: int | None
    error: RunError | None
    usage: Usage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo(RunItem):
    """Answer of `GET /runs/{id}`. `result` is the one that `POST /run` answered; None unless the run is `done`."""

    result: Any


@dataclass(frozen=True, slots=True)
class RunPage:
    """Answer of `GET /runs`, newest first. `next_cursor` is None on the last page."""

    ok: bool
    runs: list[RunItem]
    count: int
    next_cursor: str | None
