"""What passes between an agent and its model: by real sockets, the door brought as a doorway brings it.

Behind walls, with the doorway itself: tests/contract/sandbox/test_relay.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.sandbox import relay as relays
from clawdforge.server.sandbox.endpoint import Endpoint
from clawdforge.server.sandbox.relay import Relay
from clawdforge.testing.fake_model import FakeModel

DEADLINE_S = 30
MIB = 1024 * 1024
HELD_LIMIT_BYTES = 32 * MIB  # of sockets' own buffers, which hold a few of them, and the relay's, which holds none
ASKED = b"POST /v1 HTTP/1.1\r\nHost: agent\r\nContent-Length: 2\r\n\r\nhi"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def a_way(endpoint: str, folder: Path) -> AsyncIterator[int]:
    """The port of a door that leads to that base URL."""
    path = folder / "door"
    relay = await Relay.open(Endpoint.at(endpoint), path)
    try:
        with socket.create_server(("127.0.0.1", 0)) as door:
            await asyncio.to_thread(bring, path, door)
            port: int = door.getsockname()[1]
        yield port
    finally:
        await relay.close()
    assert not path.exists()


def bring(path: Path, brought: socket.socket) -> None:
    """As a doorway does it. The path may be longer than a socket's can be."""
    folder = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as outside:
            outside.settimeout(DEADLINE_S)
            outside.connect(f"/proc/self/fd/{folder}/{path.name}")
            socket.send_fds(outside, [b"."], [brought.fileno()])
            assert outside.recv(1) == b"."
    finally:
        os.close(folder)


class Model:
    """An endpoint that does with each connection what the test says."""

    def __init__(self, talk: Talk) -> None:
        self.connections = 0
        self.ended = asyncio.Event()
        self.talking: set[asyncio.Task[None]] = set()
        self._talk = talk

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.talking.add(task)
        try:
            await self._talk(reader, writer)
        finally:
            writer.close()
            self.ended.set()


@asynccontextmanager
async def a_model(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Model, str]]:
    """The model, and its base URL."""
    model = Model(talk)
    server = await asyncio.start_server(model.answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield model, f"{'https' if tls else 'http'}://localhost:{port}"
        await asyncio.gather(*model.talking)


@asynccontextmanager
async def an_agent(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Its connection to the door."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):  # how the other side ends it is no matter here
            await writer.wait_closed()


async def obliging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request that is the usual one, until its client hangs up."""
    while await until_asked(reader):
        writer.write(ANSWER)


async def until_asked(reader: asyncio.StreamReader) -> bytes:
    """The head of the next request, its body taken; empty where there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return b""
    assert await reader.readexactly(2) == b"hi"
    return head


async def test_one_connection_carries_many_requests(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(obliging) as (model, url),
        a_way(url, tmp_path) as port,
        an_agent(port) as (reader, writer),
    ):
        for _ in range(5):
            writer.write(ASKED)
            assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert model.connections == 1


async def test_a_request_names_the_endpoint(tmp_path: Path) -> None:
    heads = asyncio.Queue[bytes]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.put_nowait(await until_asked(reader))

    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(talk) as (_, url),
        a_way(url, tmp_path) as port,
        an_agent(port) as (_, writer),
    ):
        writer.write(ASKED)
        assert f"\r\nHost: {url.removeprefix('http://')}\r\n".encode() in await heads.get()


async def test_what_the_model_says_is_there_before_it_says_more(tmp_path: Path) -> None:
    heard = asyncio.Queue[None]()
    said = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *(b"1\r\n%d\r\n" % n for n in range(5))]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_asked(reader)
        for piece in said:
            writer.write(piece)
            await heard.get()

    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(talk) as (_, url),
        a_way(url, tmp_path) as port,
        an_agent(port) as (reader, writer),
    ):
        writer.write(ASKED)
        for piece in said:
            assert await reader.readexactly(len(piece)) == piece
            heard.put_nowait(None)


async def test_what_the_agent_says_is_there_before_it_says_more(tmp_path: Path) -> None:
    heard = asyncio.Queue[bytes]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while piece := await reader.read(100):
            heard.put_nowait(piece)

    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(talk) as (_, url),
        a_way(url, tmp_path) as port,
        an_agent(port) as (_, writer),
    ):
        writer.write(b"POST /v1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"1\r\na\r\n", b"2\r\nbc\r\n", b"0\r\n\r\n"):
            writer.write(piece)
            assert await heard.get() == piece


@pytest.mark.parametrize("body_bytes", [2, 8 * MIB])
async def test_an_endpoint_that_is_not_there_is_told_whatever_was_to_be_said(
    tmp_path: Path, body_bytes: int
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        authority = f"127.0.0.1:{nobody.getsockname()[1]}"
        async with (
            asyncio.timeout(DEADLINE_S),
            a_way(f"http://{authority}", tmp_path) as port,
            an_agent(port) as (reader, writer),
        ):
            writer.write(b"POST /v1 HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % body_bytes + bytes(body_bytes))
            status, said = await answered(reader)
    assert status == 502
    assert said.startswith(f"the gateway cannot reach {authority}: ")
    assert "refused" in said or "Connect call failed" in said


async def answered(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status and the message of the last answer on a connection."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    error: dict[str, Any] = json.loads(body)["error"]
    return int(head.split()[1]), error["message"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET http://other.example/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 426),
        (b"GET /v1 HTTP/1.1\r\n" + b"A: b\r\n" * 20_000, 431),
    ],
)
async def test_what_is_not_sent_on_never_reaches_the_endpoint(tmp_path: Path, asked: bytes, status: int) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(obliging) as (model, url),
        a_way(url, tmp_path) as port,
        an_agent(port) as (reader, writer),
    ):
        writer.write(asked)
        assert (await answered(reader))[0] == status
        assert model.connections == 0


async def test_behind_a_request_that_went_on_a_bad_one_ends_both_connections(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(obliging) as (model, url),
        a_way(url, tmp_path) as port,
        an_agent(port) as (reader, writer),
    ):
        writer.write(ASKED)
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        writer.write(b"hello\r\n\r\n")
        assert await hung_up(reader) == b""
        await model.ended.wait()


async def hung_up(reader: asyncio.StreamReader) -> bytes:
    """All that comes until a connection ends, in whichever way."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_a_model_that_hangs_up_hangs_up_on_the_agent(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_asked(reader)
        writer.write(ANSWER[:-1])

    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(talk) as (_, url),
        a_way(url, tmp_path) as port,
        an_agent(port) as (reader, writer),
    ):
        writer.write(ASKED)
        assert await reader.read() == ANSWER[:-1]


async def test_an_agent_that_hangs_up_hangs_up_on_the_model(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_asked(reader)
        writer.write(ANSWER[:-1])
        assert await hung_up(reader) == b""

    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(talk) as (model, url),
        a_way(url, tmp_path) as port,
    ):
        async with an_agent(port) as (reader, writer):
            writer.write(ASKED)
            await reader.readexactly(1)
        await model.ended.wait()


async def test_what_nobody_takes_is_not_kept(tmp_path: Path) -> None:
    """The model does not read, and then the agent does not: whoever writes comes to a stop."""
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()

    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(talk) as (_, url),
        a_way(url, tmp_path) as port,
        an_agent(port) as (_, writer),
    ):
        writer.write(b"POST /v1 HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n")
        assert await taken(writer) < HELD_LIMIT_BYTES
        over.set()

    taken_of_model = asyncio.get_running_loop().create_future()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        taken_of_model.set_result(await taken(writer))

    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(flood) as (_, url),
        a_way(url, tmp_path) as port,
        an_agent(port) as (_, writer),
    ):
        writer.write(ASKED)  # and does not read on, once a little has come
        assert await taken_of_model < HELD_LIMIT_BYTES


async def taken(writer: asyncio.StreamWriter) -> int:
    """How much can be written before it stops for good: that nothing moves can only be seen by waiting a while."""
    bytes_taken = 0
    try:
        while bytes_taken < 4 * HELD_LIMIT_BYTES:
            async with asyncio.timeout(1):
                writer.write(bytes(MIB))
                await writer.drain()
            bytes_taken += MIB
    except TimeoutError:
        writer.transport.abort()
    return bytes_taken


async def test_a_session_has_so_many_connections_and_no_more(tmp_path: Path) -> None:
    most = relays._AT_ONCE
    all_here = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if model.connections == most:
            all_here.set()
        await obliging(reader, writer)

    async with (
        asyncio.timeout(DEADLINE_S),
        AsyncExitStack() as agents,
        a_model(talk) as (model, url),
        a_way(url, tmp_path) as port,
    ):
        connections = [await agents.enter_async_context(an_agent(port)) for _ in range(most + 1)]
        for _, writer in connections:
            writer.write(ASKED)
        await all_here.wait()
        for reader, _ in connections[:-1]:
            assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert model.connections == most
        connections[0][1].close()
        assert await connections[-1][0].readexactly(len(ANSWER)) == ANSWER


async def test_by_the_end_of_the_way_everything_on_it_has_ended(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until_asked(reader)
        writer.write(ANSWER[:-1])
        assert await hung_up(reader) == b""

    async with asyncio.timeout(DEADLINE_S), a_model(talk) as (model, url):
        async with a_way(url, tmp_path) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ASKED)
            await reader.readexactly(1)
        await model.ended.wait()
        await hung_up(reader)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_a_way_that_no_door_was_brought_to_ends_as_well(tmp_path: Path) -> None:
    relay = await Relay.open(Endpoint.at("http://model.example"), tmp_path / "door")
    assert (tmp_path / "door").is_socket()
    await relay.close()
    assert not list(tmp_path.iterdir())


async def check_answered(folder: Path) -> None:
    """An agent whose way begins in this folder gets its model's answer."""
    async with (
        asyncio.timeout(DEADLINE_S),
        a_model(obliging) as (_, url),
        a_way(url, folder) as port,
        an_agent(port) as (reader, writer),
    ):
        writer.write(ASKED)
        assert await reader.readexactly(len(ANSWER)) == ANSWER


async def test_what_a_start_that_was_cut_off_has_left_is_in_nobodys_way(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "door"))
    await check_answered(tmp_path)


async def test_what_is_no_door_is_not_taken(tmp_path: Path) -> None:
    relay = await Relay.open(Endpoint.at("http://model.example"), tmp_path / "door")
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as one,
        pytest.raises(AssertionError),
    ):
        await asyncio.to_thread(bring, tmp_path / "door", one)
    await relay.close()


async def test_the_socket_may_lie_deep(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a-long-name-of-a-directory"] * 8)
    folder.mkdir(parents=True)
    await check_answered(folder)


async def test_a_path_where_nothing_can_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await Relay.open(Endpoint.at("http://model.example"), tmp_path / "missing" / "door")


async def test_a_real_format_streams_through(tmp_path: Path) -> None:
    body = json.dumps(
        {
            "model": "m",
            "stream": True,
            "tools": [{"name": "t", "input_schema": {}}],
            "messages": [{"role": "user", "content": "[[SLOW 20 0.001]]"}],
        }
    ).encode()
    head = b"POST /v1/messages HTTP/1.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with FakeModel() as model:
        async with (
            asyncio.timeout(DEADLINE_S),
            a_way(model.url, tmp_path) as port,
            an_agent(port) as (reader, writer),
        ):
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            said = await reader.read()
        assert said.count(b"content_block_delta") >= 20
        assert b"message_stop" in said


@contextmanager
def trusting(certificate: Path) -> Iterator[None]:
    """What this machine trusts is read once, and here anew."""
    relays._tls.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate))
        yield
    relays._tls.cache_clear()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For `localhost`, with its key, by no authority but itself."""
    folder = tmp_path_factory.mktemp("certificate")
    key, file = folder / "key.pem", folder / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    command = ["openssl", *words.split(), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", file], check=True, capture_output=True)
    file.write_text(file.read_text() + key.read_text())
    return file


async def test_an_endpoint_is_spoken_to_by_tls_where_its_url_says_so(tmp_path: Path, certificate: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with asyncio.timeout(DEADLINE_S), a_model(obliging, tls) as (model, url):
        with trusting(certificate):
            async with a_way(url, tmp_path) as port, an_agent(port) as (reader, writer):
                for _ in range(3):
                    writer.write(ASKED)
                    assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert model.connections == 1
        async with a_way(url, tmp_path) as port, an_agent(port) as (reader, writer):
            writer.write(ASKED)
            status, said = await answered(reader)
    assert (status, model.connections) == (502, 1)
    assert "its certificate is not good: self-signed certificate" in said
