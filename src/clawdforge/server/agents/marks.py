"""What an agent and all that descends from it are known by, wherever they went.

Two marks, because each can be lost in a way in which the other is not. A variable in the environment, which says
whose it is: gone from what was started with another environment. And a number among the limits that the kernel
keeps for each process: it stays through fork, exec, setsid and a cleared environment, and can be read of any
process at any time. It stands where it means nothing: as the microseconds that a real-time process may run without
a pause, 70 000 years of them, for programs that are no such processes.

Source: proc_pid_environ(5), getrlimit(2). Linux only. Must not signal anything: `tree` does.
"""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from clawdforge.server.agents import proc

VARIABLE: Final = "CLAWDFORGE_CHILD"
_LIMIT: Final = resource.RLIMIT_RTTIME
_LIMIT_NAME: Final = b"Max realtime timeout"
_SERIAL_BITS: Final = 29
_GATEWAY_BYTES: Final = 4
_LEAST: Final = 1 << 61


def number(gateway_id: str, serial: int) -> int:
    """The number of one start of an agent; the upper half of it is the gateway's own."""
    own = int.from_bytes(hashlib.sha256(gateway_id.encode()).digest()[:_GATEWAY_BYTES])
    return _LEAST | own << _SERIAL_BITS | serial % (1 << _SERIAL_BITS)


@contextmanager
def worn(number: int) -> Iterator[None]:
    """What this process starts meanwhile has the number, from its first instruction on.

    Where the system has set a bound, below any such number, it has none, and the variable must do.
    """
    before, most = resource.getrlimit(_LIMIT)
    with suppress(ValueError):
        resource.setrlimit(_LIMIT, (number, most))
    try:
        yield
    finally:
        resource.setrlimit(_LIMIT, (before, most))


def number_of(pid: int) -> int | None:
    """The number of a process; None where it has none, or is gone. Raises OSError where nothing can be seen."""
    for line in (proc.read(f"/proc/{pid}/limits") or b"").splitlines():
        if line.startswith(_LIMIT_NAME):
            told = line[len(_LIMIT_NAME) :].split(maxsplit=1)[0]
            return int(told) if told.isdigit() and int(told) >= _LEAST else None
    return None


def is_of(pid: int, gateway_id: str) -> bool:
    """Whether a process bears a mark of this gateway, in whichever of its lives."""
    found = number_of(pid)
    if found is not None and found >> _SERIAL_BITS == number(gateway_id, 0) >> _SERIAL_BITS:
        return True
    return proc.variable(pid, VARIABLE).startswith(f"{gateway_id}:")
