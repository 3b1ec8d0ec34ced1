"""Verbs that leave something behind: children, daemons, memory, files. Every sleeper ends by itself."""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .turn import Turn, Verb

LIFETIME_S = 300
PIECE_BYTES = 1 << 20
HELD: list[bytearray] = []


def forked_sleeper() -> int:
    """The pid of a child that sleeps with everything inherited."""
    pid = os.fork()
    if pid == 0:
        time.sleep(LIFETIME_S)
        os._exit(0)
    return pid


def child(turn: Turn, _: str) -> None:
    """SIGTERM is ignored before the fork, so that the child never sees a moment without it."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pid = forked_sleeper()
    signal.signal(signal.SIGTERM, before)
    turn.say(str(pid))


def grandchild(turn: Turn, _: str) -> None:
    turn.say(str(forked_sleeper()))
    os._exit(0)


def daemon(turn: Turn, _: str) -> None:
    told, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(tell, b"%d" % os.getpid())
        os.closerange(0, tell + 1)
        time.sleep(LIFETIME_S)
        os._exit(0)
    os.close(tell)
    turn.say(os.read(told, 32).decode())
    os.close(told)
    os.wait()


def forks(turn: Turn, count: str) -> None:
    pids = []
    try:
        for _ in range(int(count)):
            pids.append(forked_sleeper())
    except OSError as error:
        turn.say(f"fork failed: {error.strerror} ")
    turn.say(f"forked {len(pids)}")


def respawn(turn: Turn, count: str) -> None:
    ends_at = time.monotonic() + LIFETIME_S
    for _ in range(int(count)):
        if os.fork() == 0:
            keep_a_twin(ends_at)
    turn.say(f"forked {count} pairs")


def keep_a_twin(ends_at: float) -> None:
    """Neither of the two ends with the other: who is left forks anew. By the alarm both end in time."""
    os.setsid()
    while (left_s := ends_at - time.monotonic()) > 0:
        signal.alarm(int(left_s) + 1)
        watched, held = os.pipe()
        twin = os.fork()
        if twin:
            os.close(watched)
            os.waitpid(twin, 0)
            os.close(held)
        else:
            signal.alarm(int(left_s) + 1)
            os.close(held)
            os.read(watched, 1)  # ends when the other does
            os.close(watched)
    os._exit(0)


def memory(turn: Turn, size: str) -> None:
    """bytearray(n) would only reserve: every page is written."""
    for left_bytes in range(int(size), 0, -PIECE_BYTES):
        HELD.append(bytearray(b"x") * min(left_bytes, PIECE_BYTES))
    turn.say(f"holding {size} bytes")


def disk(turn: Turn, argument: str) -> None:
    name, _, size = argument.partition(" ")
    try:
        with open(turn.path(name), "wb") as file:  # noqa: PTH123
            for left_bytes in range(int(size), 0, -PIECE_BYTES):
                file.write(b"x" * min(left_bytes, PIECE_BYTES))
    except OSError as error:
        turn.say(f"cannot fill {name}: {error.strerror}")
    else:
        turn.say(f"wrote {size} bytes")


VERBS: dict[str, Verb] = {
    "CHILD": child,
    "GRANDCHILD": grandchild,
    "DAEMON": daemon,
    "FORKS": forks,
    "RESPAWN": respawn,
    "MEMORY": memory,
    "DISK": disk,
}
