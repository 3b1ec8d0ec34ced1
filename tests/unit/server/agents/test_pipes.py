"""A child's pipes, real ones: all of what it says and is told, in order, and never at the cost of others."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from io import FileIO

import pytest

from clawdforge.server.agents import pipes
from clawdforge.server.agents.pipes import Stderr, Stdin, Stdout

PATIENCE_S = 20
PIPE_BYTES = 64 * 1024


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Its reading and its writing end; neither blocks."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    with FileIO(reading) as reader, FileIO(writing, "w") as writer:
        yield reader, writer


def busy(for_s: float) -> None:
    until_s = time.thread_time() + for_s
    while time.thread_time() < until_s:
        pass


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():
            await asyncio.sleep(0)


async def test_all_is_handed_on_in_order_and_then_the_end_once(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    taken = bytearray()
    ends: list[int] = []
    stdout = Stdout(reader, taken.extend, lambda: ends.append(len(taken)))
    stdout.resume()
    said = os.urandom(1_000_000)
    left = memoryview(said)
    async with asyncio.timeout(PATIENCE_S):
        while left:
            left = left[writer.write(left) or 0 :]  # None: the pipe is full
            await asyncio.sleep(0)
        writer.close()
        await stdout.ended.wait()
    await rounds(10)
    assert (bytes(taken), ends, reader.closed) == (said, [len(said)], True)


async def test_nothing_is_read_before_it_resumes_and_while_it_is_paused(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    taken = bytearray()
    stdout = Stdout(reader, taken.extend, lambda: None)
    writer.write(b"one")
    await rounds(10)
    assert taken == b""
    stdout.resume()
    await until(lambda: taken == b"one")
    stdout.pause()
    writer.write(b"two")
    await rounds(10)
    assert taken == b"one"
    stdout.resume()
    await until(lambda: taken == b"onetwo")
    stdout.close()


async def test_one_that_is_closed_has_ended_and_hands_on_nothing_more(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe

    def refused(_: bytes = b"") -> None:
        raise AssertionError("it was closed")

    stdout = Stdout(reader, refused, refused)
    stdout.resume()
    writer.write(b"late")
    stdout.close()
    stdout.resume()
    stdout.pause()
    stdout.close()
    await rounds(10)
    assert stdout.ended.is_set()


async def test_it_may_be_closed_over_a_bite(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    stdout = Stdout(reader, lambda _: stdout.close(), lambda: None)
    stdout.resume()
    writer.write(b"x" * PIPE_BYTES)
    async with asyncio.timeout(PATIENCE_S):
        await stdout.ended.wait()
    await rounds(10)


@pytest.mark.parametrize(("each_s", "sizes"), [(0.0, {64 * 1024}), (0.002, {1024})])
async def test_a_bite_is_as_large_as_a_moment_allows(
    pipe: tuple[FileIO, FileIO], each_s: float, sizes: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "_MOMENT_S", 0.001)
    reader, writer = pipe
    bites: list[int] = []

    def bite(data: bytes) -> None:
        bites.append(len(data))
        busy(each_s)
        if len(data) < PIPE_BYTES:  # the pipe is kept full: what is read is what was asked for
            writer.write(bytes(len(data)))

    stdout = Stdout(reader, bite, lambda: None)
    writer.write(bytes(PIPE_BYTES))
    stdout.resume()
    await until(lambda: bites[-1:] == [*sizes])
    stdout.close()
    assert bites[0] == 8 * 1024


async def test_after_a_bite_of_a_flood_others_have_the_loop_for_some_rounds(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    turns = 0
    bitten_at: list[int] = []
    stdout = Stdout(reader, lambda _: bitten_at.append(turns), lambda: None)
    writer.write(bytes(PIPE_BYTES))
    stdout.resume()
    while len(bitten_at) < 3:
        await asyncio.sleep(0)
        turns += 1
        assert turns < 1000
    stdout.close()
    assert all(later - sooner > 3 for sooner, later in itertools.pairwise(bitten_at))


@pytest.mark.parametrize("when", ["paused", "resting"])
async def test_what_is_left_is_drained_without_a_pause_or_a_rest(pipe: tuple[FileIO, FileIO], when: str) -> None:
    reader, writer = pipe
    taken: list[bytes] = []

    def bite(data: bytes) -> None:
        taken.append(data)
        stdout.pause()  # as under pressure
        busy(0.001)

    stdout = Stdout(reader, bite, lambda: None)
    writer.write(bytes(PIPE_BYTES))
    stdout.resume()
    await until(lambda: bool(taken))
    if when == "resting":
        stdout.resume()
    writer.close()
    stdout.drain()
    await rounds(12)  # one for each 8 kB, and for the end
    assert (sum(map(len, taken)), stdout.ended.is_set()) == (PIPE_BYTES, True)
    stdout.drain()


async def test_lines_now_and_then_are_read_at_once(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    lines: list[bytes] = []
    stdout = Stdout(reader, lines.append, lambda: None)
    stdout.resume()
    for number in range(20):
        writer.write(b"%d" % number)
        await rounds(2)
        assert lines[-1] == b"%d" % number
    stdout.close()


async def test_the_last_of_stderr_is_kept_also_what_was_written_just_now(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    stderr = Stderr(reader)
    writer.write(b"x" * 40_000)
    await rounds(10)
    writer.write(b"more")
    assert stderr.tail() == b"x" * (16 * 1024 - 4) + b"more"
    writer.write(b" and the end")
    stderr.close()
    stderr.close()
    assert stderr.tail().endswith(b"more and the end")
    assert reader.closed


async def test_a_flood_of_stderr_waits_in_its_own_pipe(
    pipe: tuple[FileIO, FileIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "_STDERR_REST_S", 3600)
    reader, writer = pipe
    stderr = Stderr(reader)
    writer.write(bytes(PIPE_BYTES))
    await rounds(3)
    assert writer.write(bytes(PIPE_BYTES)) == PIPE_BYTES
    await rounds(100)
    assert writer.write(b"no room") is None
    stderr.close()


async def test_stderr_is_read_on_after_its_rest(
    pipe: tuple[FileIO, FileIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "_STDERR_REST_S", 0)
    reader, writer = pipe
    Stderr(reader)
    for _ in range(3):
        assert writer.write(bytes(PIPE_BYTES)) == PIPE_BYTES
        await rounds(10)
    writer.close()
    await until(lambda: reader.closed)


async def test_lines_of_any_length_arrive_whole_and_in_order(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    stdin = Stdin(writer)
    lines = [b"small", b"x" * 1_000_000, *(b"%d" % number for number in range(5_000)), b"", b"y" * 200_000]
    expected = b"".join(line + b"\n" for line in lines)
    stdin.write(lines[:2])
    stdin.write(lines[2:-1])
    stdin.write(lines[-1:])
    assert stdin.unsent_bytes == len(expected) - PIPE_BYTES
    stdin.close()
    stdin.write([b"too late"])
    arrived = bytearray()
    async with asyncio.timeout(PATIENCE_S):
        while (data := reader.read(100_000)) != b"":
            arrived += data or b""  # None: it is not written yet
            await asyncio.sleep(0)
    assert (bytes(arrived), stdin.unsent_bytes, writer.closed) == (expected, 0, True)


async def test_what_has_left_is_followed_by_more(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    stdin = Stdin(writer)
    for number in range(3):
        stdin.write([b"%d" % number] * 3)
        assert reader.read(100) == (b"%d\n" % number) * 3
    stdin.close()
    assert reader.read(1) == b""


@pytest.mark.parametrize("waiting", [False, True])
async def test_what_nobody_reads_goes_nowhere(pipe: tuple[FileIO, FileIO], waiting: bool) -> None:
    reader, writer = pipe
    stdin = Stdin(writer)
    if waiting:
        stdin.write([b"x" * 1_000_000])
    reader.close()
    stdin.write([b"to nobody"])
    await until(lambda: writer.closed)
    stdin.write([b"nor this"])
    assert stdin.unsent_bytes == 0
    stdin.close()
    stdin.abort()


async def test_one_that_is_aborted_writes_no_more(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    stdin = Stdin(writer)
    stdin.write([b"x" * 1_000_000])
    stdin.abort()
    await rounds(10)
    assert len(reader.read(1_000_000) or b"") == PIPE_BYTES
    assert reader.read(1) == b""
