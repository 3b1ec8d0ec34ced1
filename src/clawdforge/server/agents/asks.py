"""What one agent asks of its client: permissions, and files that it has no tool of its own for.

Its owner decides, and every request is answered once, whatever becomes of it. Must not decide anything itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawdforge.server.agents import fs, rpc
from clawdforge.server.agents.base import AgentOwner
from clawdforge.server.agents.redact import Redactor
from clawdforge.server.agents.translate import Translator
from clawdforge.wire.permissions import PermissionAsk


@dataclass(frozen=True, slots=True)
class _Open:
    """The options' ids as the agent gave them, and how it hears which of them was chosen."""

    option_ids: tuple[str, ...]
    answered: Callable[[str | None], None]


class Asks:
    """The requests of one agent that are open.

    Args:
        owner: who is asked.
        redactor: passes on what is told of the request.
        translator: knows what the request leaves out.
        workspace: where files may lie.
        here: a path of the agent's on this machine.
    """

    def __init__(
        self,
        owner: AgentOwner,
        redactor: Redactor,
        translator: Translator,
        workspace: Path,
        here: Callable[[str], str | None],
    ) -> None:
        self._owner = owner
        self._redactor = redactor
        self._translator = translator
        self._workspace = workspace
        self._here = here
        self._open: dict[str, _Open] = {}
        self._accesses: set[asyncio.Task[None]] = set()
        self._one_file = asyncio.Lock()

    def take(self, method: str, params: dict[str, Any], reply: rpc.Reply, *, wanted: bool) -> None:
        """A request came: permissions go to the owner; a file inside the workspace is read or written.

        Both are refused where nobody has asked the agent for anything, or wants it any more.
        """
        if method == "session/request_permission":
            if wanted:
                self._ask_permission(params, reply)
            else:
                _permission(reply, None)
        elif (access := fs.access(method, params)) is None:
            reply.error(rpc.METHOD_NOT_FOUND, f"this client does not offer {method}")
        elif not wanted:
            reply.error(rpc.INVALID_PARAMS, "nobody has asked for that: no prompt is open")
        else:
            self._ask(access.ask(_new_id()), lambda chosen: self._file_access(access, reply, chosen == fs.ALLOWED))

    def answer(self, permission_id: str, place: int | None) -> None:
        """Answers a request by the place of an option (see `base.Agent`); one that is not open is left alone."""
        asked = self._open.pop(permission_id, None)
        if asked is not None:
            asked.answered(None if place is None else asked.option_ids[place])

    def drop(self) -> None:
        """Answers what is still open: no agent waits for an answer that nobody will give."""
        dropped, self._open = self._open, {}
        for permission_id, each in dropped.items():
            each.answered(None)
            self._owner.on_permission_dropped(permission_id)

    def _ask_permission(self, params: dict[str, Any], reply: rpc.Reply) -> None:
        if (draft := self._translator.asked_about(params)) is not None:
            self._redactor.take(draft)
        ask = self._translator.permission(_new_id(), params)
        self._ask(ask, lambda chosen: _permission(reply, chosen))

    def _ask(self, ask: PermissionAsk, answered: Callable[[str | None], None]) -> None:
        self._open[ask.permission_id] = _Open(tuple(each.option_id for each in ask.options), answered)
        self._redactor.flush()
        self._owner.on_permission(self._redactor.ask(ask))

    def _file_access(self, access: fs.FileAccess, reply: rpc.Reply, allowed: bool) -> None:
        if not allowed:
            reply.error(rpc.INVALID_PARAMS, "not allowed")
            return
        task = asyncio.create_task(self._perform(access, reply))
        self._accesses.add(task)
        task.add_done_callback(self._accesses.discard)

    async def _perform(self, access: fs.FileAccess, reply: rpc.Reply) -> None:
        async with self._one_file:  # the threads are everybody's
            await access.perform(self._workspace, self._here(access.path), reply)


def _new_id() -> str:
    return f"perm_{secrets.token_hex(8)}"


def _permission(reply: rpc.Reply, chosen: str | None) -> None:
    selected = {"outcome": "selected", "optionId": chosen}
    reply.result({"outcome": {"outcome": "cancelled"} if chosen is None else selected})
