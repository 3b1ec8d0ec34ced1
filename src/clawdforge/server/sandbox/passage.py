"""One connection of an agent to its model: requests go on as `forwarding` writes them, the answers as they come.

The connection upward is opened with the first request, and both end together: what the endpoint does to its
connection, it does to the agent's. Nothing is kept but what one read brings; who is slow is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, cast

from clawdforge.server.sandbox.endpoint import Endpoint
from clawdforge.server.sandbox.forwarding import Forwarding, Refused

_log: Final = logging.getLogger(__name__)
_FIRST_REQUEST_TIMEOUT_S: Final = 30.0
_CONNECT_TIMEOUT_S: Final = 20.0
_LINGER_S: Final = 5.0
_ADDRESS_TIMEOUT_S: Final = 6.0
_LOOKUPS: Final = ThreadPoolExecutor(4, thread_name_prefix="lookup")
"""A name's lookup takes a thread for as long as nobody answers it: those of the gateway have other work."""
_PIECE: Final = memoryview(bytearray(64 * 1024))
"""What is taken at a time: its size bounds how long others wait while what an agent sent is looked through. One
for all, because each piece is done with before the loop takes the next; asyncio would make 256 KiB for each."""


class Passage(asyncio.BufferedProtocol):
    """The agent's side.

    Args:
        endpoint: where it leads.
        tls: with which to speak to it, where it is spoken to by TLS.
        over: called once, when nothing is left of it.
    """

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None, over: Callable[[Passage], None]) -> None:
        self._endpoint, self._tls, self._over = endpoint, tls, over
        self._loop = asyncio.get_running_loop()
        self._requests = Forwarding(endpoint.authority)
        self._agent: asyncio.Transport
        self._model: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._deaf = False
        self._deadline = self._loop.call_later(_FIRST_REQUEST_TIMEOUT_S, self.abort)

    def abort(self) -> None:
        """Ends it at once, on both sides."""
        self._agent.abort()

    # --- what the agent's connection tells -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._agent = cast("asyncio.Transport", transport)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return _PIECE

    def buffer_updated(self, nbytes: int) -> None:
        if self._deaf:
            return
        try:
            asked = self._requests.feed(bytes(_PIECE[:nbytes]))
        except Refused as refused:
            self._refuse(refused)
            return
        if not asked:
            return
        if self._model is not None:
            self._model.write(asked)
        else:
            self._deadline.cancel()
            self._agent.pause_reading()
            self._connecting = self._loop.create_task(self._connect(asked))

    def pause_writing(self) -> None:
        if self._model is not None:
            self._model.pause_reading()

    def resume_writing(self) -> None:
        if self._model is not None:
            self._model.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        self._deadline.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._model is not None:
            self._model.abort()
        self._over(self)

    # --- ---------------------------------------------------------------------------------------------------

    async def _connect(self, asked: bytes) -> None:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                self._model = await self._reached()
        except OSError as error:  # a deadline that has passed is one too
            why = _reason(error)
            _log.debug("the model endpoint %s cannot be reached: %s", self._endpoint.authority, why)
            self._refuse(Refused(502, f"the gateway cannot reach {self._endpoint.authority}: {why}"))
            self._agent.resume_reading()
        else:
            self._agent.resume_reading()  # first: what is written next may be more than the model takes
            self._model.write(asked)

    async def _reached(self) -> asyncio.Transport:
        """A connection to the first of the endpoint's addresses that takes one."""
        host, port = self._endpoint.host, self._endpoint.port
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        problem: OSError | None = None
        for family, _, _, _, address in await self._loop.run_in_executor(_LOOKUPS, look_up):
            try:
                async with asyncio.timeout(_ADDRESS_TIMEOUT_S):
                    transport, _ = await self._loop.create_connection(
                        lambda: _Answers(self._agent),
                        str(address[0]),
                        port,
                        family=family,
                        ssl=self._tls,
                        server_hostname=host if self._tls else None,
                    )
            except OSError as error:
                problem = problem or error
            else:
                return transport
        raise problem or OSError("it has no address")

    def _refuse(self, refused: Refused) -> None:
        """Says why, and waits for the agent to hang up: who hangs up first takes the answer with him.

        Of a connection that carries answers of the endpoint's nobody knows where the next one would have its
        place: it just ends.
        """
        self._deaf = True
        if self._model is not None:
            self.abort()
            return
        self._deadline.cancel()
        self._deadline = self._loop.call_later(_LINGER_S, self.abort)
        self._agent.write(refused.answer())
        self._agent.write_eof()


class _Answers(asyncio.BufferedProtocol):
    """The endpoint's side: hands on what comes, and does to the agent's connection what is done to its own."""

    def __init__(self, agent: asyncio.Transport) -> None:
        self._agent = agent

    def get_buffer(self, _sizehint: int) -> memoryview:
        return _PIECE

    def buffer_updated(self, nbytes: int) -> None:
        self._agent.write(bytes(_PIECE[:nbytes]))

    def pause_writing(self) -> None:
        self._agent.pause_reading()

    def resume_writing(self) -> None:
        self._agent.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self._agent.close()
        else:
            self._agent.abort()


def _reason(error: OSError) -> str:
    """Why a connection could not be made, in words that go to an agent and into a log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    return str(error) or type(error).__name__
