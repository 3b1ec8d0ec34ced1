"""The way from a session without network to its agent's model endpoint, and to nothing else.

The agent speaks HTTP to a port of its own loopback (`doorway`); here each connection is answered, looked up and
connected by the gateway, with TLS where the endpoint wants it. Must not look at what is said, but for the one head
in which the agent names the host that it believes to speak to.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

_log: Final = logging.getLogger(__name__)
_HEAD_LIMIT_BYTES: Final = 64 * 1024
_HEAD_TIMEOUT_S: Final = 30.0
_CONNECT_TIMEOUT_S: Final = 30.0
_PIECE_BYTES: Final = 64 * 1024
_UNREACHABLE: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Relay:
    """The way to one endpoint, for one session, while it is open.

    Args:
        path: where the unix socket is made that the doorway looks for.
        base_url: of the model; of it, the scheme, host and port.
        uid: who may connect; None: this user.
    """

    def __init__(self, path: Path, base_url: str, uid: int | None = None) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or url.hostname is None:
            raise ValueError("the base URL of a model begins with http:// or https://")
        self._path, self._uid = path, uid
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._host, self._port = url.hostname, url.port or (443 if self._tls else 80)
        self._netloc = url.netloc.rpartition("@")[2]
        self._conversations: set[asyncio.Task[None]] = set()
        self._door: asyncio.Server | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Relay:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            if self._uid is not None:
                os.chown(self._path, self._uid, self._uid)
            listener.listen(1)
        except BaseException:
            listener.close()
            raise
        self._waiting = asyncio.create_task(self._take_door(listener))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._waiting is not None
        tasks = {self._waiting, *self._conversations}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if self._door is not None:
            self._door.close()
        self._path.unlink(missing_ok=True)

    async def _take_door(self, listener: socket.socket) -> None:
        """Takes the first socket that comes, and no other: later it would be the agent that sends one."""
        loop = asyncio.get_running_loop()
        with listener:
            sender, _ = await loop.sock_accept(listener)
        with sender:
            readable = asyncio.Event()
            loop.add_reader(sender, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(sender)
            _, fds, _, _ = socket.recv_fds(sender, 4, 1)
            if not fds:
                return
            door = socket.socket(fileno=fds[0])
            if door.family != socket.AF_INET or not door.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                door.close()
                return
            self._door = await asyncio.start_server(self._answer, sock=door, limit=_HEAD_LIMIT_BYTES)
            sender.send(b".")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
            _log.debug("a conversation with the model ended: %s", type(error).__name__)
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                answers, asks = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        except OSError as error:
            _log.warning("the model endpoint %s cannot be reached: %s", self._netloc, type(error).__name__)
            writer.write(_UNREACHABLE)
            await writer.drain()
            return
        try:
            asks.write(self._readdressed(head))
            async with asyncio.TaskGroup() as both:
                up = both.create_task(_copy(reader, asks))
                await both.create_task(_copy(answers, writer))
                up.cancel()
        except* OSError:
            pass  # either side may hang up at any time, and then the other hears it
        finally:
            asks.close()

    def _readdressed(self, head: bytes) -> bytes:
        """The head, to the endpoint's own name. One request a connection: only its head can be found for sure."""
        first, *lines = head[:-4].split(b"\r\n")
        kept = [line for line in lines if line.partition(b":")[0].strip().lower() not in (b"host", b"connection")]
        return b"\r\n".join([first, b"Host: " + self._netloc.encode(), b"Connection: close", *kept, b"", b""])


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(_PIECE_BYTES):
        target.write(piece)
        await target.drain()
    with suppress(OSError):
        if target.can_write_eof():
            target.write_eof()
