"""LEAVE: a process that gets lost in one of the usual ways. Its command line, `sleep 300.TOKEN`, tells it."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .turn import Turn, Verb

SLEEP = "/bin/sleep"


def own_group() -> None:
    os.setpgid(0, 0)


def orphan() -> None:
    """By a parent that ends at once."""
    if os.fork():
        os._exit(0)


def daemon() -> None:
    """As in books: nothing ties it to who started it, nor to a place."""
    os.setsid()
    orphan()
    os.chdir("/")


def deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


WAYS: dict[str, Callable[[], None]] = {
    "group": own_group,
    "setsid": os.setsid,
    "orphan": orphan,
    "daemon": daemon,
    "bare": daemon,  # and without its environment, see `become_sleeper`
    "deaf": deaf,
    "pipe": orphan,  # and with the agent's stdout open
}


def leave(turn: Turn, argument: str) -> None:
    way, token = argument.split()
    get_lost = WAYS.get(way)
    if get_lost is None or not token.isdigit():
        raise ValueError(argument)
    pid = os.fork()
    if pid == 0:
        get_lost()
        become_sleeper(way, token)
    if get_lost in (orphan, daemon):
        os.waitpid(pid, 0)
    turn.say(f"left {way} ")


def become_sleeper(way: str, token: str) -> None:
    if way != "pipe":
        os.closerange(0, 1024)
    os.execve(SLEEP, ["sleep", f"300.{token}"], {} if way == "bare" else dict(os.environ))


VERBS: dict[str, Verb] = {"LEAVE": leave}
