"""Performs the steps of flows by httpx2: the asynchronous driver.

Must not decide anything: what to send, when again and how it is read is the flows' matter.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from types import AsyncGeneratorType
from typing import Any, Final, TypeVar, cast
from weakref import WeakSet

from clawdforge.client._api import Reply
from clawdforge.client._bodies import FileBody
from clawdforge.client._call import Call
from clawdforge.client._config import Config
from clawdforge.client._core import Here
from clawdforge.client._steps import Fault, Flow, Items, Open, Read, Send, Shut, Sleep, Step, Tell
from clawdforge.errors import ForgeError, one_line

try:
    import httpx2
except ModuleNotFoundError:
    raise ImportError("AsyncForge needs its extra: pip install 'clawdforge[async]'") from None

T = TypeVar("T")

_FAULTS: Final = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError)
# No connection came to be, so nothing went over one.
_UNSENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_KEPT_CONNECTIONS: Final = 100
_FIRST: Final = 0.99


class AsyncWire(Here):
    """The way to one gateway. Many tasks may use it at once; each flow has a connection of its own.

    Args:
        config: where to, and who asks.
        session: to send through; one of its own where None, which `close` then closes.
    """

    def __init__(self, config: Config, session: httpx2.AsyncClient | None) -> None:
        self._config = config
        self._owned = session is None
        self._http = session
        self._keeper: AsyncGenerator[None, None] | None = None
        self._place: tuple[int, Any] | None = None
        self._closed = False
        self.held: WeakSet[_Held] = WeakSet()

    async def perform(self, flow: Flow[T]) -> T:
        """Performs a flow and returns its result."""
        held = _Held(self)
        came: Any = None
        try:
            while True:
                try:
                    step = flow.send(came)
                except StopIteration as end:
                    result: T = end.value
                    return result
                came = await held.perform(step)
        finally:
            await held.shut()

    async def play(self, flow: Items[T]) -> AsyncGenerator[T, None]:
        """Performs a flow as far as its reader goes, and yields its items."""
        held = _Held(self)
        came: Any = None
        try:
            while True:
                try:
                    step = flow.send(came)
                except StopIteration:
                    return
                if isinstance(step, list):
                    for item in step:
                        yield item
                    came = None
                else:
                    came = await held.perform(step)
        finally:
            await held.shut()

    async def close(self) -> None:
        """Lets go of all connections. Safe to repeat."""
        self._closed = True
        if self._keeper is not None and self._place == _here():
            for held in list(self.held):
                await held.shut()
            await self._keeper.aclose()

    def check_open(self) -> None:
        """Raises a `ForgeError` where this way is closed."""
        if self._closed:
            raise ForgeError("this Forge is closed; make a new one")

    async def request(self, step: Send | Open, deadline: asyncio.Timeout) -> httpx2.Response:
        """Begins a call; its answer is open. What is sent piece by piece moves the deadline on.

        Raises:
            ForgeError: this way is closed.
            one of `_FAULTS`: no answer came.
        """
        self.check_open()
        call, headers = step.call, self._headers(step.call)
        http = await self._client()
        request = http.build_request(
            call.method,
            self._config.base_url + call.path,
            params=dict(call.params) or None,
            content=_content(step, deadline),
            headers=headers,
            timeout=_timeouts(step),
        )
        if "Authorization" not in headers:
            request.headers.pop("Authorization", None)  # a given session's own is for somebody else
        return await http.send(request, auth=None, follow_redirects=False, stream=True)

    async def _client(self) -> httpx2.AsyncClient:
        """The client for this process and this event loop: connections belong to where they were made."""
        if self._http is None or (self._owned and self._place != _here()):
            self._http, self._place = _new_http(self._config), _here()
            self._keeper = _kept(self._http)
            await anext(self._keeper)
        return self._http

    def _headers(self, call: Call) -> dict[str, str]:
        headers = call.headers
        if call.authorized and self._config.token is not None:
            headers["Authorization"] = f"Bearer {self._config.token}"
        if isinstance(call.body, FileBody) and call.body.len is not None:
            headers["Content-Length"] = str(call.body.len)
        return headers


class _Held:
    """The answer that one flow holds open, and the steps on it."""

    def __init__(self, wire: AsyncWire) -> None:
        self._wire = wire
        self._response: httpx2.Response | None = None
        self._pieces: AsyncGeneratorType[bytes, None] | None = None
        self._timeout_s = 0.0
        self._handled: BaseException | None = None

    async def perform(self, step: Step) -> Any:
        """Does what a step asks for, and returns what came of it."""
        self._handled = sys.exc_info()[1]
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, Read):
            return await self._piece(step)
        if isinstance(step, Open):
            return await self._open(step)
        if isinstance(step, Tell):
            came = step.callback(step.value)
            return await came if inspect.isawaitable(came) else came
        if isinstance(step, Sleep):
            return await asyncio.sleep(step.seconds)
        return await self._end(step)

    async def shut(self) -> None:
        """Lets go of the open answer."""
        response, pieces, self._response, self._pieces = self._response, self._pieces, None, None
        self._wire.held.discard(self)
        if pieces is not None and not pieces.ag_running:
            # The outermost first: an event loop's end closes all at once, and they would trip over each other.
            await pieces.aclose()
        if response is not None:
            await response.aclose()

    async def _send(self, step: Send) -> Reply | Fault:
        try:
            async with asyncio.timeout(step.timeout_s) as deadline:
                return await _whole(await self._wire.request(step, deadline))
        except _FAULTS as error:
            return self._fault(error, step.timeout_s)

    async def _open(self, step: Open) -> Reply | Fault:
        await self.shut()
        try:
            async with asyncio.timeout(step.timeout_s) as deadline:
                response = await self._wire.request(step, deadline)
                if not response.is_success:
                    return await _whole(response)
        except _FAULTS as error:
            return self._fault(error, step.timeout_s)
        self._response, self._timeout_s = response, step.timeout_s
        self._pieces = cast("AsyncGeneratorType[bytes, None]", response.aiter_bytes())
        self._wire.held.add(self)
        return Reply(response.status_code, response.headers)

    async def _end(self, step: Shut) -> None:
        if step.within_s:
            with suppress(ForgeError):  # the way was closed, which the answer's reader need not know
                await self._piece(Read(step.within_s))
        await self.shut()

    async def _piece(self, step: Read) -> bytes | Fault:
        self._wire.check_open()
        if self._pieces is None:
            return b""
        try:
            if step.timeout_s is None:
                piece = await anext(self._pieces, b"")
            else:
                async with asyncio.timeout(step.timeout_s):
                    piece = await anext(self._pieces, b"")
        except _FAULTS as error:
            await self.shut()
            return self._fault(error, self._timeout_s if step.timeout_s is None else step.timeout_s)
        if not piece:
            await self.shut()
        return piece

    def _fault(self, error: BaseException, timeout_s: float) -> Fault:
        self._wire.check_open()  # else that is what went wrong
        return _fault(error, timeout_s, self._handled)


def _here() -> tuple[int, Any]:
    return os.getpid(), asyncio.get_running_loop()


def _new_http(config: Config) -> httpx2.AsyncClient:
    http = httpx2.AsyncClient(
        # A redirect is never followed, so without https no certificates are needed; they take long to load.
        verify=config.base_url.startswith("https:"),
        # A proxy of the environment cannot reach this machine's loopback.
        mounts={f"all://{_bracketed(config.host)}": None} if config.is_loopback else None,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS),
    )
    # The contract knows no cookies, and tasks would share them.
    http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return http


async def _kept(http: httpx2.AsyncClient) -> AsyncGenerator[None, None]:
    """Once begun, it closes the client when it is closed itself: at the latest an event loop's end does that."""
    try:
        yield
    finally:
        await http.aclose()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _whole(response: httpx2.Response) -> Reply:
    try:
        return Reply(response.status_code, response.headers, await response.aread())
    finally:
        await response.aclose()


def _timeouts(step: Send | Open) -> httpx2.Timeout:
    """What httpx2 has to see to itself: each read of a stream. A deadline for each would cost a fifth of its time.

    What ends while it connects was never sent, and is told as that: so it ends before the deadline.
    """
    first_s = step.timeout_s * _FIRST
    read_s = step.timeout_s if isinstance(step, Open) else None
    return httpx2.Timeout(None, connect=first_s, pool=first_s, read=read_s)


def _content(step: Send | Open, deadline: asyncio.Timeout) -> bytes | AsyncIterator[bytes] | None:
    body = step.call.body
    return _pieces(body, step.timeout_s, deadline) if isinstance(body, FileBody) else body


async def _pieces(body: FileBody, timeout_s: float, deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
    """A file's bytes. How long it is on its way is the network's matter: each piece has its own time."""
    now_s = asyncio.get_running_loop().time
    for piece in body:
        deadline.reschedule(now_s() + timeout_s)
        yield piece
    deadline.reschedule(now_s() + timeout_s)


def _fault(error: BaseException, timeout_s: float, handled: BaseException | None) -> Fault:
    """What lies at the bottom of a failed call; `handled` is what the app was handling when it made the call."""
    sent = not isinstance(error, _UNSENT)
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return Fault(f"no answer within {timeout_s:g} s", sent, True, error)
    bottom: BaseException = error
    # Some causes are told by `__context__` alone, which leads on into the app.
    while (deeper := bottom.__cause__ or bottom.__context__) is not None and deeper is not handled:
        bottom = deeper
    return Fault(one_line(_said(bottom)) or type(bottom).__name__, sent, False, error)


def _said(error: BaseException) -> str:
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    # asyncio has words of its own for errors of the system's; those of a resolver have numbers below 0.
    return os.strerror(error.errno) if error.errno > 0 else error.strerror or str(error)
