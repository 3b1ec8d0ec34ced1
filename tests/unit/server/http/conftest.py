"""A real server on loopback, in the test's own loop, and a client that sends exactly the bytes it is given."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import pytest
import uvicorn

from clawdforge.server.http.limits import server_config
from clawdforge.server.settings import Settings

DEADLINE_S = 20


@dataclass(frozen=True)
class Reply:
    """One response. `headers` have lower-case names; a name that came twice keeps both values, joined."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the contract's error body, after a look at the rest of it."""
        body = self.json
        assert set(body) >= {"detail", "code", "request_id"}, body
        assert self.headers["content-type"] == "application/json"
        assert self.headers["x-request-id"] == body["request_id"]
        return str(body["code"])


class Connection:
    """One TCP connection to the server under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> Self:
        self.writer.write(data)
        await self.writer.drain()
        return self

    async def reply(self, *, to_head: bool = False) -> Reply:
        """Reads one response; `to_head` where it answers a HEAD and so has no body."""
        async with asyncio.timeout(DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            headers: dict[str, str] = {}
            for line in lines:
                name, _, value = line.partition(": ")
                headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
            length = 0 if to_head else int(headers["content-length"])
            return Reply(int(status_line.split()[1]), headers, await self.reader.readexactly(length))

    async def ask(self, data: bytes) -> Reply:
        return await (await self.send(data)).reply()

    async def rest(self) -> bytes:
        """What the server still sends until it closes the connection."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionResetError, BrokenPipeError):
            return  # the server was first: that is an end, too


class Server:
    """The server under test."""

    def __init__(self, server: uvicorn.Server, port: int, stack: AsyncExitStack) -> None:
        self.uvicorn = server
        self.port = port
        self._stack = stack

    async def connect(self) -> Connection:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self.port))
        self._stack.push_async_callback(connection.close)
        return connection

    async def ask(self, data: bytes) -> Reply:
        """One request on a connection of its own."""
        return await (await self.connect()).ask(data)


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(app, head_timeout_secs=0.2, …)` starts an ASGI application; the test's end stops it."""
    async with AsyncExitStack() as stack:

        async def start(app: Any, **settings: Any) -> Server:
            config = server_config(app, Settings(**settings), lifespan="off", timeout_graceful_shutdown=5)
            config.load()
            server = uvicorn.Server(config)
            server.lifespan = config.lifespan_class(config)
            listener = socket.create_server(("127.0.0.1", 0))
            await server.startup(sockets=[listener])
            stack.push_async_callback(server.shutdown)
            return Server(server, listener.getsockname()[1], stack)

        yield start


def raw(method: str, path: str, *headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    """A request's bytes; Content-Length is the body's, or `length`, or left out where there is neither."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
    if length is not None or body:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@pytest.fixture(name="raw")
def raw_fixture() -> Callable[..., bytes]:
    return raw
