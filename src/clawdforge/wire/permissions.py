"""Permission requests: what an agent asks before it uses a tool, what it may be answered, and who may do that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from clawdforge.wire.bounds import Length

Decision = Literal["allow", "allow_always", "reject", "reject_always"]
Outcome = Literal["allow", "allow_always", "reject", "reject_always", "other", "cancelled"]
"""What a request came to. `other`: an option of a kind that ACP does not know was chosen; `cancelled`: none."""

OPTION_ID_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class PermissionOption:
    """One of the answers that an agent offers; `kind` says what it means, `option_id` is its own name for it."""

    option_id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class PermissionAsk:
    """An agent asks whether it may use a tool.

    `kind` is ACP's tool kind (read, edit, delete, move, search, execute, think, fetch, …, other). `paths` are
    all the places that the agent names, as the agent sees them. `held_bytes` is about how much has to be kept
    until it is answered.
    """

    permission_id: str
    tool_call_id: str | None
    title: str
    kind: str
    paths: tuple[str, ...]
    options: tuple[PermissionOption, ...]
    held_bytes: int = 0

    def as_data(self) -> dict[str, Any]:
        """The fields of a `permission_request` event."""
        return {
            "permission_id": self.permission_id,
            "tool_call_id": self.tool_call_id,
            "title": self.title,
            "kind": self.kind,
            "options": [
                {"option_id": each.option_id, "name": each.name, "kind": each.kind} for each in self.options
            ],
        }


@dataclass(frozen=True, slots=True)
class PermissionReply:
    """Body of `POST /sessions/{id}/permissions/{permission_id}`: a decision, or one of the options; not both."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    decision: Decision | None = None
    option_id: Annotated[str, Length(0, OPTION_ID_CHARS)] | None = None


@dataclass(frozen=True, slots=True)
class PermissionItem:
    """A request that waits for its answer, as its event tells it. `expires_at` is epoch milliseconds."""

    permission_id: str
    tool_call_id: str | None
    title: str
    kind: str
    options: list[PermissionOption]
    expires_at: int


@dataclass(frozen=True, slots=True)
class PermissionPage:
    """Answer of `GET /sessions/{id}/permissions`: all that wait, oldest first."""

    ok: bool
    permissions: list[PermissionItem]
    count: int


@dataclass(frozen=True, slots=True)
class PermissionAnswered:
    """Answer of `POST /sessions/{id}/permissions/{permission_id}`: what the agent was told, and by whom."""

    ok: bool
    permission_id: str
    decision: Outcome
    option_id: str | None
    by: str
