"""What lies around an app does not change what it calls: netrc, proxies, given sessions. With both twins."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests

from clawdforge import ForgeTransportError
from harness.raw_server import RawServer, answer
from harness.twins import Twin

TOKEN = "cf_unit-test-token-0123456789"
GATEWAY = "http://gateway.test:8800"
PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture
def server() -> Any:
    with RawServer(answer({"ok": True})) as server:
        yield server


@pytest.fixture
def nowhere() -> str:
    """A URL that refuses connections."""
    with RawServer(b"") as server:
        return server.url


def own_session(twin: Twin, proxy: str | None = None, headers: dict[str, str] | None = None) -> Any:
    if twin.is_async:
        return httpx2.AsyncClient(proxy=proxy, headers=headers)
    session = requests.Session()
    session.proxies.update({"http": proxy} if proxy else {})
    session.headers.update(headers or {})
    return session


async def close(session: Any) -> None:
    await session.aclose() if isinstance(session, httpx2.AsyncClient) else session.close()


def authorization(request: str) -> list[str]:
    lines = request.partition("\r\n\r\n")[0].split("\r\n")
    return [line.partition(": ")[2] for line in lines if line.lower().startswith("authorization:")]


@pytest.mark.parametrize("own", [False, True], ids=["its own session", "a given one"])
async def test_a_netrc_entry_neither_beats_nor_joins_the_token(
    twin: Twin, server: RawServer, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    session = own_session(twin) if own else None
    async with twin(base_url=server.url, token=TOKEN, session=session) as forge:
        await forge.agents()
        await forge.healthz()
    async with twin(base_url=server.url, session=session) as forge:
        await forge.agents()
    await close(session) if own else None
    assert [authorization(each) for each in server.requests] == [[f"Bearer {TOKEN}"], [], []]


async def test_a_given_sessions_own_token_is_for_somebody_else(twin: Twin, server: RawServer) -> None:
    session = own_session(twin, headers={"Authorization": "Bearer other", "X-Mine": "1"})
    session.auth = ("me", "secret")
    async with twin(base_url=server.url, token=TOKEN, session=session) as forge:
        await forge.agents()
        await forge.healthz()
    async with twin(base_url=server.url, session=session) as forge:
        await forge.agents()
    assert session.headers["Authorization"] == "Bearer other"
    await close(session)
    assert [authorization(each) for each in server.requests] == [[f"Bearer {TOKEN}"], [], []]
    assert all("x-mine: 1" in each.lower() for each in server.requests)


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_proxy_of_the_environment_is_not_for_loopback(
    twin: Twin, server: RawServer, nowhere: str, monkeypatch: pytest.MonkeyPatch, name: str, host: str
) -> None:
    monkeypatch.setenv(name, nowhere)
    async with twin(base_url=server.url.replace("127.0.0.1", host)) as forge:
        assert (await forge.healthz())["ok"]
    assert server.requests[0].startswith("GET /healthz HTTP/1.1\r\n")


@pytest.mark.parametrize("name", PROXIES)
async def test_a_proxy_of_the_environment_is_for_all_else(
    twin: Twin, server: RawServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, server.url)
    async with twin(base_url=GATEWAY, token=TOKEN) as forge:
        assert (await forge.agents())["ok"]
        monkeypatch.setenv("NO_PROXY", "gateway.test")
    assert server.requests[0].startswith(f"GET {GATEWAY}/agents HTTP/1.1\r\n")
    async with twin(base_url=GATEWAY, retries=0) as forge:
        with pytest.raises(ForgeTransportError):
            await forge.healthz()
    assert len(server.requests) == 1


async def test_a_given_sessions_own_proxy_is_for_all(twin: Twin, server: RawServer) -> None:
    session = own_session(twin, proxy=server.url)
    for url in (GATEWAY, "http://127.0.0.1:1"):
        async with twin(base_url=url, session=session) as forge:
            assert (await forge.healthz())["ok"]
    await close(session)
    assert [each.split()[1] for each in server.requests] == [f"{GATEWAY}/healthz", "http://127.0.0.1:1/healthz"]


async def test_a_given_session_is_used_and_left_open(twin: Twin, server: RawServer) -> None:
    session = own_session(twin, headers={"X-Mine": "1"})
    async with twin(base_url=server.url, session=session) as forge:
        await forge.healthz()
    async with twin(base_url=server.url, session=session) as forge:
        await forge.healthz()
    assert all("x-mine: 1" in each.lower() for each in server.requests)
    await close(session)


async def test_cookies_are_neither_kept_nor_sent(twin: Twin) -> None:
    with RawServer(answer({"ok": True}, headers={"Set-Cookie": "a=1; Path=/"})) as server:
        async with twin(base_url=server.url) as forge:
            await forge.healthz()
            await forge.healthz()
        assert "cookie:" not in server.requests[1].lower()


async def test_a_prefix_of_a_proxy_is_kept(twin: Twin, server: RawServer) -> None:
    async with twin(base_url=f"{server.url}/forge/") as forge:
        await forge.usage(since=1)
    assert server.requests[0].startswith("GET /forge/usage?since=1 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "settings",
    [
        {"token": "cf_a\nX-Evil: 1"},
        {"token": "cf_a\r\n\r\nGET / HTTP/1.1"},
        {"token": "cf_ü"},
        {"token": "cf_a b"},
        {"token": "cf_\x00"},
        {"base_url": "ftp://127.0.0.1"},
        {"base_url": "http://user:secret@127.0.0.1"},
        {"base_url": "http://127.0.0.1:99999"},
        {"base_url": "http://127.0.0.1?x=1"},
        {"base_url": "http://[::1"},
        {"base_url": "http://"},
        {"base_url": "http://127.0.0.1/\nx"},
        {"base_url": "http://127.0.0.1/a b"},
        {"http_timeout_margin": -1},
        {"http_timeout_margin": float("inf")},
        {"http_timeout_margin": float("nan")},
        {"default_timeout_secs": 0},
        {"default_timeout_secs": 10**9},
        {"retries": -1},
        {"retries": 1.5},
    ],
)
def test_settings_that_cannot_work_are_refused_in_a_sentence(twin: Twin, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|holds|retries") as caught:
        twin(**settings)
    assert "secret" not in str(caught.value)
    assert "cf_" not in str(caught.value)


async def test_a_token_may_end_in_a_line_end(
    twin: Twin, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAWDFORGE_TOKEN", f"{TOKEN}\n")
    monkeypatch.setenv("CLAWDFORGE_URL", f" {server.url}/ \n")
    async with twin() as forge:
        await forge.agents()
    assert authorization(server.requests[0]) == [f"Bearer {TOKEN}"]


async def test_a_failure_tells_its_own_reason_and_not_what_the_app_was_at(twin: Twin, nowhere: str) -> None:
    async with twin(base_url=nowhere, retries=0) as forge:
        with contextlib.suppress(KeyError):
            raise KeyError("settled")
        with pytest.raises(ForgeTransportError, match=r"healthz: Connection refused(\.|$)"):
            try:
                raise FileNotFoundError(2, "mine")
            except FileNotFoundError:
                await forge.healthz()
