"""Runs a gateway as a process: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Final

import uvicorn

from clawdforge.server.app import Gateway
from clawdforge.server.data_dir import DirectoryBusy
from clawdforge.server.http.limits import BACKLOG, server_config
from clawdforge.server.sandbox.base import WallUnavailable
from clawdforge.server.settings import Settings
from clawdforge.server.store.base import StoreUnusable
from clawdforge.server.telemetry import configure

_log: Final = logging.getLogger(__name__)
_LAST_ANSWERS_S: Final = 5
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK_BYTES: Final = 1024 * 1024
_SWITCH_INTERVAL_S: Final = 0.0001
_LOOK_AFTER: Final = 5_000


def serve(settings: Settings) -> int:
    """Runs a gateway until SIGTERM or SIGINT; a second one of them ends what runs at once.

    Returns the process's exit code: 0 after a clean end, 1 where the gateway could not start (said on stderr).
    """
    configure(settings.log_level)
    _give_memory_back()
    _take_turns()
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        print(
            f"clawdforge: cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
            "Choose another with --host and --port; --port 0 picks a free one.",
            file=sys.stderr,
        )
        return 1
    with listener:
        try:
            asyncio.run(_serve(settings, listener))
        except (DirectoryBusy, StoreUnusable, WallUnavailable, _CannotStart, ValueError) as problem:
            print(f"clawdforge: {problem}", file=sys.stderr)
            return 1
    return 0


async def _serve(settings: Settings, listener: socket.socket) -> None:
    try:
        gateway = await Gateway.open(settings)
    except OSError as error:
        where = error.filename or settings.data_dir
        raise _CannotStart(f"the gateway cannot start: {where}: {error.strerror or error}") from error
    _settle()
    try:
        loop = asyncio.get_running_loop()
        stops = _Stops(loop)
        server = _Server(server_config(gateway.asgi, settings, timeout_graceful_shutdown=_LAST_ANSWERS_S))
        serving = loop.create_task(server.serve(sockets=[listener]))
        _announce(gateway, listener)
        stopped = loop.create_task(stops.first.wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await _drain(gateway, stops)
        server.should_exit = True
        await serving
    finally:
        await gateway.close()


async def _drain(gateway: Gateway, stops: _Stops) -> None:
    """Lets running turns end, for as long as the settings say or until a second signal."""
    _log.info("stopping: running turns have %g seconds", gateway.settings.drain_timeout_secs)
    patient = asyncio.ensure_future(gateway.drain(gateway.settings.drain_timeout_secs))
    hurried = asyncio.ensure_future(stops.second.wait())
    await asyncio.wait({patient, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not patient.done():
        await gateway.drain(0)
    await patient


class _CannotStart(Exception):
    """The system refused what a gateway needs at its start; the message says what."""


class _Stops:
    """The signals that end a gateway: the first asks, the second insists."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the gateway drains before the server stops."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _settle() -> None:
    """Has the garbage collector look for what is left behind, and not at what passes through.

    What refers to itself is left by sessions whose agents have gone, 110 objects each, and by connections: a
    full look comes with every third 5 000 objects of these. What is there now, and stays, it never sees. Events on
    their way must not bring it about: by Python's own measure, 700, it looked at all of a hundred sessions twice a
    second, and all of them stood still for 25 ms.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # has it forget how much there was: it put full looks off until there was a quarter of that anew
    gc.set_threshold(_LOOK_AFTER, 0, 0)


def _take_turns() -> None:
    """Has the loop let the writer's thread in soon.

    An agent that floods never lets the loop rest. By default a thread then waits 5 ms for each of its steps, and a
    turn's two commits have a dozen: beside a flood others' turns took 200 ms, and take 12 so.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def _give_memory_back() -> None:
    """Has large blocks returned to the system when they are freed.

    glibc raises its threshold with every large block that it sees: after one 10 MB prompt the process kept 60 MB
    more than it used. Other C libraries have no such switch, and no such habit.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _announce(gateway: Gateway, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"clawdforge {version('clawdforge')} listens on http://{shown}:{port}", flush=True)
    print(f"admin token: {gateway.admin_token.where}", flush=True)
    if not gateway.settings.allow_cidrs and not host.startswith("127.") and host != "::1":
        _log.warning("only callers on this machine are let in: name others with CLAWDFORGE_ALLOW_CIDRS")
