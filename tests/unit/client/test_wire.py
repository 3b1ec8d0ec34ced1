"""A Forge against a real server on loopback: what interception cannot prove."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from clawdforge import Forge, ForgeAPIError, ForgeError, ForgeTransportError
from clawdforge.client import _call, _calls, _connections, _requests
from clawdforge.client._bodies import FileBody, Source
from clawdforge.client._config import Config
from clawdforge.client._connections import Patience
from clawdforge.client._httpx import AsyncWire
from clawdforge.client._requests import Wire
from clawdforge.client._steps import Fault, Open, Read, Send, Step
from clawdforge.testing import FakeGateway
from harness.raw_server import RawServer, frame
from harness.twins import Twin

Live = Any  # the fixture's own class: a conftest cannot be imported
RUN = {"ok": True, "result": "x", "duration_ms": 1, "stop_reason": "end_turn"}


def echo(seen: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps({**RUN, "result": json.loads(seen.body)["prompt"]}).encode()


def test_ten_megabytes_go_there_and_back(live_server: Live) -> None:
    live_server.answer = echo
    prompt = "ü" * 5_000_000

    with Forge(base_url=live_server.url) as forge:
        assert forge.run(prompt).result == prompt


def test_one_forge_serves_many_threads_and_each_gets_its_own_answer(live_server: Live) -> None:
    live_server.answer = echo
    prompts = [f"prompt {number}" for number in range(200)]

    with Forge(base_url=live_server.url, token="cf_shared") as forge, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda prompt: forge.run(prompt).result, prompts))

    assert answers == prompts
    assert {seen.headers["Authorization"] for seen in live_server.seen} == {"Bearer cf_shared"}


@pytest.mark.parametrize("own", [False, True])
def test_a_proxy_of_the_environment_does_not_break_loopback(
    live_server: Live, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody is there
    port = live_server.url.rpartition(":")[2]

    with requests.Session() as session:
        for host in ("127.0.0.1", "localhost"):
            with Forge(base_url=f"http://{host}:{port}", session=session if own else None) as forge:
                assert forge.healthz() == {"ok": True}

    assert "no_proxy" not in os.environ


def test_a_proxy_of_the_environment_is_used_elsewhere(live_server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", live_server.url)

    with Forge(base_url="http://gateway.test:8800") as forge:
        forge.healthz()

    assert live_server.seen[0].path == "http://gateway.test:8800/healthz"


def test_a_proxy_set_on_a_given_session_is_obeyed_even_for_loopback(live_server: Live) -> None:
    with requests.Session() as session:
        session.proxies = {"http": live_server.url}
        Forge(base_url="http://127.0.0.1:9", session=session).healthz()

    assert live_server.seen[0].path == "http://127.0.0.1:9/healthz"


def test_nobody_there_is_a_transport_error_that_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        with pytest.raises(ForgeTransportError, match="Connection refused"), Forge(base_url=url) as forge:
            forge.healthz()


def answer_and_hang_up(raw: bytes) -> tuple[str, threading.Thread]:
    """A server for one connection: it waits for a request, says these bytes, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65_536)
            connection.sendall(raw)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", thread


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n" + b"z" * 100_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_a_transport_error(raw: bytes) -> None:
    url, thread = answer_and_hang_up(raw)

    with pytest.raises(ForgeTransportError) as caught, Forge(base_url=url) as forge:
        forge.healthz()

    thread.join(10)
    assert isinstance(caught.value.__cause__, requests.RequestException)
    assert len(str(caught.value)) < 600


def test_an_answer_that_does_not_come_in_time_is_a_transport_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections, never answers
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        late = pytest.raises(ForgeTransportError, match=r"no answer within 1\.01 s")
        with Forge(base_url=url, http_timeout_margin=0.01) as forge, late:
            forge.run("hello", timeout_secs=1)


def test_a_large_upload_is_a_stream_of_known_length(live_server: Live, tmp_path: Path) -> None:
    live_server.answer = lambda _: (
        200,
        {},
        b'{"ok": true, "file_token": "ff_1", "ttl_secs": 60, "size": 3000000}',
    )
    path = tmp_path / 'odd "name" 🚲.bin'
    path.write_bytes(os.urandom(3_000_000))

    with Forge(base_url=live_server.url) as forge:
        assert forge.upload_file(path).file_token == "ff_1"

    (seen,) = live_server.seen
    assert int(seen.headers["Content-Length"]) == len(seen.body)
    assert path.read_bytes() in seen.body
    assert 'filename="odd \\"name\\" 🚲.bin"'.encode() in seen.body


def test_a_pipe_is_uploaded_in_chunks(live_server: Live) -> None:
    live_server.answer = lambda _: (200, {}, b'{"ok": true, "file_token": "ff_1"}')
    with subprocess.Popen(
        [sys.executable, "-c", "print('x' * 1_000_000, end='')"], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        with Forge(base_url=live_server.url) as forge:
            forge.upload_file(child.stdout)

    (seen,) = live_server.seen
    assert b"x" * 1_000_000 + b"\r\n--" in seen.body


def test_a_file_that_breaks_on_the_way_is_told_as_it_is(live_server: Live) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1_000_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    told = pytest.raises(ForgeError, match="the file cannot be read: Input/output error")
    with Forge(base_url=live_server.url) as forge, told as caught:
        forge.upload_file(Broken(bytes(3_000_000)))

    assert type(caught.value) is ForgeError


def test_uploading_does_not_hold_the_file_in_memory(live_server: Live, tmp_path: Path) -> None:
    """In a process of its own, whose peak of memory is known: 64 MB go out of one that grows by far less."""
    live_server.answer = lambda _: (200, {}, b'{"ok": true, "file_token": "ff_1"}')
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    script = (
        "import resource, sys\n"
        "from clawdforge import Forge\n"
        "forge = Forge(base_url=sys.argv[1])\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); forge.upload_file(sys.argv[2]); print(peak() - before)\n"
    )

    child = subprocess.run(
        [sys.executable, "-c", script, live_server.url, str(path)], capture_output=True, text=True, timeout=60
    )

    assert child.returncode == 0, child.stderr
    assert len(live_server.seen[0].body) > 64_000_000
    assert int(child.stdout) < 16_000


def test_an_error_page_of_something_else_is_told_with_an_excerpt(live_server: Live) -> None:
    live_server.answer = lambda _: (503, {"Retry-After": "3"}, b"<html>down for maintenance</html>")

    with Forge(base_url=live_server.url) as forge, pytest.raises(ForgeAPIError, match="maintenance") as caught:
        forge.run("hello")

    assert caught.value.retry_after == 3


# --- the drivers, by hand ------------------------------------------------------------------------------------


def test_reading_where_nothing_is_open_comes_to_an_end() -> None:
    def flow() -> Generator[Step, Any, Any]:
        return (yield Read())

    config = Config("http://gateway.test")
    assert Wire(config, None).perform(flow()) == b""
    assert asyncio.run(AsyncWire(config, None).perform(flow())) == b""


def test_a_flow_that_is_performed_whole_has_no_items() -> None:
    def flow() -> Generator[Any, Any, None]:
        yield [1]

    with pytest.raises(AssertionError, match="no items"):
        Wire(Config("http://gateway.test"), None).perform(flow())


DRIPPING = {
    "head": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    "no": b"HTTP/1.1 503 No\r\nContent-Length: 1000000\r\n\r\n",
}


async def performed(twin: Twin, url: str, flow: Generator[Step, Any, Any], session: Any = None) -> Any:
    """What a flow comes to, by a twin's driver."""
    if twin.is_async:
        wire = AsyncWire(Config(url), session)
        try:
            return await wire.perform(flow)
        finally:
            await wire.close()
    plain = Wire(Config(url), session)
    try:
        return plain.perform(flow)
    finally:
        plain.close()


@pytest.mark.parametrize("where", DRIPPING)
async def test_an_answer_that_drips_does_not_outlive_its_time(twin: Twin, where: str) -> None:
    def flow() -> Generator[Step, Any, Any]:
        whole = yield Send(_calls.healthz(), 0.2)
        opened = yield Open(_calls.healthz(), 0.2 if where in ("head", "no") else 30)
        return whole, (opened if isinstance(opened, Fault) else (yield Read(0.2)))

    # A chunk's size may begin with noughts: of those no piece is made.
    with RawServer(DRIPPING[where], DRIPPING[where].replace(b"fffff\r\n", b""), drip=b"0") as server:
        whole, piece = await performed(twin, server.url, flow())
    assert whole == Fault("no answer within 0.2 s", timed_out=True)
    # What drips of a body is a piece each time.
    assert piece == (b"0" if where == "body" else whole)


def test_patience_has_an_end() -> None:
    patience = Patience(60)
    assert 0 < patience.left_s() <= 60 == patience
    patience.renew(0)
    with pytest.raises(TimeoutError):
        patience.left_s()


@pytest.mark.parametrize("whose", ["timeout", "socket", "connection"])
def test_what_an_app_or_its_tests_put_below_is_used(
    whose: str, live_server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    send, makefile = HTTPAdapter.send, socket.socket.makefile

    class Connection(HTTPConnection):
        def getresponse(self) -> Any:
            used.append("connection")
            return super().getresponse()

    def with_timeout(*args: Any, **options: Any) -> Any:
        used.append("timeout")
        return send(*args, **{**options, "timeout": min(options["timeout"], 20)})

    def whole(sock: Any, *args: Any, **options: Any) -> Any:
        if sock.getpeername()[1] != port:
            return makefile(sock, *args, **options)  # the server's own
        used.append("socket")
        with makefile(sock, *args, **options) as read:
            head = b"".join(iter(read.readline, b"\r\n")) + b"\r\n"
            return io.BytesIO(head + read.read(len(b'{"ok": true}')))

    port = int(live_server.url.rpartition(":")[2])
    live_server.answer = lambda _: (200, {}, b'{"ok": true}')
    if whose == "timeout":
        monkeypatch.setattr(HTTPAdapter, "send", with_timeout)
    elif whose == "socket":
        monkeypatch.setattr(socket.socket, "makefile", whole)
    else:
        monkeypatch.setattr(HTTPConnectionPool, "ConnectionCls", Connection)
    with Forge(base_url=live_server.url) as forge:
        assert forge.healthz() == {"ok": True}
    assert used == [whose]


async def test_the_time_of_a_file_begins_when_it_was_sent(twin: Twin, live_server: Live) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            threading.Event().wait(0.6)
            return super().read(size)

    body = FileBody(Source(Slow(b"abc"), 0, 3), _calls.BYTES)

    def flow() -> Generator[Step, Any, Any]:
        return (yield Send(_call.Call("POST", "/files", 1, body=body), 0.5))

    assert (await performed(twin, live_server.url, flow())).status == 200
    assert live_server.seen[0].body == b"abc"


async def test_a_stream_that_has_ended_gives_its_connection_back(twin: Twin, live_server: Live) -> None:
    end = {"turn_index": 1, "stop_reason": "end_turn", "ok": True, "duration_ms": 1}
    told = frame(1, "turn_start", prompt="hi") + frame(2, "turn_end", **end)

    def answer(seen: Any) -> tuple[int, dict[str, str], bytes]:
        if seen.headers["Accept"] == "text/event-stream":
            more = b":" * 1_000_000 if b"leave me" in seen.body else b""
            return 200, {"Content-Type": "text/event-stream", "Idempotency-Supported": "true"}, told + more
        return 200, {}, json.dumps({**end, "session_id": "sess_1", "events": []}).encode()

    live_server.answer = answer
    async with twin(base_url=live_server.url) as forge:
        session = await forge.attach_session("sess_1")
        for _ in range(3):
            stream = session.stream("hi")
            assert [event.seq async for event in stream] == [1, 2]
            assert (await stream.result()).ok
        assert live_server.connections == 1
        # One that is left early is not read to its end.
        async with session.stream("leave me") as left:
            await anext(left)
        await session.state()
        assert live_server.connections == 2
        # Who closes all with the last event has no more to wait for.
        told_to: list[int] = []
        async for event in session.stream("leave me"):
            told_to.append(event.seq)
            if event.type == "turn_end":
                await forge.close()
        assert told_to == [1, 2]


@pytest.mark.parametrize("given", [False, True])
def test_the_end_of_a_stream_on_a_given_session_is_not_waited_for(
    live_server: Live, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    end = frame(1, "turn_end", turn_index=1, stop_reason="end_turn", ok=True, duration_ms=1)
    head = {"Content-Type": "text/event-stream", "Idempotency-Supported": "true"}
    live_server.answer = lambda seen: (200, head, end) if seen.method == "POST" else (200, {}, b"{}")
    times_s: list[float | None] = []
    read = _requests._Held._piece
    monkeypatch.setattr(
        _requests._Held, "_piece", lambda held, step: times_s.append(step.timeout_s) or read(held, step)
    )
    with requests.Session() as http, Forge(base_url=live_server.url, session=http if given else None) as forge:
        assert [event.seq for event in forge.attach_session("sess_1").stream("hi")] == [1]
    assert any(times_s) is not given


def test_a_proxy_for_socks_has_connections_of_its_own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests.adapters, "SOCKSProxyManager", lambda *_, **__: PoolManager())
    plain = HTTPAdapter().poolmanager.pool_classes_by_scheme
    adapter = _connections._Adapter()
    assert adapter.proxy_manager_for("socks5://127.0.0.1:9").pool_classes_by_scheme == plain
    assert adapter.proxy_manager_for("http://127.0.0.1:9").pool_classes_by_scheme == _connections._POOLS
    adapter.close()


def test_another_process_has_connections_of_its_own(live_server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    with Forge(base_url=live_server.url) as forge:
        forge.healthz()
        mine = forge._wire._http
        monkeypatch.setattr(os, "getpid", lambda: -1)
        forge.healthz()
        assert forge._wire._http is not mine
        mine.close()


def test_an_older_urllib3_reads_a_stream_too(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_requests, "hasattr", lambda *_: False, raising=False)
    gateway.answers("a", "b")
    with Forge(base_url=gateway.url, token=gateway.token) as forge:
        assert "".join(forge.stream("hi").text_deltas()) == "ab"


def test_a_body_that_breaks_off_is_none_for_an_older_urllib3_either() -> None:
    class Old(HTTPAdapter):
        def send(self, *args: Any, **options: Any) -> requests.Response:
            response = super().send(*args, **options)
            response.raw.enforce_content_length = False
            return response

    url, thread = answer_and_hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
    with requests.Session() as session:
        session.mount("http://", Old())
        with pytest.raises(ForgeTransportError), Forge(base_url=url, session=session) as forge:
            forge.healthz()
    thread.join(10)


def test_an_older_urllib3_tells_why_there_is_no_connection_by_its_context_alone() -> None:
    with pytest.raises(NewConnectionError) as caught:
        try:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        except OSError:
            raise NewConnectionError(HTTPConnection("127.0.0.1"), "nobody there")  # noqa: B904  # as it does
    fault = _requests._fault(requests.ConnectionError(caught.value), 1)
    assert (fault.reason, fault.sent) == ("Connection refused", False)


def test_a_flow_opens_one_answer_at_a_time(live_server: Live) -> None:
    def flow() -> Generator[Step, Any, Any]:
        yield Open(_calls.healthz(), 10)
        yield Open(_calls.healthz(), 10)
        return (yield Read())

    with Forge(base_url=live_server.url) as forge:
        assert forge._wire.perform(flow()) == b'{"ok": true}'
