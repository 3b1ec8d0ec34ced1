"""Verbs that tell what should not be told: an environment variable, in words and in everything else."""

from __future__ import annotations

import os

from .pipe import STDERR, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .turn import Turn, Verb


def value_of(name: str) -> str:
    return os.environ.get(name, f"{name} is not set")


def leak(turn: Turn, name: str) -> None:
    turn.say(value_of(name))


def spell(turn: Turn, argument: str) -> None:
    size, _, name = argument.partition(" ")
    value = value_of(name)
    for start in range(0, len(value), int(size)):
        turn.say(value[start : start + int(size)])


def spill(turn: Turn, name: str) -> None:
    value = value_of(name)
    turn.think(f"I know {value[:5]}")
    turn.think(f"{value[5:]}!")
    call = turn.tool_call(f"echo {value}", "execute", {"command": ["echo", value], value: 1})
    turn.permission(call)
    turn.tool_done(call, "completed", {"output": f"{value}\n"})
    turn.update("plan", entries=[{"content": value, "priority": "low", "status": "pending"}])
    turn.update("brand_new_update", novelty={value: [value]})
    turn.agent.pipe.send({"method": "_private/note", "params": {"note": value}})


def stderr(turn: Turn, name: str) -> None:
    write_all(STDERR, f"fatal: refused with {os.environ.get(name, '')}\n".encode())
    os._exit(1)


VERBS: dict[str, Verb] = {
    "ENV": leak,
    "LEAK": leak,
    "SPELL": spell,
    "SPILL": spill,
    "SECRET_STDERR": stderr,
}
