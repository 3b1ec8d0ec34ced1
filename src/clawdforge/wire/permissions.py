"""Permission requests: what an agent asks before it uses a tool, and what it may be answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Decision = Literal["allow", "allow_always", "reject", "reject_always"]


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
    all the places that the agent names, as the agent sees them.
    """

    permission_id: str
    tool_call_id: str | None
    title: str
    kind: str
    paths: tuple[str, ...]
    options: tuple[PermissionOption, ...]

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
