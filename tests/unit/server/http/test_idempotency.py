from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from clawdforge.server.http import idempotency
from clawdforge.wire.problems import Problem
from clawdforge.wire.turns import TurnRequest


def request(*keys: bytes, path: str = "/sessions/sess_1/turn") -> Request:
    headers = [(b"idempotency-key", key) for key in keys]
    return Request({"type": "http", "method": "POST", "path": path, "headers": headers})


def turn(**fields: Any) -> TurnRequest:
    return TurnRequest(**{"prompt": "hi", **fields})


async def print_of(asked: TurnRequest, path: str = "/sessions/sess_1/turn") -> bytes:
    once = await idempotency.once(request(b"key", path=path), asked)
    assert once is not None
    assert (once.key, len(once.fingerprint)) == ("key", 32)
    return once.fingerprint


async def test_without_a_key_nothing_is_done_once() -> None:
    assert await idempotency.once(request(), turn()) is None


@pytest.mark.parametrize("key", [b"", b" ", b"a b", b"a\t", b"\x7f", "ä".encode(), b"x" * 256])
def test_what_is_no_key(key: bytes) -> None:
    with pytest.raises(Problem, match="1 to 255 printable"):
        idempotency.key_of(request(key))


def test_two_keys_are_none() -> None:
    with pytest.raises(Problem, match="one word"):
        idempotency.key_of(request(b"a", b"a"))


@pytest.mark.parametrize("key", [b"!", b"~", b"x" * 255])
def test_what_is_a_key(key: bytes) -> None:
    assert idempotency.key_of(request(key)) == key.decode()


async def test_the_same_has_the_same_print_however_it_is_told() -> None:
    schema = {"type": "object", "required": ["a"]}
    backwards = dict(reversed(schema.items()))
    assert await print_of(turn(schema=schema)) == await print_of(turn(schema=backwards))
    assert await print_of(turn()) == await print_of(turn(timeout_secs=None))


@pytest.mark.parametrize(
    "other",
    [{"prompt": "hi "}, {"files": ()}, {"files": ("ff_1",)}, {"timeout_secs": 1}, {"schema": {}}],
    ids=str,
)
async def test_anything_else_has_another(other: dict[str, Any]) -> None:
    assert await print_of(turn()) != await print_of(turn(**other))


async def test_another_place_is_something_else() -> None:
    assert await print_of(turn()) != await print_of(turn(), "/sessions/sess_2/turn")


async def test_a_long_prompt_is_told_from_another_by_its_end() -> None:
    long = "x" * 1_000_000
    assert await print_of(turn(prompt=long + "a")) != await print_of(turn(prompt=long + "b"))
    assert await print_of(turn(prompt=long)) == await print_of(turn(prompt=long))
