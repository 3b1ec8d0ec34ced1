"""Hundreds of sessions, good and bad ends mixed: what a gateway holds comes back to what it held before."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from clawdforge import Forge
from clawdforge.client.session import Session
from harness import ledger
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger

WARM_UP, MANY, AT_ONCE = 60, 150, 6
GROWTH_LIMIT_BYTES = 16 * 1024
"""Of memory, for each session that has come and gone. An open one was seen to take 22 KiB; measured here were 2 to
6, less the longer it went on: pools and the database's caches, which have an end."""
LATE_THREADS = 6
"""Pools start their last threads when by chance all others are busy. A leak would be hundreds."""


def plain(app: Forge, gateway: Gateway) -> None:
    with app.session(agent="fake") as session:
        assert session.turn("hi").text() == "turn 1: hi"


def one_shot(app: Forge, gateway: Gateway) -> None:
    assert app.run("hi", agent="fake").ok


def crashed(app: Forge, gateway: Gateway) -> None:
    with app.session(agent="fake") as session:
        assert turn(app, session, "[[FORKS 3]][[DAEMON]][[KILL9]]") == (502, "agent_failed")


def timed_out(app: Forge, gateway: Gateway) -> None:
    with app.session(agent="fake") as session:
        assert turn(app, session, "[[IGNORE_CANCEL]][[HANG]]", timeout_secs=1) == (504, "timeout")


def never_started(app: Forge, gateway: Gateway) -> None:
    assert ask(app, "POST", "/sessions", {"agent": "fake-exit1"}).problem() == (502, "agent_failed")


def closed_in_mid_turn(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake")
    with ThreadPoolExecutor(1) as thread:
        prompt = f"of {session.session_id} [[SAY x]][[HANG]]"
        waiting = thread.submit(session.turn, prompt)
        gateway.until_heard(prompt)
        session.close()
        assert waiting.result().stop_reason == "cancelled"


def closed_in_mid_start(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="moody")
    assert turn(app, session, "[[EXIT 1]]") == (502, "agent_failed")
    Path(session.cwd, "fault").write_text("hang-initialize")
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(session.turn, "never heard")
        until(lambda: session.state()["turn_count"] == 2, "the turn to begin")
        session.close()
        assert waiting.result().stop_reason == "cancelled"


def turn(app: Forge, session: Session, prompt: str, **options: int) -> tuple[int, str]:
    body = {"prompt": prompt, **options}
    return ask(app, "POST", f"/sessions/{session.session_id}/turn", body).problem()


BAD = (crashed, never_started, closed_in_mid_turn, closed_in_mid_start)
Life = Callable[[Forge, Gateway], None]


def lives(count: int) -> list[Life]:
    """Mostly good ones; each bad end comes again and again."""
    odd = {0: timed_out, 10: one_shot, **{5 * place + 3: life for place, life in enumerate(BAD)}}
    return [odd.get(number % 20, plain) for number in range(count)]


def live(gateway: Gateway, app: Forge, count: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for done in [threads.submit(life, app, gateway) for life in lives(count)]:
            done.result()
    until(lambda: not directories(gateway), "the directories to be gone")
    gateway.settle()


def directories(gateway: Gateway) -> list[Path]:
    """What lies there for single sessions."""
    return [each for kind in ("homes", "tmp", "workspaces") for each in (gateway.data_dir / kind).iterdir()]


@dataclass(frozen=True)
class Held:
    """What a gateway holds: files by what they are, threads, children, directories of sessions, rows, memory."""

    files: Counter[str]
    threads: int
    children: int
    directories: int
    rows: int
    memory_bytes: int

    @classmethod
    def by(cls, gateway: Gateway) -> Held:
        process = psutil.Process(gateway.pid)
        return cls(
            files=Counter(filter(None, map(kind_of, Path(f"/proc/{gateway.pid}/fd").iterdir()))),
            threads=process.num_threads(),
            children=len(process.children(recursive=True)),
            directories=len(directories(gateway)),
            rows=len(Ledger(gateway.data_dir).rows("SELECT session_id FROM sessions")),
            memory_bytes=process.memory_info().rss,
        )


def kind_of(fd: Path) -> str | None:
    """What an open file is. Clients' connections come and go, the database's readers come when they are needed.

    There are only so many of these: their threads are counted.
    """
    try:
        target = os.readlink(fd)
    except FileNotFoundError:
        return None
    return None if target.startswith("socket:") or "clawdforge.db" in target else re.sub(r"\d+", "", target)


def test_what_a_gateway_holds_comes_back_after_hundreds_of_sessions(new_gateway: NewGateway) -> None:
    settings = {"session_hard_ttl_secs": 1, "reap_interval_secs": 0.2}
    gateway = new_gateway(settings=settings).start()
    with gateway.app() as app:
        live(gateway, app, WARM_UP)
        before = Held.by(gateway)
        live(gateway, app, MANY)
        after = Held.by(gateway)
        assert app.healthz()["open_sessions"] == 0
    assert (before.children, before.directories) == (after.children, after.directories) == (0, 0)
    assert after.files == before.files
    assert after.threads <= before.threads + LATE_THREADS
    assert (after.memory_bytes - before.memory_bytes) / MANY < GROWTH_LIMIT_BYTES
    ledger.check(Ledger(gateway.data_dir), "app", gateway.agent_log)
