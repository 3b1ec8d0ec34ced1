"""Who gets in, from where, and that the 401 tells nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from starlette.requests import Request

from clawdforge.server.http.auth import MAX_TOKEN_BYTES, Address, Gate, bearer
from clawdforge.server.http.openapi import Api
from clawdforge.server.http.problems import Answer
from clawdforge.server.http.route import Route
from clawdforge.server.settings import Settings
from clawdforge.wire.problems import Problem

APP = b"cf_" + b"a" * 43
LOCAL_APP = b"cf_" + b"l" * 43
REVOKED = b"cf_" + b"r" * 43
ADMIN = b"admin-token-of-this-test"


@dataclass(frozen=True)
class App:
    name: str
    anywhere: bool


class Apps:
    """A registry of two apps: one may come from anywhere, one only from 127.0.0.9; a third was revoked."""

    def __init__(self) -> None:
        self.known = {APP: App("app", True), LOCAL_APP: App("local", False)}

    def authenticate(self, token: bytes) -> App | None:
        return self.known.get(token)

    def is_admin(self, token: bytes) -> bool:
        return token == ADMIN

    def admits(self, app: App, address: Address) -> bool:
        return app.anywhere or str(address) == "127.0.0.9"


def request(*authorization: bytes, peer: str | None = "127.0.0.1", **scope: Any) -> Request:
    headers = [(b"authorization", value) for value in authorization]
    client = None if peer is None else (peer, 50_000)
    return Request({"type": "http", "headers": headers, "client": client, "query_string": b"", **scope})


def gate(**settings: Any) -> Gate[App]:
    return Gate(Apps(), Settings(**settings))


def code(call: Any, *args: Any) -> str:
    with pytest.raises(Problem) as caught:
        call(*args)
    return caught.value.code


BAD = {
    "missing": (),
    "empty": (b"",),
    "no token": (b"Bearer",),
    "blank token": (b"Bearer  ",),
    "no scheme": (APP,),
    "another scheme": (b"Basic " + APP,),
    "scheme without a space": (b"Bearer:" + APP,),
    "unknown": (b"Bearer cf_" + b"b" * 43,),
    "revoked": (b"Bearer " + REVOKED,),
    "cut short": (b"Bearer " + APP[:-1],),
    "with more behind": (b"Bearer " + APP + b", Bearer " + APP,),
    "another case": (b"Bearer " + APP.upper(),),
    "twice": (b"Bearer " + APP, b"Bearer " + APP),
    "not ASCII": (b"Bearer cf_\xc3\xa9\xff",),
    "injection": (b"Bearer ' OR '1'='1",),
    "NUL": (b"Bearer cf_\0",),
    "1 MB": (b"Bearer " + b"a" * 1_000_000,),
    "just over the longest": (b"Bearer " + b"a" * (MAX_TOKEN_BYTES + 1),),
}


@pytest.mark.parametrize("authorization", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("door", ["app", "admin"])
def test_every_bad_token_is_the_same_401(authorization: tuple[bytes, ...], door: str) -> None:
    with pytest.raises(Problem) as caught:
        getattr(gate(), door)(request(*authorization))
    problem = caught.value
    assert (problem.code, problem.detail, problem.extra, problem.retry_after_s) == (
        "unauthorized",
        "a valid token is needed: Authorization: Bearer cf_…",
        {},
        None,
    )


def test_a_token_in_the_query_is_no_token() -> None:
    query = b"token=" + APP + b"&access_token=" + APP + b"&Authorization=Bearer+" + APP
    assert code(gate().app, request(query_string=query)) == "unauthorized"


@pytest.mark.parametrize("value", [b"Bearer " + APP, b"bearer " + APP, b"BEARER   " + APP + b"  "])
def test_the_scheme_is_read_in_any_case(value: bytes) -> None:
    assert bearer(request(value)) == APP
    assert gate().app(request(value)).name == "app"


def test_the_admin_token_and_app_tokens_open_only_their_own_doors() -> None:
    assert gate().admin(request(b"Bearer " + ADMIN)) is None
    assert code(gate().admin, request(b"Bearer " + APP)) == "forbidden"
    assert code(gate().app, request(b"Bearer " + ADMIN)) == "forbidden"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_always_let_in(peer: str) -> None:
    assert gate().app(request(b"Bearer " + APP, peer=peer)).name == "app"
    assert gate(allow_cidrs=["10.0.0.0/8"]).app(request(b"Bearer " + APP, peer=peer)).name == "app"


@pytest.mark.parametrize(
    "peer", ["10.1.2.3", "192.168.0.1", "::ffff:10.1.2.3", "2001:db8::1", "fe80::1%eth0", None]
)
def test_another_address_is_403_whatever_the_token(peer: str | None) -> None:
    for token in (APP, ADMIN, b"unknown"):
        for door in (gate().app, gate().admin, gate().anyone):
            assert code(door, request(b"Bearer " + token, peer=peer)) == "ip_not_allowed"


def test_settings_let_more_addresses_in() -> None:
    wide = gate(allow_cidrs="10.0.0.0/8, 2001:db8::/32")
    for peer in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"):
        assert wide.app(request(b"Bearer " + APP, peer=peer)).name == "app"
    assert code(wide.app, request(b"Bearer " + APP, peer="11.0.0.1")) == "ip_not_allowed"


def test_an_apps_own_networks_narrow_it_further() -> None:
    assert gate().app(request(b"Bearer " + LOCAL_APP, peer="127.0.0.9")).name == "local"
    assert code(gate().app, request(b"Bearer " + LOCAL_APP)) == "ip_not_allowed"


async def test_over_a_socket_only_the_peer_counts_and_all_401_look_alike(serve, raw) -> None:
    door = gate()

    async def whoami(request: Request) -> Answer:
        return Answer(door.app(request).name.encode())

    server = await serve(Api([Route("GET", "/", whoami)], title="test", version="0"))
    forwarded = ("X-Forwarded-For: 127.0.0.9", "X-Real-IP: 127.0.0.9", "Forwarded: for=127.0.0.9")
    reply = await server.ask(raw("GET", "/", f"Authorization: Bearer {LOCAL_APP.decode()}", *forwarded))
    assert (reply.status, reply.code) == (403, "ip_not_allowed")
    assert (await server.ask(raw("GET", "/", f"authorization: bearer {APP.decode()}"))).body == b"app"

    seen = set()
    for name, values in BAD.items():
        if name not in ("1 MB", "NUL"):  # these do not come through a request's head
            lines = [f"Authorization: {value.decode('latin-1')}" for value in values]
            reply = await server.ask(raw("GET", "/", *lines))
            assert reply.code == "unauthorized"
            assert reply.headers["www-authenticate"] == "Bearer"
            body = reply.json
            body.pop("request_id")
            headers = {key: value for key, value in reply.headers.items() if key != "x-request-id"}
            seen.add((reply.status, str(body), str(headers)))
    assert len(seen) == 1
