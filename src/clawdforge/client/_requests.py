"""Performs the steps of flows by requests: the synchronous driver.

Must not decide anything: what to send, when again and how it is read is the flows' matter.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Final, TypeVar

import requests
from requests.auth import AuthBase
from urllib3 import HTTPResponse
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from clawdforge.client._api import Reply
from clawdforge.client._bodies import FileBody
from clawdforge.client._call import Call
from clawdforge.client._config import Config
from clawdforge.client._connections import Patience, new_http
from clawdforge.client._core import Here
from clawdforge.client._steps import Fault, Flow, Open, Read, Send, Shut, Sleep, Step, Tell
from clawdforge.errors import ForgeError, one_line

T = TypeVar("T")

# requests lets some of what lies below it through: urllib3's own errors, http.client's, bad host names.
_FAULTS: Final = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)
_HTTP_1_1: Final = 11
_PIECE_BYTES: Final = 64 * 1024


class Wire(Here):
    """The way to one gateway. Many threads may use it at once; each flow has a connection of its own.

    Args:
        config: where to, and who asks.
        session: to send through; one of its own where None, which `close` then closes.

    Attributes:
        owned: whether it is its own, with connections that keep to a time.
    """

    def __init__(self, config: Config, session: requests.Session | None) -> None:
        self._config = config
        self.owned: bool = session is None
        self._http = new_http() if session is None else session
        self._pid = os.getpid()
        self._closed = False
        # A proxy of the environment cannot reach this machine's loopback. Named as `no_proxy`, the host is
        # spared while certificates (`REQUESTS_CA_BUNDLE`) and proxies set on a given session stay in force.
        self._proxies = {"no_proxy": config.host} if config.is_loopback else None

    def perform(self, flow: Flow[T]) -> T:
        """Performs a flow and returns its result."""
        try:
            next(self.play(flow))
        except StopIteration as end:
            result: T = end.value
            return result
        raise AssertionError("a flow that is performed whole has no items")

    def play(self, flow: Generator[Any, Any, T]) -> Generator[Any, None, T]:
        """Performs a flow as far as its reader goes, and yields its items."""
        held = _Held(self)
        came: Any = None
        try:
            while True:
                try:
                    step = flow.send(came)
                except StopIteration as end:
                    result: T = end.value
                    return result
                if isinstance(step, list):
                    yield from step
                    came = None
                else:
                    came = held.perform(step)
        finally:
            held.shut()

    def close(self) -> None:
        """Lets go of all connections. Safe to repeat."""
        self._closed = True
        if self.owned:
            self._http.close()

    def check_open(self) -> None:
        """Raises a `ForgeError` where this way is closed."""
        if self._closed:
            raise ForgeError("this Forge is closed; make a new one")

    def request(self, call: Call, patience: Patience) -> requests.Response:
        """Begins a call; its answer is open.

        Raises:
            ForgeError: this way is closed.
            one of `_FAULTS`: no answer came, or not the whole of its head.
        """
        self.check_open()
        if self.owned and self._pid != os.getpid():
            # After a fork the parent's connections are the parent's: two would read each other's answers.
            self._http, self._pid = new_http(), os.getpid()
        response = self._http.request(
            call.method,
            self._config.base_url + call.path,
            params=call.params,
            data=call.body,
            headers=call.headers,
            auth=_Bearer(self._config.token if call.authorized else None),
            timeout=patience,
            allow_redirects=False,  # a redirected POST loses its body, and the token is for one host
            stream=True,  # so that a body that breaks off leaves no socket: requests itself would lose it
            proxies=self._proxies,
        )
        if isinstance(response.raw, HTTPResponse):
            response.raw.enforce_content_length = True  # urllib3 1 takes a body that broke off for the whole one
        if _is_cut(response):
            response.close()
            raise requests.ConnectionError("the answer broke off in its head")
        return response


class _Held:
    """The answer that one flow holds open, and the steps on it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._response: requests.Response | None = None
        self._read: Callable[[], bytes] = bytes
        self._patience = Patience(0)

    def perform(self, step: Step) -> Any:
        """Does what a step asks for, and returns what came of it."""
        if isinstance(step, Send):
            return self._send(step)
        if isinstance(step, Read):
            return self._piece(step)
        if isinstance(step, Open):
            return self._open(step)
        if isinstance(step, Tell):
            return step.callback(step.value)
        if isinstance(step, Sleep):
            return time.sleep(step.seconds)
        return self._end(step)

    def shut(self) -> None:
        """Lets go of the open answer."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _send(self, step: Send) -> Reply | Fault:
        try:
            with self._wire.request(step.call, _patience(step)) as response:
                return Reply(response.status_code, response.headers, response.content)
        except _FAULTS as error:
            return _fault(error, step.timeout_s)

    def _open(self, step: Open) -> Reply | Fault:
        self.shut()
        patience = _patience(step)
        try:
            response = self._wire.request(step.call, patience)
            if not 200 <= response.status_code < 300:
                with response:
                    return Reply(response.status_code, response.headers, response.content)
        except _FAULTS as error:
            return _fault(error, step.timeout_s)
        self._response, self._patience = response, patience
        self._read = _reader(response)
        return Reply(response.status_code, response.headers)

    def _end(self, step: Shut) -> None:
        if step.within_s and self._wire.owned:  # on a given session a read has the time of the whole stream
            with suppress(ForgeError):  # the way was closed, which the answer's reader need not know
                self._piece(Read(step.within_s))
        self.shut()

    def _piece(self, step: Read) -> bytes | Fault:
        self._wire.check_open()
        if self._response is None:
            return b""
        timeout_s = self._patience if step.timeout_s is None else step.timeout_s
        self._patience.renew(timeout_s)
        try:
            piece = self._read()
        except _FAULTS as error:
            self.shut()
            return _fault(error, timeout_s)
        if not piece:
            self.shut()
        return piece


def _patience(step: Send | Open) -> Patience:
    # How long a file is on its way is the network's matter; the gateway's time is what comes after it.
    return Patience(step.timeout_s, from_sent=isinstance(step.call.body, FileBody))


def _is_cut(response: requests.Response) -> bool:
    """Whether the connection ended within the head, which http.client takes for the head's end.

    Headers are then missing, or end in mid value. What is whole says how long the answer is, or that the
    connection's end is its end.
    """
    raw = response.raw
    if getattr(raw, "version", None) != _HTTP_1_1:
        return False  # an older server's, or none from a network
    framed = raw.chunked or raw.length_remaining is not None
    return not framed and "close" not in response.headers.get("Connection", "").lower()


def _reader(response: requests.Response) -> Callable[[], bytes]:
    """Reads what has come of a body, without waiting for more; b"" at its end."""
    raw = response.raw
    if hasattr(raw, "read1"):
        return lambda: bytes(raw.read1(_PIECE_BYTES, decode_content=True))
    pieces = response.iter_content(_PIECE_BYTES)  # urllib3 1: of a chunked body, piece by piece as well
    return lambda: next(pieces, b"")


class _Bearer(AuthBase):
    """Puts the token on a request.

    Always given, also without a token: were there no auth object, requests would take one from `~/.netrc`,
    which silently beats any header.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is None:
            request.headers.pop("Authorization", None)
        else:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _fault(error: BaseException, timeout_s: float) -> Fault:
    """What lies at the bottom of a failed call."""
    timed_out = isinstance(error, requests.Timeout | TimeoutError)
    bottom, sent = error, True
    while True:
        # Of a body that stops in its midst, requests makes an error of the connection.
        timed_out = timed_out or isinstance(bottom, ReadTimeoutError)
        if isinstance(bottom, NewConnectionError | ConnectTimeoutError):
            sent = False  # no connection, so nothing went over one
        deeper = _deeper(bottom)
        if deeper is None:
            break
        bottom = deeper
    if timed_out:
        return Fault(f"no answer within {timeout_s:g} s", sent, timed_out, error)
    said = bottom.strerror if isinstance(bottom, OSError) and bottom.strerror else str(bottom)
    return Fault(one_line(said) or type(bottom).__name__, sent, timed_out, error)


def _deeper(error: BaseException) -> BaseException | None:
    if isinstance(error, NewConnectionError):
        return error.__cause__ or error.__context__  # which is all that urllib3 1 tells
    # Else not `__context__`: that would lead on into whatever the app was handling when it made the call.
    wrapped = (each for each in error.args if isinstance(each, BaseException))
    reason = getattr(error, "reason", None)
    return error.__cause__ or next(wrapped, reason if isinstance(reason, BaseException) else None)
