"""What a session may take, from the settings; and how it is told that it wanted more. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clawdforge.server.sandbox.base import LimitName, Limits
from clawdforge.server.settings import Settings

_UNITS: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that ended an agent, and a sentence about it, without a full stop."""

    limit: LimitName
    detail: str


def asked(settings: Settings) -> Limits:
    """The limits of every session; what is set to 0 is not limited."""
    return Limits(
        memory_bytes=settings.agent_memory_bytes or None,
        processes=settings.agent_processes or None,
        cpu_cores=settings.agent_cpu_cores or None,
        open_files=settings.agent_open_files or None,
        file_bytes=settings.agent_file_bytes or None,
        tmp_bytes=settings.agent_tmp_bytes,
        workspace_bytes=settings.workspace_bytes or None,
    )


def memory(limit_bytes: int) -> Exceeded:
    """All its processes together had more."""
    return Exceeded("memory", f"the agent used more than its {amount(limit_bytes)} of memory")


def processes(limit: int) -> Exceeded:
    """It had more of them."""
    return Exceeded("processes", f"the agent ran more than its {limit} processes")


def no_more_processes(limit: int) -> Exceeded:
    """It was not given more of them, and has ended since."""
    return Exceeded("processes", f"the agent ended after it had met its limit of {limit} processes")


def file(limit_bytes: int) -> Exceeded:
    """It wanted to write more into one."""
    return Exceeded("file", f"the agent wrote more than {amount(limit_bytes)} into one file")


def workspace(limit_bytes: int, used_bytes: int | None) -> Exceeded:
    """Its directories hold more; None: nobody can say how much."""
    held = "more than can be counted" if used_bytes is None else amount(used_bytes)
    return Exceeded(
        "workspace", f"the session's workspace and home hold {held}, and may hold {amount(limit_bytes)}"
    )


def amount(size_bytes: int) -> str:
    """A number of bytes as a person reads it: `4 GiB`, `1.5 MiB`."""
    for unit, unit_bytes in _UNITS:
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size_bytes} bytes"
