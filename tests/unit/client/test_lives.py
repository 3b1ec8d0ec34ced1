"""How a Forge lives: threads, forks, event loops; left, cancelled and interrupted in the midst of things."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from clawdforge import AsyncForge, Forge, ForgeError, ForgeTransportError, PermissionRequestEvent, TextEvent
from clawdforge.testing import FakeGateway, ask, hang
from harness.twins import Twin

pytestmark = pytest.mark.usefixtures("short_waits")


def settings(gateway: FakeGateway) -> dict[str, Any]:
    return {"base_url": gateway.url, "token": gateway.token}


def connections(gateway: FakeGateway) -> int:
    """How many connections to the gateway this process has open."""
    port = int(gateway.url.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp")
    return sum(bool(each.raddr) and each.raddr.port == port and each.status == "ESTABLISHED" for each in found)


# --- the end -------------------------------------------------------------------------------------------------


async def test_a_closed_one_sends_nothing_and_holds_nothing(twin: Twin, gateway: FakeGateway) -> None:
    forge = twin(**settings(gateway))
    session = await forge.create_session()
    gateway.answers("a", "b", "c")
    stream = session.stream("hi")
    await anext(stream)
    assert connections(gateway) > 0
    await stream.close()
    await forge.close()
    await forge.close()
    assert connections(gateway) == 0
    count = len(gateway.requests)
    for use in (forge.healthz, session.state, lambda: session.turn("hi"), session.close, lambda: every(stream)):
        with pytest.raises(ForgeError, match="this Forge is closed; make a new one"):
            await use()
    assert len(gateway.requests) == count


async def every(items: Any) -> list[Any]:
    return [each async for each in items]


async def test_one_that_never_called_closes_too(twin: Twin, gateway: FakeGateway) -> None:
    async with twin(**settings(gateway)):
        """Nothing is called."""
    assert gateway.requests == []


async def test_a_stream_in_the_midst_of_which_the_forge_is_closed(twin: Twin, gateway: FakeGateway) -> None:
    forge = twin(**settings(gateway))
    gateway.answers(*"abcdefgh", hang())
    stream = forge.stream("hi")
    await anext(stream)
    await forge.close()
    with pytest.raises(ForgeError, match="this Forge is closed"):
        await every(stream)
    assert connections(gateway) == 0


async def test_whoever_reads_while_it_is_closed_is_told_so(gateway: FakeGateway) -> None:
    gateway.on_prompt(lambda _: hang())
    forge = AsyncForge(**settings(gateway), retries=0)
    stream = forge.stream("hi")
    await anext(stream)
    reading = asyncio.create_task(every(stream))
    waiting = asyncio.create_task(forge.run("hi"))
    await asyncio.to_thread(gateway.wait_for_prompt, 2)
    await forge.close()
    for task in (reading, waiting):
        with pytest.raises(ForgeError, match="this Forge is closed"):
            await task


# --- threads, processes, loops -------------------------------------------------------------------------------


def test_many_threads_each_get_their_own_answers(gateway: FakeGateway) -> None:
    gateway.on_prompt(lambda prompt: f"for {prompt.text}")
    with Forge(**settings(gateway)) as forge, ThreadPoolExecutor(8) as threads:

        def work(thread: int) -> list[Any]:
            with forge.session() as session:
                answers = [session.turn(f"{thread}.{n}").text() for n in range(5)]
                streamed = ["".join(session.stream(f"{thread}.{n}").text_deltas()) for n in range(5)]
            return answers + streamed

        for thread, answers in enumerate(threads.map(work, range(8))):
            assert answers == [f"for {thread}.{n}" for n in range(5)] * 2


async def test_many_tasks_each_get_their_own_answers(gateway: FakeGateway) -> None:
    gateway.on_prompt(lambda prompt: f"for {prompt.text}")
    async with AsyncForge(**settings(gateway)) as forge:

        async def work(task: int) -> list[Any]:
            async with forge.session() as session:
                return [(await session.turn(f"{task}.{n}")).text() for n in range(5)]

        for task, answers in enumerate(await asyncio.gather(*map(work, range(8)))):
            assert answers == [f"for {task}.{n}" for n in range(5)]


def test_another_thread_cancels_a_turn(gateway: FakeGateway) -> None:
    gateway.answers("half", hang())
    with Forge(**settings(gateway)) as forge:
        stream = forge.stream("hi")
        heard = threading.Event()
        canceller = threading.Thread(target=lambda: heard.wait(10) and stream.cancel())
        canceller.start()
        for event in stream:
            if isinstance(event, TextEvent):
                heard.set()
        canceller.join(10)
        assert stream.result().stop_reason == "cancelled"


def test_after_a_fork_the_child_has_connections_of_its_own(gateway: FakeGateway, tmp_path: Path) -> None:
    ports = tmp_path / "ports"
    with Forge(**settings(gateway)) as forge:
        forge.healthz()
        session = forge.create_session()
        before = local_ports(gateway)

        def child() -> None:
            assert session.turn("from the child").text() == "turn 1: from the child"
            ports.write_text(json.dumps(sorted(local_ports(gateway) - before)))
            forge.close()

        assert forked(child) == 0
        assert len(json.loads(ports.read_text())) == 1
        # The parent's own are as they were, and its answers are its own.
        assert local_ports(gateway) == before
        assert session.turn("from the parent").text() == "turn 2: from the parent"
        assert local_ports(gateway) == before


def test_an_asynchronous_one_after_a_fork(gateway: FakeGateway) -> None:
    forge = AsyncForge(**settings(gateway))

    async def call() -> bool:
        return bool((await forge.healthz())["ok"])

    async def call_and_close() -> None:
        assert await call()
        await forge.close()

    assert asyncio.run(call())
    assert forked(lambda: asyncio.run(call_and_close())) == 0
    assert asyncio.run(call())


def local_ports(gateway: FakeGateway) -> set[int]:
    port = int(gateway.url.rpartition(":")[2])
    own = (each for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr.port == port)
    return {each.laddr.port for each in own}


def forked(work: Callable[[], None]) -> int:
    """Does something in a child, and returns how that ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn where there are threads
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                work()
                gc.collect()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_one_event_loop_after_the_other(gateway: FakeGateway) -> None:
    """The connections of a loop are closed with it: that they are left would be a ResourceWarning."""
    forge = AsyncForge(**settings(gateway))
    gateway.answers(*"abc", hang())

    async def work() -> str:
        session = await forge.create_session()
        return (await session.turn("hi")).text()

    async def left() -> None:
        async for _ in forge.stream("hi"):
            break

    asyncio.run(left())
    assert connections(gateway) == 0
    for _ in range(3):
        assert asyncio.run(work()) == "turn 1: hi"
        assert connections(gateway) == 0
    asyncio.run(forge.close())
    with pytest.raises(ForgeError, match="closed"):
        asyncio.run(work())
    gc.collect()


def test_streams_that_were_left_leave_nothing_for_the_end_of_the_loop(gateway: FakeGateway) -> None:
    gateway.on_prompt(lambda _: hang())
    kept: list[object] = []
    wrong: list[object] = []

    async def left() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: wrong.append(told))
        async with AsyncForge(**settings(gateway)) as forge:
            for _ in range(5):
                kept.append(stream := forge.stream("hi"))
                await anext(stream)

    asyncio.run(left())
    assert (len(kept), wrong) == (5, [])


async def test_one_that_nobody_holds_any_more(gateway: FakeGateway) -> None:
    await AsyncForge(**settings(gateway)).healthz()
    gc.collect()
    await until(lambda: connections(gateway) == 0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


# --- left, cancelled, interrupted ----------------------------------------------------------------------------


def test_a_stream_that_is_forgotten_lets_go_of_its_connection(gateway: FakeGateway) -> None:
    gateway.answers(*"abc", hang())
    with Forge(**settings(gateway)) as forge:
        for event in forge.stream("hi"):
            if isinstance(event, TextEvent):
                break
        gc.collect()
        assert connections(gateway) == 0


async def test_an_asynchronous_stream_that_is_forgotten(gateway: FakeGateway) -> None:
    gateway.answers(*"abc", hang())
    async with AsyncForge(**settings(gateway)) as forge:
        async for event in forge.stream("hi"):
            if isinstance(event, TextEvent):
                break
        gc.collect()
        await until(lambda: connections(gateway) == 0)


async def test_a_list_that_is_left_holds_nothing(twin: Twin, gateway: FakeGateway) -> None:
    async with twin(**settings(gateway)) as forge:
        for _ in range(3):
            await forge.run("hi")
        async for _ in forge.runs():
            break
        gc.collect()
        assert (await forge.healthz())["ok"]


async def test_a_task_that_is_cancelled_in_the_midst_of_a_stream(gateway: FakeGateway) -> None:
    gate = gateway.gate()
    gateway.answers("a", gate, "b")
    async with AsyncForge(**settings(gateway)) as forge:
        stream = forge.stream("hi")
        told: list[Any] = []

        async def read() -> None:
            async for event in stream:
                told.append(event)

        task = asyncio.create_task(read())
        await until(lambda: any(isinstance(each, TextEvent) for each in told))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connections(gateway) == 0
        gate.open()
        told += await every(stream)
        assert [each.content for each in told if isinstance(each, TextEvent)] == ["a", "b"]
        assert [each.seq for each in told] == list(range(told[0].seq, told[0].seq + len(told)))
        assert (await stream.result()).result == "ab"


async def test_a_task_that_is_cancelled_while_it_waits_for_an_answer(gateway: FakeGateway) -> None:
    gate = gateway.gate()
    gateway.answers(gate, "done")
    async with AsyncForge(**settings(gateway)) as forge:
        task = asyncio.create_task(forge.run("hi"))
        await asyncio.to_thread(gate.reached)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connections(gateway) == 0
        gate.open()
        assert (await forge.healthz())["ok"]


async def test_a_deadline_of_the_apps_own(gateway: FakeGateway) -> None:
    gateway.answers(hang())
    async with AsyncForge(**settings(gateway)) as forge:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await forge.run("hi")
        assert connections(gateway) == 0


@pytest.mark.parametrize("streamed", [True, False])
def test_ctrl_c_in_the_midst_of_reading(gateway: FakeGateway, streamed: bool) -> None:
    """It comes out as it is; the stream can be read on, as who cancels the turn by Ctrl-C does."""
    gate = gateway.gate()
    gateway.answers("a", gate)
    with Forge(**settings(gateway)) as forge:
        me = threading.get_ident()
        stream = forge.stream("hi")
        told: list[Any] = []
        if streamed:
            while not isinstance(event := next(stream), TextEvent):
                told.append(event)
            told.append(event)
        interrupter = threading.Thread(target=lambda: (gate.reached(), interrupt_reader(me)))
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            next(stream) if streamed else forge.run("hi")
            pytest.fail("it was not interrupted")
        interrupter.join(10)
        if not streamed:
            assert connections(gateway) == 0
            return
        assert stream.cancel() is True
        told += list(stream)
        assert [each.seq for each in told] == list(range(told[0].seq, told[0].seq + len(told)))
        assert stream.result().stop_reason == "cancelled"


def interrupt_reader(thread: int) -> None:
    """Ctrl-C, once that thread waits for bytes."""
    deadline = time.monotonic() + 10
    while sys._current_frames()[thread].f_code.co_name != "readinto" and time.monotonic() < deadline:
        time.sleep(0.001)
    signal.pthread_kill(thread, signal.SIGINT)


class Mine(Exception):
    pass


@pytest.mark.parametrize("error", [Mine, ValueError, OSError, TimeoutError, requests.ConnectionError])
async def test_what_an_apps_functions_raise_comes_out_as_it_is(
    twin: Twin, gateway: FakeGateway, error: type[Exception]
) -> None:
    raised = error("mine")

    def fail(*_: Any) -> Any:
        raise raised

    async with twin(**settings(gateway)) as forge:
        session = await forge.create_session(permissions="ask")
        for use in (
            lambda: session.turn("hi", on_event=fail),
            lambda: forge.run("hi", on_event=fail),
            lambda: forge.upload_file(io.BytesIO(b"x"), None, fail),
            lambda: forge.upload_file(io.BytesIO(b"x" * 3_000_000), None, fail),
            lambda: session.files.put("a", io.BytesIO(b"x"), fail),
            lambda: session.files.get("there", fail),
        ):
            gateway.workspace(session.session_id)["there"] = b"x"
            with pytest.raises(error) as caught:
                await use()
            assert caught.value is raised
        gateway.answers(ask("ls"), "done")
        stream = session.stream("hi", on_permission=fail)
        with pytest.raises(error):
            await every(stream)
        await stream.cancel()
        assert connections(gateway) <= 1
        assert (await forge.healthz())["ok"]


async def test_a_question_that_was_not_answered_is_asked_again(twin: Twin, gateway: FakeGateway) -> None:
    asked: list[str] = []

    def decide(request: PermissionRequestEvent) -> str:
        asked.append(request.title)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return "allow"

    async with twin(**settings(gateway)) as forge:
        session = await forge.create_session(permissions="ask")
        gateway.answers(ask("ls"), "done")
        stream = session.stream("hi", on_permission=decide)
        with pytest.raises(KeyboardInterrupt):
            await every(stream)
        assert "".join(await every(stream.text_deltas())) == "done"
    assert asked == ["ls", "ls"]


async def test_functions_of_an_asynchronous_app_are_awaited(gateway: FakeGateway) -> None:
    told: list[str] = []

    async def hear(event: Any) -> None:
        await asyncio.sleep(0)
        told.append(event.type)

    async def decide(_: PermissionRequestEvent) -> str:
        await asyncio.sleep(0)
        return "reject"

    async with AsyncForge(**settings(gateway)) as forge:
        gateway.answers(ask("ls"), "done")
        await forge.run("hi", on_event=hear, on_permission=decide, permissions="ask")  # type: ignore[arg-type]
    assert told[0] == "turn_start" and told[-1] == "turn_end" and "permission_answer" in told


# --- files on their way --------------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """Bytes that cannot be read twice."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def read(self, size: int = -1, /) -> bytes:
        return self._rest.read(size)

    def seekable(self) -> bool:
        return False


async def test_a_file_is_sent_again_where_it_can_be_read_again(twin: Twin, gateway: FakeGateway) -> None:
    content = os.urandom(2_000_000)
    async with twin(**settings(gateway)) as forge:
        await forge.healthz()
        gateway.drops(at="POST /files")
        (file := io.BytesIO(b"..." + content)).seek(3)
        assert (await forge.upload_file(file)).size == len(content)
        gateway.drops(at="PUT /sessions/*/files/*")
        session = await forge.create_session()
        file.seek(3)
        assert (await session.files.put("a", file)).size == len(content)
        keys = {each.headers["idempotency-key"] for each in gateway.requests if each.path == "/files"}
        assert len(keys) == 1
        assert [each.content for each in gateway.uploads] == [content]


async def test_a_pipe_is_sent_once(twin: Twin, gateway: FakeGateway) -> None:
    async with twin(**settings(gateway)) as forge:
        await forge.healthz()
        assert (await forge.upload_file(Pipe(b"x" * 2_000_000))).size == 2_000_000
        gateway.drops(at="POST /files")
        with pytest.raises(ForgeTransportError):
            await forge.upload_file(Pipe(b"x" * 2_000_000))
        assert len([each for each in gateway.requests if each.path == "/files"]) == 2


class Shrinking(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 1_000_000:
            self.truncate(1_000_000)
        return super().read(size)


class Closing(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 1_000_000:
            self.close()
        return super().read(size)


class Failing(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 1_000_000:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize(
    ("cls", "told"),
    [(Shrinking, "became shorter"), (Closing, "closed file"), (Failing, "cannot be read: Input/output error")],
)
async def test_a_file_that_breaks_on_its_way_is_told_as_that(
    twin: Twin, gateway: FakeGateway, cls: type[io.BytesIO], told: str
) -> None:
    async with twin(**settings(gateway)) as forge:
        session = await forge.create_session()
        for send in (forge.upload_file, lambda file: session.files.put("a", file)):
            with pytest.raises(ForgeError, match=told) as caught:
                await send(cls(bytes(3_000_000)))
            assert type(caught.value) is ForgeError
        await until(lambda: connections(gateway) <= 1)
        assert gateway.uploads == []
        assert gateway.workspace(session.session_id) == {}
