"""The nemesis: strikes agents and the gateway, in an order that the seed has chosen before anything began."""

from __future__ import annotations

import itertools
import os
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from chaos.history import Blow, Strike, now_ms
from chaos.world import World
from harness.gateway import Gateway

AGENTS: Final[tuple[Blow, ...]] = ("agent", "tree", "pause")
GATEWAYS: Final[tuple[Blow, ...]] = ("kill", "stop")
EVERY_S: Final = 0.4
GATEWAY_EVERY: Final = 9
"""One blow of so many is for the gateway."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One blow.

    Attributes:
        after_s: how long after the one before.
        slot: whose agent; where it has none, that of the next slot which has one. After the last slot come runs.
        lasts_s: for how long, where an agent is only stopped.
    """

    after_s: float
    blow: Blow
    slot: int = 0
    lasts_s: float = 0.0


def plans(seed: int, slots: int) -> Iterator[Plan]:
    """All blows of a storm, in their order, without end."""
    rng = random.Random(f"{seed}/nemesis")
    for number in itertools.count(1):
        after_s = rng.expovariate(1 / EVERY_S)
        if number % GATEWAY_EVERY == 0:
            yield Plan(after_s, rng.choices(GATEWAYS, (7, 3))[0])
        else:
            yield Plan(
                after_s, rng.choices(AGENTS, (5, 3, 3))[0], rng.randrange(slots + 1), rng.uniform(0.05, 0.5)
            )


class Nemesis:
    """Carries plans out, for so many seconds."""

    def __init__(self, world: World, of: Iterator[Plan], secs: float) -> None:
        self._world = world
        self._plans = of
        self._secs = secs

    def run(self) -> None:
        """Until its time is over, and the storm with it."""
        ends = time.monotonic() + self._secs
        try:
            while (left_s := ends - time.monotonic()) > 0:
                plan = next(self._plans)
                time.sleep(min(plan.after_s, left_s))
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
        running = processes(self._world.gateway)
        slots = [slot.current for slot in self._world.slots]
        runs = [session_id for session_id in running if session_id.startswith("run_")]
        candidates = [*slots, *runs]
        found = [each for each in (*candidates[plan.slot :], *candidates) if each is not None and each in running]
        if not found:
            return
        session_id, struck, began_ms = found[0], running[found[0]], now_ms()
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
        self._world.history.strikes.append(Strike(plan.blow, began_ms, now_ms(), session_id))


def processes(gateway: Gateway) -> dict[str, list[psutil.Process]]:
    """What runs for each session."""
    gateway_id = (gateway.data_dir / "gateway-id").read_text().strip()
    mark = re.compile(rf"(?:^|\0)CLAWDFORGE_CHILD={gateway_id}:([a-z0-9_]+)")
    running: dict[str, list[psutil.Process]] = defaultdict(list)
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, psutil.Error):
            environ = Path(f"/proc/{name}/environ").read_text(errors="replace")
            if found := mark.search(environ):
                running[found[1]].append(psutil.Process(int(name)))
    return running


def _agent_of(found: list[psutil.Process]) -> psutil.Process | None:
    """The agent itself: the oldest that is no part of the wall."""
    agents = [each for each in found if each.name().startswith("python")]
    return min(agents, key=psutil.Process.create_time, default=None)
