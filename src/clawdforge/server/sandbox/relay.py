"""The way from a session without network to its agent's model endpoint, and to nothing else.

The agent speaks HTTP to a port of its own loopback. The socket that listens there is handed out to here before the
agent starts (`doorway`); so nothing of the way runs behind the wall, and the endpoint is looked up, connected and,
where it wants that, spoken to by TLS from here. Must not look at what is said: `passage` carries it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from clawdforge.server.sandbox import doorway
from clawdforge.server.sandbox.base import Space
from clawdforge.server.sandbox.endpoint import DOOR_PORT, Endpoint
from clawdforge.server.sandbox.passage import Passage

_log: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 32
"""Connections of one session; further ones wait to be taken. Each may cost the gateway two descriptors."""
_NO_DESCRIPTORS_PAUSE_S: Final = 1.0
PYTHON: Final = (Path(sys.executable).resolve(), Path(sys.base_prefix).resolve())
"""The gateway's own, without what its environment adds."""
_DOOR: Final = "/run/door"
"""The unix socket on the agent's side."""


class Relay:
    """The way to one endpoint, for one session, while it is open. Made by `open`; `close` must follow."""

    def __init__(self, endpoint: Endpoint, path: Path, tls: ssl.SSLContext | None) -> None:
        self._endpoint, self._path, self._tls = endpoint, path, tls
        self._passages: set[Passage] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._listener: socket.socket
        self._serving: asyncio.Task[None]

    @classmethod
    async def open(cls, endpoint: Endpoint, path: Path, uid: int | None = None) -> Relay:
        """Listens for the door of a session that is about to start.

        Args:
            endpoint: where the way leads.
            path: of the unix socket to which the door is brought; may be longer than such a socket's name. Gone
                when the door has come, or by `close`.
            uid: who may bring it; None: this user.

        Raises:
            OSError: there can be no socket at that path.
        """
        tls = await asyncio.to_thread(_tls) if endpoint.tls else None
        self = cls(endpoint, path, tls)
        self._listener = _listening(path, uid)
        self._serving = asyncio.create_task(self._serve())
        return self

    def through_door(
        self, argv: Sequence[str], space: Space, python: Sequence[Path] = PYTHON
    ) -> tuple[tuple[str, ...], Space]:
        """A command and its space, as they are to be put behind the wall so that it starts with the way open.

        Args:
            argv: the command.
            space: its own.
            python: an interpreter, and what else it consists of.
        """
        opened = (str(python[0]), "-I", "-S", doorway.__file__, str(DOOR_PORT), _DOOR)
        parts = (*space.programs, *python, Path(doorway.__file__))
        return (*opened, *argv), replace(space, programs=parts, sockets={**space.sockets, _DOOR: self._path})

    async def close(self) -> None:
        """Ends the way, with what is under way on it."""
        self._serving.cancel()
        await asyncio.wait({self._serving})
        for passage in tuple(self._passages):
            passage.abort()
        self._listener.close()  # where it was not waited for yet
        self._path.unlink(missing_ok=True)

    async def _serve(self) -> None:
        try:
            door = await self._brought()
        except OSError as error:
            _log.warning("a session has no way to its model: %s", error)
            return
        finally:
            self._listener.close()
            self._path.unlink(missing_ok=True)
        with door:
            await self._take_in(door)

    async def _brought(self) -> socket.socket:
        """The door that is brought first. No other is taken: later it would be the agent that brings one."""
        porter, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        with porter:
            door = await _handed_over(porter)
            with suppress(OSError):  # whoever waited has gone, and is nobody's agent
                porter.send(b".")
        return door

    async def _take_in(self, door: socket.socket) -> None:
        """Takes the connections that come, one after the other, as long as there is room."""
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                connection, _ = await loop.sock_accept(door)
                await loop.connect_accepted_socket(self._passage, connection)
            except OSError as error:
                self._room.release()
                _log.warning("a connection to a model could not be taken: %s", error.strerror)
                await asyncio.sleep(_NO_DESCRIPTORS_PAUSE_S)

    def _passage(self) -> Passage:
        passage = Passage(self._endpoint, self._tls, self._over)
        self._passages.add(passage)
        return passage

    def _over(self, passage: Passage) -> None:
        self._passages.discard(passage)
        self._room.release()


@cache
def _tls() -> ssl.SSLContext:
    """One for all: it holds every authority that this machine trusts."""
    return ssl.create_default_context()


def _listening(path: Path, uid: int | None) -> socket.socket:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            path.unlink(missing_ok=True)  # of a start that was cut off
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
            path.chmod(0o600)
            if uid is not None:
                os.chown(path, uid, uid)
            listener.listen(1)
        except BaseException:
            listener.close()
            raise
    finally:
        os.close(folder)
    return listener


async def _handed_over(porter: socket.socket) -> socket.socket:
    """The listening socket that is brought.

    Raises:
        OSError: something else was.
    """
    loop, here = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(porter, here.set)
    try:
        await here.wait()
    finally:
        loop.remove_reader(porter)
    _, fds, _, _ = socket.recv_fds(porter, 1, 1)
    if not fds:
        raise OSError("nothing was brought for a door")
    door = socket.socket(fileno=fds[0])
    if door.family != socket.AF_INET or not door.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        door.close()
        raise OSError("what was brought is no door")
    door.setblocking(False)
    return door
