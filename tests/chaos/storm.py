"""A storm: all actors at once against one gateway, calm, and then what is there is looked at."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from chaos.clients import Observer, Resident, Rival, Runner
from chaos.history import History, mark_of
from chaos.nemesis import Nemesis, plans
from chaos.readers import Reader
from chaos.truth import Heard, Stored, Truth, Violation
from chaos.world import Actor, Slot, World
from harness import agents, ledger
from harness.agent_log import AgentLog
from harness.gateway import Gateway
from harness.ledger import Ledger, Row

APP: Final = "storm"
SLOTS: Final = 20
RUNNERS: Final = 3
READERS_OF_A_SLOT: Final = 2
JOINED_WITHIN_S: Final = 120.0
FAULTS: Final = ("Traceback", "failed inside the gateway", " ERROR ")
SETTINGS: Final[dict[str, Any]] = {
    "cancel_timeout_secs": 0.5,
    "drain_timeout_secs": 0.5,
    "heartbeat_secs": 1,
    "agent_idle_secs": 0.7,
    "reap_interval_secs": 0.2,
    "max_queued_turns": 3,
}
AGENTS: Final = {
    "resumes": agents.scripted(env={"FAKE_AGENT_CAPS": '{"sessionCapabilities": {"resume": {}}}'}),
    "loads": agents.scripted(env={"FAKE_AGENT_CAPS": '{"loadSession": true}'}),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a storm has left.

    Attributes:
        faults: what was found that is no matter of the laws: processes, a broken database, tracebacks.
    """

    history: History
    truth: Truth
    faults: list[Violation]


def rage(gateway: Gateway, seed: int, secs: float) -> Outcome:
    """Starts a gateway, lets the storm loose on it for so long, and looks at all that it leaves."""
    gateway.start()
    with gateway.app(APP) as app:
        token = app._config.token
    assert token is not None
    slots = [Slot(f"{number}") for number in range(SLOTS)]
    world = World(gateway, token, seed, slots)
    world.up.set()
    _play(world, Nemesis(world, plans(seed, SLOTS), secs))
    faults = list(_aftermath(world))
    return Outcome(world.history, _truth(gateway), faults)


def _play(world: World, nemesis: Nemesis) -> None:
    """Every actor to its end. The first fault of one ends the others too."""
    actors: list[Actor] = []
    for slot in world.slots:
        actors.append(Resident(world, slot))
        actors += [Reader(world, slot, f"reader-{slot.name}-{n}") for n in range(READERS_OF_A_SLOT)]
    actors += [Rival(world, slot) for slot in world.slots]
    actors += [Runner(world, f"runner-{number}") for number in range(RUNNERS)]
    with ThreadPoolExecutor(len(actors) + 1) as threads:
        striking = threads.submit(nemesis.run)
        acting = [threads.submit(actor.run) for actor in actors]
        wait([striking])
        world.calm.set()
        wait(acting, JOINED_WITHIN_S, FIRST_EXCEPTION)
        world.gone.set()
        for slot in world.slots:
            slot.end()
    errors = [error for each in (striking, *acting) if (error := each.exception()) is not None]
    if errors:
        raise BaseExceptionGroup("actors met what must not be", errors)


def _aftermath(world: World) -> Iterator[Violation]:
    """Closes what nobody knew of, restarts, reads everything once more, stops; tells what should not be."""
    gateway = world.gateway
    observer = Observer(world, "observer")
    for session_id in observer.open_sessions():
        observer.close(session_id)
    yield from _ended(gateway)
    gateway.start()
    replay = Reader(world, world.slots[0], "replay")
    for row in Ledger(gateway.data_dir).sessions(APP):
        replay.replay(row["session_id"])
        observer.look_at_turns(row["session_id"])
    yield from _ended(gateway)
    with closing(sqlite3.connect(gateway.data_dir / "clawdforge.db")) as connection:
        (told,) = connection.execute("PRAGMA integrity_check").fetchone()
    if told != "ok":
        yield Violation("the database is whole", told)
    for line in gateway.log().splitlines():
        if any(fault in line for fault in FAULTS):
            yield Violation("the gateway's log has no fault", line)


def _ended(gateway: Gateway) -> Iterator[Violation]:
    code = gateway.stop()
    if code != 0:
        yield Violation("the gateway ends well", f"its exit code is {code}")
    for left in gateway.children():
        yield Violation("nothing is left running", left)


def _truth(gateway: Gateway) -> Truth:
    books = Ledger(gateway.data_dir)
    stored = {row["session_id"]: _stored(books, row) for row in books.sessions(APP)}
    heard = [each for session in stored.values() for each in _heard(gateway.agent_log, session)]
    return Truth(stored, heard)


def _heard(log: AgentLog, session: Stored) -> Iterator[Heard]:
    """What its own agents have heard: a fork's home begins as a copy of its source's."""
    copied = set()
    if session.forked_from is not None:
        copied = {(entry["t"], entry["pid"]) for entry in log.of(session.forked_from["session_id"])}
    for entry in log.of(session.session_id, "session/prompt"):
        if (entry["t"], entry["pid"]) not in copied:
            (prompt,) = ledger.prompts([entry])
            yield Heard(session.session_id, mark_of(prompt) or prompt)


def _stored(books: Ledger, row: Row) -> Stored:
    session_id = row["session_id"]
    events = [
        {**{name: each[name] for name in ("seq", "type", "turn_index", "ts")}, **each["data"]}
        for each in books.events(session_id)
    ]
    return Stored(
        session_id,
        row["kind"],
        row["closed_at"] is not None,
        json.loads(row["meta"]),
        events,
        [_truthful(turn) for turn in books.turns(session_id)],
        [_truthful(line) for line in books.audit(session_id)],
        json.loads(row["forked_from"] or "null"),
    )


def _truthful(row: Row) -> Row:
    """`ok` is a number in the database."""
    return {**row, "ok": None if row["ok"] is None else bool(row["ok"])}
