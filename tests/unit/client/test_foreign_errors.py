"""No exception of another library's comes out of either twin: whatever its transport raises, wherever it does."""

from __future__ import annotations

import http.client
import inspect
import io
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import httpx2
import pytest
import requests
import urllib3
from requests.adapters import BaseAdapter

from clawdforge import AsyncForge, Forge, ForgeTimeoutError, ForgeTransportError

URL: Final = "http://gateway.test:8800"
SYSTEM: Final = (
    OSError(5, "Input/output error"),
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
    TimeoutError("timed out"),
    socket.gaierror(-2, "Name or service not known"),
    ssl.SSLError(1, "[SSL] bad record mac"),
    ssl.SSLCertVerificationError(1, "certificate verify failed"),
    UnicodeError("label too long"),
    ValueError("embedded null byte"),
)


def made(cls: type[BaseException]) -> BaseException:
    """One of a class, without knowing what it is made of."""
    error = cls.__new__(cls)
    error.args = (f"what happened: {cls.__name__}",)
    # Some make their text of these.
    partial = 0 if cls.__module__.startswith("urllib3") else b""
    vars(error).update(partial=partial, expected=3, length=b"zz", response=io.BytesIO())
    return error


def all_of(module: Any, *bases: type[BaseException]) -> list[BaseException]:
    found = {each for _, each in inspect.getmembers(module, inspect.isclass) if issubclass(each, bases)}
    return [made(each) for each in sorted(found, key=lambda each: each.__name__) if not issubclass(each, Warning)]


OF_REQUESTS: Final = [
    *all_of(requests.exceptions, requests.RequestException),
    *all_of(urllib3.exceptions, urllib3.exceptions.HTTPError),
    *all_of(http.client, http.client.HTTPException),
    *SYSTEM,
]
OF_HTTPX: Final = [*all_of(httpx2, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL), *SYSTEM]


def test_there_are_some() -> None:
    assert len(OF_REQUESTS) > 50 and len(OF_HTTPX) > 25


def named(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__name__}"


# --- requests ------------------------------------------------------------------------------------------------


class Body(io.RawIOBase):
    """A body that fails when it is read, with what a stream of urllib3's is asked for."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def read(self, *_: Any, **__: Any) -> Any:
        raise self._error

    read1 = read

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        raise self._error
        yield b""

    def release_conn(self) -> None:
        """It has none."""


class Adapter(BaseAdapter):
    """Fails in the place of the network, at once or where the body is read."""

    def __init__(self, error: BaseException, *, late: bool) -> None:
        self._error = error
        self._late = late

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        if not self._late:
            raise self._error
        response = requests.Response()
        response.status_code, response.raw, response.request = 200, Body(self._error), request
        response.headers["Content-Type"] = "text/event-stream"
        response.url = request.url or ""
        return response

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("late", [False, True], ids=["at once", "in the body"])
@pytest.mark.parametrize("error", OF_REQUESTS, ids=named)
def test_none_of_requests(error: BaseException, late: bool) -> None:
    with requests.Session() as session:
        session.mount("http://", Adapter(error, late=late))
        with Forge(base_url=URL, session=session, retries=0) as forge:
            check_all_raise(
                [
                    forge.healthz,
                    lambda: forge.run("hi"),
                    lambda: list(forge.stream("hi")),
                    lambda: list(forge.sessions()),
                    lambda: forge.upload_file(io.BytesIO(b"x")),
                ],
                error,
            )


def check_all_raise(uses: list[Callable[[], Any]], error: BaseException) -> None:
    for use in uses:
        with pytest.raises(ForgeTransportError) as caught:
            use()
        check(caught.value, error)


def check(raised: ForgeTransportError, error: BaseException) -> None:
    assert raised.__cause__ is not None
    assert 0 < len(str(raised)) < 600
    timeouts = (TimeoutError, requests.Timeout, urllib3.exceptions.ReadTimeoutError, httpx2.TimeoutException)
    timeout = isinstance(error, timeouts)
    assert isinstance(raised, ForgeTimeoutError) is timeout


# --- httpx2 --------------------------------------------------------------------------------------------------


class Stream(httpx2.AsyncByteStream):
    """A body that fails when it is read."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise self._error
        yield b""


class Transport(httpx2.AsyncBaseTransport):
    """As `Adapter`."""

    def __init__(self, error: BaseException, *, late: bool) -> None:
        self._error = error
        self._late = late

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if not self._late:
            raise self._error
        return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Stream(self._error))


@pytest.mark.parametrize("late", [False, True], ids=["at once", "in the body"])
@pytest.mark.parametrize("error", OF_HTTPX, ids=named)
async def test_none_of_httpx(error: BaseException, late: bool) -> None:
    async def every(items: Any) -> list[Any]:
        return [each async for each in items]

    session = httpx2.AsyncClient(transport=Transport(error, late=late))
    async with session, AsyncForge(base_url=URL, session=session, retries=0) as forge:
        for use in (
            forge.healthz,
            lambda: forge.run("hi"),
            lambda: every(forge.stream("hi")),
            lambda: every(forge.sessions()),
            lambda: forge.upload_file(io.BytesIO(b"x")),
        ):
            with pytest.raises(ForgeTransportError) as caught:
                await use()
            check(caught.value, error)
