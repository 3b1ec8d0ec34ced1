"""The contract's error body for whatever is raised, and a request id on every answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from clawdforge.server.http.openapi import Api
from clawdforge.server.http.problems import Answer, Front, request_id
from clawdforge.server.http.route import Route
from clawdforge.server.store.base import NameTaken, StorageError
from clawdforge.wire.problems import STATUS, Problem

TOKEN = "cf_" + "s3cret" * 7


def raising(error: BaseException) -> Api:
    async def endpoint(request: Request) -> Answer:
        raise error

    return api(endpoint)


def api(endpoint: Callable[[Request], Awaitable[Any]]) -> Api:
    routes = [Route("GET", "/", endpoint), Route("POST", "/", endpoint), Route("GET", "/{name}/x", endpoint)]
    return Api(routes, title="test", version="0")


@pytest.mark.parametrize("code", sorted(STATUS))
async def test_every_code_is_answered_with_its_status_and_body(serve, raw, code: str) -> None:
    server = await serve(raising(Problem(code, "A sentence.", retry_after_s=7, session_id="sess_1")))
    reply = await server.ask(raw("GET", "/"))
    assert (reply.status, reply.code) == (STATUS[code], code)
    assert (reply.json["detail"], reply.json["session_id"]) == ("A sentence.", "sess_1")
    assert reply.headers["retry-after"] == "7"
    assert ("www-authenticate" in reply.headers) == (code == "unauthorized")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StorageError("disk I/O error"), 500, "internal"),
        (NameTaken("apps.name"), 500, "internal"),
        (StorageError("database or disk is full", full=True), 507, "storage_full"),
        (RuntimeError("boom"), 500, "internal"),
        (asyncio.CancelledError(), 503, "shutting_down"),
    ],
)
async def test_what_no_route_foresaw_is_answered_without_its_words(
    serve, raw, error, status: int, code: str
) -> None:
    server = await serve(raising(error))
    reply = await server.ask(raw("GET", "/"))
    assert (reply.status, reply.code) == (status, code)
    assert (str(error) or "Cancelled") not in reply.body.decode()
    assert "Traceback" not in reply.body.decode()
    assert (await server.ask(raw("GET", "/"))).status == status


async def test_the_log_has_the_traceback_under_the_request_id_and_no_credentials(serve, raw, caplog) -> None:
    server = await serve(raising(RuntimeError(f"no app for {TOKEN}\nroot: all is well \x1b[31m")))
    reply = await server.ask(raw("GET", "/a%0Ab/x?token=cf_query", f"Authorization: Bearer {TOKEN}"))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    lines = record.getMessage().splitlines()
    assert lines[0] == f"{reply.json['request_id']} GET /{{name}}/x failed"
    assert all(line.startswith("| ") for line in lines[1:])
    assert "| RuntimeError: no app for [credentials]" in lines
    assert not any(secret in record.getMessage() for secret in (TOKEN, "cf_query", "\x1b"))


async def test_extra_fields_that_are_no_json_do_not_cost_the_caller_the_rest(serve, raw) -> None:
    server = await serve(raising(Problem("agent_failed", "it crashed", stderr_tail="\ud800")))
    assert (await server.ask(raw("GET", "/"))).code == "agent_failed"


async def test_a_request_id_is_ours_random_and_on_every_answer(serve, raw) -> None:
    async def endpoint(request: Request) -> Answer:
        return Answer(request_id(request).encode(), content_type=b"text/plain")

    server = await serve(api(endpoint))
    replies = [await server.ask(raw("GET", "/", "X-Request-Id: req_mine")) for _ in range(20)]
    ids = {reply.headers["x-request-id"] for reply in replies}
    assert len(ids) == 20
    assert all(len(each) == len("req_") + 32 and each.startswith("req_") for each in ids)
    assert [reply.body.decode() for reply in replies] == [reply.headers["x-request-id"] for reply in replies]


@pytest.mark.parametrize("path", ["/nowhere", "/a/x/", "//", "/a//x", "/a/b/x", "/%2e%2e/", "*"])
async def test_an_unknown_path_is_404_and_never_a_redirect(serve, raw, path: str) -> None:
    server = await serve(raising(RuntimeError()))
    reply = await server.ask(raw("GET", path))
    assert (reply.status, reply.code, reply.json["detail"]) == (404, "not_found", "no such path")


async def test_a_wrong_method_is_405_and_names_all_the_right_ones(serve, raw) -> None:
    server = await serve(raising(RuntimeError()))
    for method in ("DELETE", "OPTIONS", "PROPFIND"):
        reply = await server.ask(raw(method, "/"))
        assert (reply.status, reply.code) == (405, "method_not_allowed")
        assert reply.headers["allow"] == "GET, HEAD, POST"
    assert (await server.ask(raw("POST", "/a/x"))).headers["allow"] == "GET, HEAD"


async def test_head_is_get_without_the_body(serve, raw) -> None:
    async def endpoint(request: Request) -> Answer:
        return Answer(b'"twelve byte"')

    server = await serve(api(endpoint))
    connection = await server.connect()
    for _ in range(2):
        reply = await (await connection.send(raw("HEAD", "/"))).reply(to_head=True)
        assert (reply.status, reply.headers["content-length"]) == (200, "13")
    assert (await connection.ask(raw("GET", "/"))).body == b'"twelve byte"'


async def test_a_connection_whose_body_was_not_read_is_closed_and_only_that(serve, raw) -> None:
    async def endpoint(request: Request) -> Answer:
        if "read" in request.scope["query_string"].decode():
            await request.body()
        return Answer(b"{}")

    server = await serve(api(endpoint))
    connection = await server.connect()
    assert "connection" not in (await connection.ask(raw("GET", "/"))).headers
    assert "connection" not in (await connection.ask(raw("POST", "/", length=0))).headers
    assert "connection" not in (await connection.ask(raw("POST", "/?read", body=b"{}"))).headers
    assert (await connection.ask(raw("POST", "/", body=b"{}"))).headers["connection"] == "close"
    assert await connection.rest() == b""


async def test_a_response_that_has_begun_is_broken_off_not_mended(serve, raw, caplog) -> None:
    async def endpoint(request: Request) -> Any:
        async def stream(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            raise Problem("agent_failed", "it crashed")

        return stream

    connection = await (await serve(api(endpoint))).connect()
    await connection.send(raw("GET", "/"))
    answer = await connection.rest()
    assert answer.endswith(b"5\r\nbegun\r\n")
    assert "broke off: agent_failed" in caplog.text


async def test_a_client_that_has_left_is_no_error(serve, raw, caplog) -> None:
    server = await serve(raising(ClientDisconnect()))
    connection = await server.connect()
    await connection.send(raw("GET", "/"))
    await connection.close()
    async with asyncio.timeout(10):
        while server.uvicorn.server_state.connections:
            await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.name.startswith("clawdforge")]


async def test_lifespan_passes_through() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await Front(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
