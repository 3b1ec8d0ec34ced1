"""Connections break exactly where they are told to, and an actor's seed says what it wants."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos import scripts, wires
from chaos.wires import WHOLE, Broken, Cut, Exchange
from chaos.world import Actor, World
from harness.gateway import Gateway

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
BODY = b"[" + b" " * 998 + b"]"
PATIENCE_S = 10


class Server(threading.Thread):
    """Takes one connection, and answers its request unless it shall be silent.

    Attributes:
        heard: all that came.
        reset: whether the connection was reset, not closed.
    """

    def __init__(self, *, silent: bool) -> None:
        super().__init__()
        self.heard, self.reset = b"", False
        self._silent = silent
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE_S)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        with self.listener, self.listener.accept()[0] as connection:
            connection.settimeout(PATIENCE_S)
            try:
                while data := connection.recv(4096):
                    self.heard += data
                    if self.heard.endswith(b"\r\n\r\n{}") and not self._silent:
                        connection.sendall(HEAD + BODY)
            except ConnectionResetError:
                self.reset = True


@contextmanager
def serving(*, silent: bool = False) -> Iterator[Server]:
    server = Server(silent=silent)
    server.start()
    yield server
    server.join(PATIENCE_S)
    assert not server.is_alive()


def test_without_a_cut_the_answer_is_whole() -> None:
    with serving() as server, Exchange(server.url, "token", "POST", "/", body={}, cut=WHOLE) as exchange:
        answer = exchange.answer()
    assert (answer.status, answer.raw) == (200, BODY)
    assert b"Authorization: Bearer token\r\n" in server.heard
    assert not server.reset


@pytest.mark.parametrize("count", [1, 17, 90])
def test_so_many_bytes_are_sent_and_no_more(count: int) -> None:
    with serving() as server, pytest.raises(Broken):
        Exchange(server.url, "token", "POST", "/", body={}, cut=Cut(sent_bytes=count))
    assert len(server.heard) <= count  # those that a reset overtakes are lost
    assert server.reset or not server.heard


@pytest.mark.parametrize("count", [1, len(HEAD), len(HEAD) + 500])
def test_so_many_bytes_are_received_and_no_more(count: int) -> None:
    with (
        serving() as server,
        pytest.raises(Broken),
        Exchange(server.url, "token", "POST", "/", body={}, cut=Cut(received_bytes=count)) as exchange,
    ):
        exchange.answer()
    assert server.reset


def test_who_waits_for_so_long_hangs_up() -> None:
    with serving(silent=True) as server, pytest.raises(Broken):
        Exchange(server.url, "token", "POST", "/", body={}, cut=Cut(silent_s=0.05))
    assert server.reset


def test_cuts_of_every_kind_are_drawn() -> None:
    rng = random.Random(1)
    drawn = [wires.draw(rng, often=0.9) for _ in range(200)]
    assert WHOLE in drawn
    for name in ("sent_bytes", "received_bytes", "silent_s"):
        assert any(getattr(cut, name) is not None for cut in drawn)


def test_a_seed_and_a_name_say_what_an_actor_wants(tmp_path: Path) -> None:
    def wants(seed: int, name: str) -> list[object]:
        actor = Actor(World(Gateway(tmp_path), "token", seed, []), name)
        return [(scripts.draw(actor.rng), wires.draw(actor.rng, often=0.5)) for _ in range(30)]

    assert wants(1, "a") == wants(1, "a")
    assert wants(1, "a") != wants(1, "b")
    assert wants(1, "a") != wants(2, "a")
