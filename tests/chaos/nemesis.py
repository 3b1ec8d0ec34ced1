"""The nemesis: strikes agents and the gateway at times that the seed has chosen before anything began."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from chaos.history import Blow, Strike, now_ms
from chaos.world import World
from harness.gateway import Gateway

AGENT_EVERY_S: Final = 0.6
GATEWAY_EVERY_S: Final = 5.0
A_RUN: Final = -1


@dataclass(frozen=True, slots=True)
class Plan:
    """One blow.

    Attributes:
        at_s: when, from the storm's begin.
        slot: whose agent; A_RUN: that of a run.
        lasts_s: for how long, where an agent is only stopped.
    """

    at_s: float
    blow: Blow
    slot: int = 0
    lasts_s: float = 0.0


def plans(seed: int, secs: float, slots: int) -> list[Plan]:
    """All blows of a storm, in their order."""
    rng = random.Random(f"{seed}/nemesis")
    found = []
    at_s = rng.expovariate(1 / AGENT_EVERY_S)
    while at_s < secs:
        blow: Blow = rng.choices(("agent", "tree", "pause"), (5, 3, 3))[0]
        found.append(Plan(at_s, blow, rng.randrange(A_RUN, slots), rng.uniform(0.05, 0.6)))
        at_s += rng.expovariate(1 / AGENT_EVERY_S)
    at_s = rng.uniform(1, GATEWAY_EVERY_S)
    while at_s < secs:
        found.append(Plan(at_s, rng.choices(("kill", "stop"), (7, 3))[0]))
        at_s += 2 + rng.expovariate(1 / (GATEWAY_EVERY_S - 2))
    return sorted(found, key=lambda plan: plan.at_s)


class Nemesis:
    """Carries the plans out."""

    def __init__(self, world: World, of: list[Plan]) -> None:
        self._world = world
        self._plans = of

    def run(self) -> None:
        """All of them, then the storm is over."""
        began = time.monotonic()
        try:
            for plan in self._plans:
                time.sleep(max(0.0, began + plan.at_s - time.monotonic()))
                self._strike(plan)
        finally:
            self._world.over.set()

    def _strike(self, plan: Plan) -> None:
        match plan.blow:
            case "kill":
                self._restart(plan, self._world.gateway.kill)
            case "stop":
                self._restart(plan, self._stop)
            case _:
                self._agent(plan)

    def _restart(self, plan: Plan, end: Callable[[], object]) -> None:
        world, began_ms = self._world, now_ms()
        end()
        world.up.clear()
        world.gateway.start()
        world.up.set()
        world.history.strikes.append(Strike(plan.blow, began_ms, now_ms()))

    def _stop(self) -> None:
        code = self._world.gateway.stop()
        assert code == 0, f"the gateway ended with {code}"

    def _agent(self, plan: Plan) -> None:
        if plan.slot == A_RUN:
            session_id: str | None = "run_"
        else:
            session_id = self._world.slots[plan.slot].current
        found = list(processes(self._world.gateway, session_id)) if session_id else []
        if not found:
            return
        began_ms = now_ms()
        struck = [process for mark, process in found if mark == found[0][0]]
        with suppress(psutil.NoSuchProcess):
            if plan.blow == "tree":
                for process in struck:
                    process.kill()
            elif (agent := _agent_of(struck)) is not None and plan.blow == "agent":
                agent.kill()
            elif agent is not None:
                agent.suspend()
                time.sleep(plan.lasts_s)
                agent.resume()
        strike = Strike(plan.blow, began_ms, now_ms(), found[0][0])
        self._world.history.strikes.append(strike)


def processes(gateway: Gateway, session_id: str) -> Iterator[tuple[str, psutil.Process]]:
    """What runs for a session, or for all whose ids begin so: whose each is, and the process."""
    gateway_id = (gateway.data_dir / "gateway-id").read_text().strip()
    begin = f"CLAWDFORGE_CHILD={gateway_id}:".encode()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, psutil.Error), open(f"/proc/{name}/environ", "rb") as file:
            for entry in file.read().split(b"\0"):
                if entry.startswith(begin) and (mark := entry[len(begin) :].decode()).startswith(session_id):
                    yield mark, psutil.Process(int(name))


def _agent_of(found: list[psutil.Process]) -> psutil.Process | None:
    """The agent itself: the oldest that is no part of the wall."""
    agents = [each for each in found if each.name().startswith("python")]
    return min(agents, key=psutil.Process.create_time, default=None)
