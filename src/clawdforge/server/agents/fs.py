"""File requests of agents that make them though nothing was offered: answered inside the workspace only.

A write is an edit and a read is a read: the owner's policy decides both. Facts about them: docs/agents.md.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from clawdforge.server.agents import rpc
from clawdforge.server.workspaces import beneath, paths
from clawdforge.wire.permissions import PermissionAsk, PermissionOption

_READ_LIMIT_BYTES: Final = 8 * 1024 * 1024
ALLOWED: Final = "allow"
_OPTIONS: Final = (
    PermissionOption(ALLOWED, "Allow", "allow_once"),
    PermissionOption("reject", "Reject", "reject_once"),
)


@dataclass(frozen=True, slots=True)
class FileAccess:
    """One `fs/read_text_file` or `fs/write_text_file`; `content` is None for a read."""

    kind: Literal["read", "edit"]
    path: str
    content: str | None

    def ask(self, permission_id: str) -> PermissionAsk:
        """The request as a question to the policy; it is let through by the option `ALLOWED` only."""
        title = f"{self.kind} {self.path}"
        held_bytes = len(self.path) + len(self.content or "")
        return PermissionAsk(permission_id, None, title, self.kind, (self.path,), _OPTIONS, held_bytes)

    async def perform(self, workspace: Path, here: str | None, reply: rpc.Reply) -> None:
        """Reads or writes, off the loop, and answers. `here` is the path on this machine, where it has one."""
        try:
            reply.result(await asyncio.to_thread(self._perform, workspace, here))
        except (OSError, ValueError) as error:
            reply.error(rpc.INVALID_PARAMS, f"{self.path}: {getattr(error, 'strerror', None) or error}")

    def _perform(self, workspace: Path, here: str | None) -> dict[str, Any]:
        real = None if here is None else paths.inside(workspace, here)
        if real is None:
            raise ValueError("outside of the workspace")
        # The agent may put a link in the place of anything on the way, also now.
        name = str(real.relative_to(os.path.realpath(workspace)))
        if self.content is None:
            with os.fdopen(beneath.open_file(workspace, name, os.O_RDONLY), "rb") as file:
                return {"content": file.read(_READ_LIMIT_BYTES).decode("utf-8", "replace")}
        if paths.protected(workspace, real):
            raise ValueError("a protected place")
        fd = beneath.open_file(workspace, name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(fd, "wb") as file:
            file.write(self.content.encode())
        return {}


def access(method: str, params: dict[str, Any]) -> FileAccess | None:
    """The file request that a method is, or None where it is none."""
    path, content = params.get("path"), params.get("content")
    if not isinstance(path, str):
        return None
    if method == "fs/read_text_file":
        return FileAccess("read", path, None)
    if method == "fs/write_text_file" and isinstance(content, str):
        return FileAccess("edit", path, content)
    return None
