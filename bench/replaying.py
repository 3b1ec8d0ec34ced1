"""A reader that comes back with ten thousand events to replay, while its session's log grows on.

Measured from the connection's beginning until the first event after those that were missed has come. The reader is
one socket that looks for nothing else; the events are those of a turn with tools.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Barrier, Thread

from bench.rows import AGENT, Bar, Bench, Findings, Reading, Served, Stage
from bench.sampling import Samples
from bench.streams import Load, listeners, post

EVENTS = 10_000
OTHERS = 20
ROUNDS = 50
PER_S = 50
READ_BYTES = 1 << 18

ALONE = Bar(
    "events.reconnect", "a reader comes back: the 10 000 events that it has missed of a live log, p50", "ms", 200
)
BESIDE = Bar(
    "events.reconnect-beside",
    f"the same beside {OTHERS} sessions with {PER_S} events/s and a reader each",
    "ms",
    200,
)

TALK = '[[SAY Let me look at that.]][[TOOL look {"path": "src/module.py", "lines": [1, 200]}]]' * (EVENTS // 4)
"""A turn of as many events: each of these is a text, a tool call, and two updates of it."""

LIVE = f"[[RATE 1000000 {PER_S}]]"


def measure(stage: Stage) -> Findings:
    """The rows of readers that come back."""
    rounds = stage.rounds(ROUNDS)
    with stage.gateway() as served, ExitStack() as live:
        path, last = live.enter_context(_long_session(served))
        live.enter_context(_talking(served, [path]))
        _replayed_ms(served, path, last)
        alone = Samples(tuple(_replayed_ms(served, path, last) for _ in range(rounds)))
        at_once = _all_at_once_ms(served, path, last)
        paths = [live.enter_context(_session(served)) for _ in range(OTHERS)]
        live.enter_context(_talking(served, paths))
        live.enter_context(
            listeners(stage.root, served.gateway.url, served.token, paths, Load(OTHERS, PER_S, 10**6))
        )
        beside = Samples(tuple(_replayed_ms(served, path, last) for _ in range(rounds)))
    return Findings(
        {ALONE.name: _reading(alone), BESIDE.name: _reading(beside)},
        [
            ("readers that come back, alone and beside others, p99", f"{_p99(alone)} and {_p99(beside)} ms"),
            (f"{OTHERS} readers that come back at once: the last of them has all", f"{at_once:.0f} ms"),
        ],
    )


@contextmanager
def _session(served: Served) -> Iterator[str]:
    """The path of a session, closed afterwards."""
    client = served.plain()
    path = client.create_session(AGENT)
    try:
        yield path
    finally:
        client.call("DELETE", path)
        client.close()


@contextmanager
def _long_session(served: Served) -> Iterator[tuple[str, int]]:
    """A session with so many events after its first, and the `seq` of the last."""
    with _session(served) as path:
        client = served.plain()
        client.call("POST", f"{path}/turn", json.dumps({"prompt": TALK}).encode())
        client.close()
        yield path, EVENTS + 1


@contextmanager
def _talking(served: Served, paths: Sequence[str]) -> Iterator[None]:
    """A turn that goes on in each of these, until its session is closed."""
    prompt = json.dumps({"prompt": LIVE, "timeout_secs": 600}).encode()
    with ExitStack() as connections:
        for path in paths:
            connections.callback(post(served, f"{path}/turn", prompt).close)
        yield


def _replayed_ms(served: Served, path: str, last: int) -> float:
    """How long it takes until a new connection has had the event `last`, from `last` − EVENTS on."""
    host, _, port = served.gateway.url.removeprefix("http://").partition(":")
    request = (
        f"GET {path}/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {served.token}\r\n"
        f"Accept: text/event-stream\r\nLast-Event-ID: {last - EVENTS}\r\n\r\n"
    )
    end = f"\nid: {last + 1}\n".encode()  # the one after it: then all of it has come
    pieces, tail = [], b""
    began = time.perf_counter()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(request.encode())
        while end not in tail:
            pieces.append(connection.recv(READ_BYTES))
            assert pieces[-1], "the stream ended"
            tail = tail[-len(end) :] + pieces[-1]
    lasted = (time.perf_counter() - began) * 1000
    assert b"".join(pieces).count(b"\nevent: ") > EVENTS, "some were left out"
    return lasted


def _all_at_once_ms(served: Served, path: str, last: int) -> float:
    """How long the slowest of so many takes."""
    taken: list[float] = []
    ready = Barrier(OTHERS)

    def come_back() -> None:
        ready.wait()
        taken.append(_replayed_ms(served, path, last))

    readers = [Thread(target=come_back) for _ in range(OTHERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return max(taken)


def _reading(samples: Samples) -> Reading:
    return Reading(samples.percentile(0.5), min(samples.values), max(samples.values))


def _p99(samples: Samples) -> str:
    return f"{samples.percentile(0.99):.0f}"


BENCH = Bench("replay", (ALONE, BESIDE), measure)
