"""What a server may say that is no gateway, or a broken one: both twins tell it as an error of the SDK's own."""

from __future__ import annotations

from typing import Any

import pytest

from clawdforge import (
    ForgeAPIError,
    ForgeClosedError,
    ForgeConflictError,
    ForgeError,
    ForgeInvalidError,
    ForgeLimitError,
    ForgeNotFoundError,
    ForgeProtocolError,
    ForgeTimeoutError,
    ForgeTransportError,
    ForgeUnavailableError,
    PermissionRequestEvent,
    TextEvent,
    UnknownEvent,
)
from clawdforge.client import _call
from harness.raw_server import RawServer, answer, frame, frames, stream
from harness.twins import Twin

pytestmark = pytest.mark.usefixtures("short_waits", "no_collection")
TOKEN = "cf_unit-test-token-0123456789"
SESSION = {"ok": True, "session_id": "sess_1", "agent": "claude", "created_at": 5, "cwd": "/w", "agent_cwd": "/x"}
START = frame(1, "turn_start", prompt="hi", files=[])
END = frame(9, "turn_end", stop_reason="end_turn", ok=True, duration_ms=1)
TURN = {
    "ok": True,
    "session_id": "sess_1",
    "turn_index": 1,
    "events": [{"type": "text", "content": "hi"}],
    "stop_reason": "end_turn",
    "duration_ms": 1,
}


async def every(items: Any) -> list[Any]:
    return [each async for each in items]


# --- answers that are none of the contract -------------------------------------------------------------------

NO_OBJECTS = {
    "a page": b"<html><h1>Welcome</h1></html>",
    "nothing": b"",
    "half an object": b'{"ok": true, "result": "ha',
    "a list": b"[]",
    "a text": b'"ok"',
    "null": b"null",
    "no number": b'{"ok": NaN}',
    "infinity": b'{"ok": Infinity}',
    "a number beyond all bounds": b'{"ok": ' + b"9" * 5000 + b"}",
    "as deep as one likes": b'{"ok": ' + b"[" * 100_000,
    "no UTF-8": b'{"ok": "\xff\xfe"}',
    "two objects": b"{}{}",
}


@pytest.mark.parametrize("said", NO_OBJECTS)
async def test_a_success_that_is_no_object(twin: Twin, said: str) -> None:
    with RawServer(answer(NO_OBJECTS[said])) as server:
        async with twin(base_url=server.url, token=TOKEN) as forge:
            for call in (forge.healthz, forge.list_tokens, lambda: forge.run("hi"), forge.create_session):
                with pytest.raises(ForgeProtocolError, match="HTTP 200") as caught:
                    await call()
                assert len(str(caught.value)) < 600
                assert caught.value.__cause__ is None


WRONG: dict[str, dict[str, Any]] = {
    "run": {"ok": "yes"},
    "create_session": {**SESSION, "session_id": 7},
    "upload": {"ok": True, "file_token": None},
    "mint_token": {"name": "a", "token": ["cf_"]},
    "list_tokens": {"tokens": {"a": 1}},
    "turn": {**TURN, "turn_index": "one"},
    "diff": {"files": [{"path": 7}]},
    "diff without files": {"ok": True},
    "permissions": {"permissions": [{"permission_id": 7, "options": []}]},
    "permissions without options": {"permissions": [{"permission_id": "perm_1"}]},
    "answer": {"ok": "no"},
    "fork": {"session_id": None},
    "put": {"ok": 1, "size": "big"},
    "sessions": {"sessions": [1, 2]},
    "runs": {"runs": None},
    "list": {"files": [{"type": "file"}]},
    "events": {"events": [{"type": "text"}]},
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_field_of_a_wrong_type_where_it_matters(twin: Twin, name: str) -> None:
    with RawServer(answer(SESSION), answer(WRONG[name])) as server:
        async with twin(base_url=server.url) as forge:
            session = await forge.attach_session("sess_1")
            with pytest.raises(ForgeProtocolError):
                match name.split(maxsplit=1)[0]:
                    case "run":
                        await forge.run("hi")
                    case "create_session":
                        await forge.create_session()
                    case "upload":
                        await forge.upload_file(__file__)
                    case "mint_token":
                        await forge.mint_token("a")
                    case "list_tokens":
                        await forge.list_tokens()
                    case "turn":
                        await session.turn("hi")
                    case "diff":
                        await session.diff()
                    case "permissions":
                        await session.permissions()
                    case "answer":
                        await session.answer("perm_1", "allow")
                    case "fork":
                        await session.fork()
                    case "put":
                        await session.files.put("a", b"")
                    case "sessions":
                        await every(forge.sessions())
                    case "runs":
                        await every(forge.runs())
                    case "list":
                        await every(session.files.list())
                    case "events":
                        await every(session.events(follow=False))


async def test_fields_that_are_missing_where_it_does_not_matter(twin: Twin) -> None:
    with RawServer(answer({"session_id": "sess_1"}), answer({"turn_index": 1}), answer({})) as server:
        async with twin(base_url=server.url) as forge:
            session = await forge.create_session()
            assert (session.agent, session.created_at) == ("", 0)
            turn = await session.turn("hi")
            assert (turn.ok, turn.events, turn.text()) == (False, [], "")
            assert (await forge.run("hi")).result is None
            assert await session.cancel() is False


@pytest.mark.parametrize("session_id", ["", " ", ".", "..", "\ud800"])
async def test_a_session_whose_name_cannot_be_called(twin: Twin, session_id: str) -> None:
    body = answer({**SESSION, "session_id": session_id})
    with RawServer(body, answer(SESSION), body) as server:
        async with twin(base_url=server.url) as forge:
            with pytest.raises(ForgeProtocolError, match="session_id"):
                await forge.create_session()
            session = await forge.attach_session("sess_1")
            with pytest.raises(ForgeProtocolError, match="session_id"):
                await session.fork()


async def test_an_id_never_leaves_its_place(twin: Twin) -> None:
    with RawServer(answer({**SESSION, "session_id": "../admin/tokens?a#b"}), answer({"ok": True})) as server:
        async with twin(base_url=server.url) as forge:
            await (await forge.create_session()).state()
        assert server.requests[1].startswith("GET /sessions/..%2Fadmin%2Ftokens%3Fa%23b HTTP/1.1")


async def test_clocks_that_are_far_ahead(twin: Twin) -> None:
    """What a gateway says of the time is told, and nothing is reckoned with it."""
    late = {**SESSION, "created_at": 10**15}
    ask = frame(2, "permission_request", permission_id="perm_1", title="ls", options=[], expires_at=1)
    told = (answer(late), stream(START, ask, frame(3, content="x", ts=10**18), END), answer({"ok": True}))
    with RawServer(*told, answer(TURN)) as server:
        async with twin(base_url=server.url) as forge:
            session = await forge.create_session()
            assert session.created_at == 10**15
            stream_ = session.stream("hi", on_permission=lambda _: "allow")
            assert [each.ts for each in await every(stream_)] == [0, 0, 10**18, 0]
            assert (await stream_.result()).text() == "hi"


# --- errors, redirects, proxies ------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[bytes, type[ForgeAPIError], str]] = {
    "a proxy's page": (answer(b"<html>502 Bad Gateway</html>", 502), ForgeAPIError, "HTTP 502: <html>502"),
    "another's JSON": (answer({"error": "no such thing"}, 404), ForgeNotFoundError, "HTTP 404: no such thing"),
    "another's list": (answer(["no"], 409), ForgeConflictError, "HTTP 409"),
    "a detail that is a list": (
        answer({"detail": [{"loc": ["body", "a"], "msg": "wrong"}]}, 410),
        ForgeClosedError,
        "body.a: wrong",
    ),
    "a code that is none": (answer({"detail": None, "code": 7, "request_id": []}, 500), ForgeAPIError, "HTTP 500"),
    "nothing at all": (answer(b"", 503), ForgeUnavailableError, "HTTP 503: an empty body"),
    "a wait that is no number": (answer(b"", 429, {"Retry-After": "-1e9"}), ForgeLimitError, "HTTP 429"),
    "a wait of 30 years": (answer(b"", 429, {"Retry-After": "999999999"}), ForgeLimitError, "Wait 999999999 s"),
    "a redirect": (
        answer(b"", 307, {"Location": "http://elsewhere.test/"}),
        ForgeAPIError,
        "elsewhere.test/, which",
    ),
    "a redirect to nowhere": (answer(b"", 301), ForgeAPIError, "redirected to nowhere"),
    "not modified": (answer(b"", 304), ForgeAPIError, "HTTP 304"),
    "a status that nobody knows": (answer(b"eh", 799), ForgeAPIError, "HTTP 799: eh"),
    "a control sequence": (answer(b"\x1b[2J\x00\r\nboo", 400), ForgeInvalidError, "HTTP 400: \\[2J boo"),
}


@pytest.mark.parametrize("said", REFUSALS)
async def test_an_error_that_is_none_of_a_gateways(twin: Twin, said: str) -> None:
    raw, cls, match = REFUSALS[said]
    with RawServer(answer(SESSION), raw) as server:
        async with twin(base_url=server.url, token=TOKEN) as forge:
            session = await forge.attach_session("sess_1")
            for ask in (
                lambda: forge.run("hi"),
                session.state,
                lambda: every(session.stream("hi")),
                lambda: every(session.events()),
                lambda: session.files.get("a"),
            ):
                before = len(server.requests)
                with pytest.raises(cls, match=match) as caught:
                    await ask()
                assert type(caught.value) is cls
                assert len(server.requests) == before + 1
                assert caught.value.events == []


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("said", [f"you sent {TOKEN}", f'["{TOKEN}"]', f'{{"detail": "{TOKEN}", "x": "{TOKEN}"}}'])
async def test_a_token_that_is_sent_back_is_in_no_error(twin: Twin, status: int, said: str) -> None:
    with RawServer(answer(said.encode(), status)) as server:
        async with twin(base_url=server.url, token=TOKEN) as forge:
            if status == 200 and said.startswith("{"):
                assert TOKEN in str(await forge.agents())  # what was asked for comes as it is
                return
            with pytest.raises(ForgeError) as caught:
                await forge.agents()
            assert TOKEN not in f"{caught.value} {caught.value!r} {getattr(caught.value, 'body', '')}"


# --- lists ---------------------------------------------------------------------------------------------------


async def test_a_list_that_goes_in_circles(twin: Twin) -> None:
    pages = [answer({"runs": [{"run_id": f"{n}"}], "next_cursor": cursor}) for n, cursor in enumerate("aba")]
    with RawServer(*pages) as server:
        async with twin(base_url=server.url) as forge:
            came = []
            with pytest.raises(ForgeProtocolError, match="circles"):
                async for each in forge.runs():
                    came.append(each["run_id"])
            assert came == ["0", "1", "2"]


async def test_a_cursor_that_is_none(twin: Twin) -> None:
    for cursor in (7, "", None, [], {}):
        with RawServer(answer({"runs": [], "next_cursor": cursor})) as server:
            async with twin(base_url=server.url) as forge:
                assert await every(forge.runs()) == []
                assert len(server.requests) == 1


# --- streams -------------------------------------------------------------------------------------------------

BAD_FRAMES = {
    "no JSON": b"data: hello\n\n",
    "half an object": b'data: {"seq": 2,\n\n',
    "a list": b"data: [1]\n\n",
    "no seq": frames([{"type": "text", "content": "x"}]),
    "a seq that is a text": frame("2"),
    "a seq that is true": frame(True),
    "no type": frames([{"seq": 2}]),
    "a number beyond all bounds": b'data: {"seq": ' + b"9" * 5000 + b"}\n\n",
    "as deep as one likes": b"data: " + b"[" * 100_000 + b"\n\n",
}


@pytest.mark.parametrize("said", BAD_FRAMES)
async def test_a_frame_that_is_no_event(twin: Twin, said: str) -> None:
    with RawServer(answer(SESSION), stream(START, BAD_FRAMES[said], END)) as server:
        async with twin(base_url=server.url) as forge:
            session = await forge.create_session()
            for source in (session.stream("hi"), session.events()):
                with pytest.raises(ForgeProtocolError, match="an event came"):
                    await every(source)


async def test_frames_that_are_odd_and_yet_events(twin: Twin) -> None:
    odd = [
        b"\xef\xbb\xbf: a comment\r\n\r\n",
        b"retry: 1\nid: 1\x002\nevent: whatever\nfoo\n\xff\xfe: x\n",
        frame(1, "turn_start", prompt="hi"),
        b"data:\n\n",
        b"\n\n\n",
        frame(2, content=7),
        frame(2, content="twice"),
        frame(1, content="again"),
        frame(-5, content="before all"),
        frame(4, content="other", turn_index=2),
        frame(5, content="mine"),
        frame(10**30, "turn_end", stop_reason="end_turn", ok=True, duration_ms=1),
        frame(10**31, content="after the end"),
    ]
    odd.remove(b"data:\n\n")  # an empty event is none of JSON, and told as that
    with RawServer(answer(SESSION), stream(*odd)) as server:
        async with twin(base_url=server.url) as forge:
            told = await every((await forge.create_session()).stream("hi"))
    assert [each.seq for each in told] == [1, 2, 5, 10**30]
    assert [type(each) for each in told[1:3]] == [UnknownEvent, TextEvent]


async def test_an_event_of_16_megabytes_and_one_that_is_too_large(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = "x" * 16_000_000
    with RawServer(answer(SESSION), stream(START, frame(2, content=large), END)) as server:
        async with twin(base_url=server.url) as forge:
            session = await forge.create_session()
            told = await every(session.stream("hi"))
            assert [each.content for each in told if isinstance(each, TextEvent)] == [large]
            monkeypatch.setattr("clawdforge.wire.sse.Decoder.__init__.__defaults__", (1_000_000,))
            with pytest.raises(ForgeProtocolError, match="more than 1000000 bytes"):
                await every(session.stream("hi"))


@pytest.mark.parametrize(
    "location",
    ["", "/", "runs", "/runs/", "/runs/..", "/runs/%2E%2E", "/runs/%20", "/sessions/a", "http://[", "/runs/%ff"],
)
async def test_a_run_that_does_not_say_where_it_is(twin: Twin, location: str) -> None:
    cut = stream(START, headers={"Location": location})
    with RawServer(answer({"ok": True}), cut, stream(START, END, headers={"Location": location})) as server:
        async with twin(base_url=server.url) as forge:
            await forge.healthz()
            run = forge.stream("hi")
            told = await every(run)
            assert [each.seq for each in told] == [1, 9]


async def test_a_stream_that_is_no_stream(twin: Twin) -> None:
    for body in (b"<html>", b"[]", b"", b'{"events": 7}'):
        with RawServer(answer(SESSION), answer(body)) as server:
            async with twin(base_url=server.url) as forge:
                session = await forge.create_session()
                with pytest.raises(ForgeProtocolError):
                    await every(session.events())


async def test_a_stream_that_ends_at_once_again_and_again(twin: Twin) -> None:
    with RawServer(answer(SESSION), stream()) as server:
        async with twin(base_url=server.url) as forge:
            session = await forge.create_session()
            with pytest.raises(ForgeTransportError, match="closed before its end"):
                await every(session.stream("hi"))
            assert len(server.requests) == 1 + 3


async def test_a_gateway_that_does_not_stream_is_asked_once(twin: Twin) -> None:
    """An old one does the whole turn, and answers with it."""
    with RawServer(answer(SESSION, headers={"Idempotency-Supported": "no"}), answer(TURN)) as server:
        async with twin(base_url=server.url) as forge:
            session = await forge.create_session()
            told: list[Any] = []
            assert (await session.turn("hi", on_event=told.append)).text() == "hi"
            assert [each.content for each in told] == ["hi"]
            stream_ = session.stream("hi")
            assert await every(stream_.text_deltas()) == ["hi"]
            assert (await stream_.result()).text() == "hi"
            assert len(server.requests) == 3


@pytest.mark.parametrize("permission_id", ["", "..", " "])
async def test_a_permission_that_cannot_be_answered(twin: Twin, permission_id: str) -> None:
    ask = frame(2, "permission_request", permission_id=permission_id, title="ls", options=[], expires_at=1)
    asked: list[PermissionRequestEvent] = []
    with RawServer(answer(SESSION), stream(START, ask, END), answer(TURN)) as server:
        async with twin(base_url=server.url) as forge:
            await (await forge.create_session()).turn("hi", on_permission=asked.append)
    assert asked == []


async def test_an_answer_that_stalls_in_its_midst(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of it has come: the caller's time is over."""
    monkeypatch.setattr(_call, "READ_S", 0.03)
    with RawServer(answer({"ok": True})[:-5], stall=True) as server:
        async with twin(base_url=server.url, http_timeout_margin=0) as forge:
            with pytest.raises(ForgeTimeoutError, match=r"no answer within 0\.03 s"):
                await forge.healthz()
