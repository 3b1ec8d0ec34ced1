"""The twins are one SDK in two forms: one table of scenarios is played with both, and their signatures agree."""

from __future__ import annotations

import inspect
import io
import pickle
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from clawdforge import (
    AgentStartEvent,
    Forge,
    ForgeAgentError,
    ForgeAPIError,
    ForgeAuthError,
    ForgeBusyError,
    ForgeClosedError,
    ForgeConflictError,
    ForgeError,
    ForgeInterruptedError,
    ForgeInvalidError,
    ForgeLimitError,
    ForgeNotFoundError,
    ForgeSchemaError,
    ForgeTransportError,
    ForgeTurnTimeoutError,
    ForgeUnavailableError,
    OtherEvent,
    PermissionRequestEvent,
    TextEvent,
    ToolCallEvent,
    TurnEndEvent,
    TurnStartEvent,
    UnknownEvent,
)
from clawdforge.testing import FakeGateway, ask, event, hang, plan, text, thinking, tool_call, write
from harness.twins import AT_ONCE, PAIRS, Twin

pytestmark = pytest.mark.usefixtures("short_waits")


@dataclass
class Colours:
    colours: list[str]


@dataclass(frozen=True)
class Stage:
    """What a scenario plays on: a gateway, a Forge that calls it, and how to make another."""

    gateway: FakeGateway
    forge: Any
    twin: Twin
    folder: Path

    def sent(self) -> list[str]:
        """The requests so far, as `POST /run`, each session and run called `x`."""
        ids = {prompt.session_id for prompt in self.gateway.prompts}
        lines = [f"{each.method} {each.path}" for each in self.gateway.requests]
        return ["/".join("x" if step in ids else step for step in line.split("/")) for line in lines]


Scenario = Callable[[Stage], Awaitable[None]]
SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(play: Scenario) -> Scenario:
    SCENARIOS[play.__name__] = play
    return play


async def play(name: str, twin: Twin, folder: Path) -> None:
    """Plays a scenario from the table."""
    with FakeGateway() as gateway:
        async with twin(base_url=gateway.url, token=gateway.token) as forge:
            await SCENARIOS[name](Stage(gateway, forge, twin, folder))
        assert gateway.unused == 0


async def every(items: Any) -> list[Any]:
    return [each async for each in items]


# --- the table: prompts --------------------------------------------------------------------------------------


@scenario
async def a_run(on: Stage) -> None:
    on.gateway.answers('{"a": 1}')
    result = await on.forge.run("hi", agent="codex", model="m", system="s", effort="low", timeout_secs=7)
    assert (result.ok, result.result, result.stop_reason) == (True, {"a": 1}, "end_turn")
    [request] = on.gateway.requests
    [prompt] = on.gateway.prompts
    assert request.json() == {
        "prompt": "hi",
        "agent": "codex",
        "model": "m",
        "system": "s",
        "effort": "low",
        "timeout_secs": 7,
    }
    assert request.headers["content-type"] == request.headers["accept"] == "application/json"
    assert len(request.headers["idempotency-key"]) == 32
    assert (await on.forge.get_run(prompt.session_id))["result"] == {"a": 1}
    assert [each["run_id"] for each in await every(on.forge.runs())] == [prompt.session_id]


@scenario
async def a_run_of_a_type(on: Stage) -> None:
    on.gateway.answers({"colours": ["red"]})
    result = await on.forge.run("which?", schema=Colours)
    assert result.result == Colours(["red"])
    assert on.gateway.prompts[0].schema and on.gateway.prompts[0].schema["type"] == "object"
    on.gateway.answers("none")
    with pytest.raises(ForgeSchemaError, match="Colours") as caught:
        await on.forge.run("which?", schema=Colours)
    assert caught.value.answer.result == "none"
    on.gateway.answers({"colours": 7})
    with pytest.raises(ForgeSchemaError, match="Colours"):
        await on.forge.run("which?", schema=Colours)
    on.gateway.answers({"colours": 7}, schema_errors=[])
    with pytest.raises(ForgeSchemaError, match="colours"):
        await on.forge.run("which?", schema=Colours)
    on.gateway.answers(stop_reason="refusal", schema_errors=[])
    with pytest.raises(ForgeSchemaError, match=r"no answer \(refusal\)"):
        await on.forge.run("which?", schema=Colours)
    on.gateway.answers("none")
    assert (await on.forge.run("which?", schema={"type": "object"})).schema_valid is False


@scenario
async def a_run_that_is_watched(on: Stage) -> None:
    on.gateway.answers("Hel", thinking("hm"), "lo")
    told: list[Any] = []
    result = await on.forge.run("hi", on_event=told.append)
    assert result.result == "Hello"
    assert [each.type for each in told][-1] == "turn_end"
    assert [each.content for each in told if isinstance(each, TextEvent)] == ["Hel", "lo"]
    one, other = on.gateway.requests
    assert one.headers["accept"] == "text/event-stream"
    assert one.headers["idempotency-key"] == other.headers["idempotency-key"]
    assert len(on.gateway.prompts) == 1


@scenario
async def a_run_as_a_stream(on: Stage) -> None:
    on.gateway.answers("Hel", "lo")
    stream = on.forge.stream("hi")
    assert (stream.session_id, stream.turn_index, stream.last_seq, on.sent()) == (None, None, 0, [])
    assert "not begun" in repr(stream)
    assert await stream.cancel() is False
    first = await anext(stream)
    assert (first.seq, stream.session_id, stream.turn_index) == (1, on.gateway.prompts[0].session_id, 1)
    assert stream.last_seq == 1
    assert await every(stream.text_deltas()) == ["Hel", "lo"]
    assert (await stream.result()).result == "Hello"
    assert (await stream.result()).result == "Hello"
    assert repr(stream).startswith(f"<{'Async' if on.twin.is_async else ''}TurnStream {stream.session_id} after")


@scenario
async def a_turn(on: Stage) -> None:
    on.gateway.answers("Hel", "lo", tool_call("Read", {"path": "a"}, "x"), usage={"input_tokens": 3}, model="m")
    async with on.forge.session("gemini", {"a": 1}, system="be brief", timeout_secs=9) as session:
        assert (session.agent, session.closed) == ("gemini", False)
        assert session.cwd and session.agent_cwd and session.created_at
        turn = await session.turn("hi", delivery="queue", idle_timeout_secs=5)
        assert (turn.text(), turn.turn_index, turn.session_id) == ("Hello", 1, session.session_id)
        assert on.gateway.requests[1].json() == {
            "prompt": "hi",
            "timeout_secs": 9,
            "delivery": "queue",
            "idle_timeout_secs": 5,
        }
        assert (await session.state())["meta"] == {"a": 1}
        [row] = await every(session.turns())
        assert row["turn_index"] == 1
        assert (await session.get_turn(1))["status"] == "done"
        with pytest.raises(ForgeNotFoundError):
            await session.get_turn(2)
    assert session.closed
    with pytest.raises(ForgeError, match="is closed"):
        await session.turn("hi")
    with pytest.raises(ForgeError, match="is closed"):
        session.stream("hi")
    await session.close()
    assert (await session.state())["closed_at"]
    assert on.sent() == [
        "POST /sessions",
        "POST /sessions/x/turn",
        "GET /sessions/x",
        "GET /sessions/x/turns",
        "GET /sessions/x/turns/1",
        "GET /sessions/x/turns/2",
        "DELETE /sessions/x",
        "GET /sessions/x",
    ]


@scenario
async def a_session_of_a_type(on: Stage) -> None:
    async with on.forge.session(schema=Colours) as session:
        on.gateway.answers({"colours": []})
        assert (await session.turn("which?")).result == Colours([])
        on.gateway.answers({"colours": ["blue"]})
        stream = session.stream("which?")
        assert (await stream.result()).result == Colours(["blue"])
        fork = await session.fork()
        on.gateway.answers({"colours": ["green"]})
        assert (await fork.turn("which?")).result == Colours(["green"])
        on.gateway.answers({"n": 1})
        assert (await session.turn("how many?", schema={"type": "object"})).result == {"n": 1}
    assert [each.path for each in on.gateway.requests if b"schema" in each.body][1:] == [
        f"/sessions/{session.session_id}/turn"
    ]


@scenario
async def a_turn_as_a_stream(on: Stage) -> None:
    on.gateway.answers(
        "Hel", tool_call("Read", {"path": "a"}, "x"), plan("one"), event("news", x=1), event("other", acp={}), "lo"
    )
    session = await on.forge.create_session("claude")
    async with session.stream("hi") as stream:
        told = await every(stream)
    assert stream.turn_index == 1 and stream.session_id == session.session_id
    assert [each.seq for each in told] == list(range(told[0].seq, told[0].seq + len(told)))
    assert isinstance(told[0], TurnStartEvent) and isinstance(told[-1], TurnEndEvent)
    assert {ToolCallEvent, OtherEvent, UnknownEvent} <= {type(each) for each in told}
    assert stream.last_seq == told[-1].seq
    assert (await stream.result()).text() == "Hello"
    assert await stream.cancel() is False
    all_of_it = await every(session.events(follow=False))
    assert all_of_it[-len(told) :] == told
    assert isinstance(all_of_it[0], AgentStartEvent)
    after = await every(session.events(told[0].seq, follow=False))
    assert after == told[1:]
    await session.close()
    closed = await every(session.events(after=told[-1].seq))
    assert [each.type for each in closed] == ["session_closed"]


@scenario
async def a_stream_that_is_left_goes_on_with_the_next_event(on: Stage) -> None:
    on.gateway.answers(*[text(f"{n} ") for n in range(20)])
    session = await on.forge.create_session()
    stream = session.stream("hi")
    told = []
    async for each in stream:
        told.append(each)
        if len(told) % 4 == 0:
            break
    await stream.close()
    await stream.close()
    assert stream.last_seq == told[-1].seq
    told += await every(stream)
    assert [each.seq for each in told] == list(range(told[0].seq, told[0].seq + 22))
    assert (await stream.result()).text() == "".join(f"{n} " for n in range(20))
    assert len(on.gateway.prompts) == 1


@scenario
async def a_session_that_is_followed(on: Stage) -> None:
    session = await on.forge.create_session()
    for n in range(2):
        on.gateway.answers(f"{n}", f"{n}")
        await session.turn("hi")
    async with session.events() as events:
        first = await anext(events)
        assert (first.seq, events.last_seq) == (1, 1)
    await events.close()
    assert f"EventStream {session.session_id} after 1" in repr(events)
    await session.close()
    assert "".join(await every(events.text_deltas())) == "0011"
    assert await every(events) == []


@scenario
async def a_stream_that_is_cut_goes_on(on: Stage) -> None:
    session = await on.forge.create_session()
    for after_events in (0, 3):
        on.gateway.answers("a", "b", "c")
        on.gateway.drops(after_events=after_events)
        assert "".join(await every(session.stream("x").text_deltas())) == "abc"
    assert len(on.gateway.prompts) == 2
    on.gateway.drops(after_events=1, at="GET /sessions/*/events")
    seqs = []
    async for each in session.events():
        seqs.append(each.seq)
        if each.type == "turn_end" and each.turn_index == 2:
            await session.close()
    assert seqs == list(range(1, len(seqs) + 1))


@scenario
async def a_stream_that_stays_cut_ends_as_an_error_and_can_be_read_on(on: Stage) -> None:
    forge = on.forge.with_options(retries=0)
    session = await forge.create_session()
    on.gateway.answers("a", "b", "c")
    on.gateway.drops(after_events=2)
    stream = session.stream("x")
    told: list[Any] = []
    with pytest.raises(ForgeTransportError) as caught:
        async for each in stream:
            told.append(each)
    assert (caught.value.session_id, caught.value.turn_index) == (session.session_id, 1)
    told += await every(stream)
    assert [each.content for each in told if isinstance(each, TextEvent)] == ["a", "b", "c"]
    assert (await stream.result()).text() == "abc"


@scenario
async def turns_that_fail(on: Stage) -> None:
    session = await on.forge.create_session()
    fails = {
        "agent_failed": ForgeAgentError,
        "timeout": ForgeTurnTimeoutError,
        "interrupted": ForgeInterruptedError,
        "budget_exceeded": ForgeLimitError,
    }
    for index, (code, error) in enumerate(fails.items(), start=1):
        on.gateway.fails(code, "so it ends", after=["half"])
        stream = session.stream("hi")
        assert [each.type for each in await every(stream)][-2:] == ["error", "turn_end"]
        with pytest.raises(error, match="so it ends") as caught:
            await stream.result()
        assert (caught.value.code, caught.value.turn_index) == (code, index)
        assert caught.value.session_id == session.session_id
        assert caught.value.events[0]["content"] == "half"
        assert caught.value.stop_reason == code
    on.gateway.fails("timeout", phase="idle")
    with pytest.raises(ForgeTurnTimeoutError) as timeout:
        await session.turn("hi")
    assert timeout.value.phase == "idle"
    on.gateway.fails("agent_failed", stderr_tail="ouch", limit="memory")
    with pytest.raises(ForgeAgentError) as failed:
        await session.turn("hi")
    assert (failed.value.stderr_tail, failed.value.limit) == ("ouch", "memory")
    assert len(on.gateway.prompts) == 6


@scenario
async def turns_that_are_refused(on: Stage) -> None:
    session = await on.forge.with_options(retries=0).create_session()
    for code, error in {
        "rate_limited": ForgeLimitError,
        "overloaded": ForgeUnavailableError,
        "turn_in_progress": ForgeBusyError,
        "session_closed": ForgeClosedError,
        "invalid": ForgeInvalidError,
        "forbidden": ForgeAuthError,
        "idempotency_mismatch": ForgeConflictError,
        "internal": ForgeAPIError,
    }.items():
        on.gateway.refuses(code, times=3, retry_after_s=7)
        with pytest.raises(error) as blocking:
            await session.turn("hi")
        stream = session.stream("hi")
        with pytest.raises(error) as streamed:
            await every(stream)
        with pytest.raises(error):
            await stream.result()
        for caught in (blocking.value, streamed.value):
            assert (type(caught), caught.code, caught.events) == (error, code, [])
            assert caught.request_id and caught.request_id.startswith("req_")
    assert on.gateway.prompts == []


@scenario
async def a_turn_that_is_cancelled(on: Stage) -> None:
    session = await on.forge.create_session()
    assert await session.cancel() is False
    on.gateway.answers("half", hang())
    stream = session.stream("hi", timeout_secs=60)
    kinds = []
    async for each in stream:
        kinds.append(each.type)
        if isinstance(each, TextEvent):
            assert await stream.cancel() is True
    assert kinds[-1] == "turn_end"
    assert (await stream.result()).stop_reason == "cancelled"
    assert await session.cancel(1) is False


# --- permissions, forks, differences, files ------------------------------------------------------------------


@scenario
async def permissions_in_code(on: Stage) -> None:
    asked: list[PermissionRequestEvent] = []

    def decide(request: PermissionRequestEvent) -> str:
        asked.append(request)
        return "reject" if request.title == "rm" else "allow"

    heard: list[str] = []

    def script(prompt: Any) -> Any:
        heard.append((yield ask("ls")))
        heard.append((yield ask("rm")))
        yield "done"

    on.gateway.on_prompt(script)
    session = await on.forge.create_session(permissions="ask")
    assert (await session.turn("hi", on_permission=decide)).text() == "done"
    stream = session.stream("hi", on_permission=decide)
    assert "permission_answer" in [each.type for each in await every(stream)]
    # A run that has somebody to ask asks.
    run = await on.forge.run("hi", on_permission=decide)
    assert run.result == "done"
    assert await every(on.forge.stream("hi", on_permission=decide).text_deltas()) == ["done"]
    assert heard == ["allow", "reject"] * 4
    assert [each.title for each in asked] == ["ls", "rm"] * 4
    assert {option.kind for option in asked[0].options} == {"allow_once", "allow_always", "reject_once"}
    # Under another policy nobody is asked.
    await (await on.forge.create_session(permissions="allow")).turn("hi", on_permission=decide)
    await on.forge.run("hi", on_permission=decide, permissions="allow")
    assert len(asked) == 8
    with pytest.raises(TypeError, match="on_permission returns one of"):
        await on.forge.run("hi", on_permission=lambda _: True)


@scenario
async def permissions_by_hand(on: Stage) -> None:
    session = await on.forge.create_session(permissions="ask")
    on.gateway.answers(ask("ls"), ask("rm"), "done")
    stream = session.stream("hi", on_permission=lambda _: None)
    answers = iter([{"decision": "allow_always"}, {"option_id": "reject_once"}])
    async for each in stream:
        if isinstance(each, PermissionRequestEvent):
            [waiting] = await session.permissions()
            assert (waiting.permission_id, waiting.title) == (each.permission_id, each.title)
            await session.answer(each.permission_id, **next(answers))
            with pytest.raises(ForgeConflictError) as caught:
                await session.answer(each.permission_id, "allow")
            assert caught.value.body["permission_id"] == each.permission_id
    with pytest.raises(ForgeNotFoundError):
        await session.answer("perm_1", "allow")
    with pytest.raises(ValueError, match="option_id"):
        await session.answer("perm_1")
    assert await session.permissions() == []


@scenario
async def permissions_answered_where_they_are_read(on: Stage) -> None:
    heard: list[str] = []

    def script(prompt: Any) -> Any:
        heard.append((yield ask("ls")))
        heard.append((yield ask("rm")))

    on.gateway.on_prompt(script)
    session = await on.forge.create_session(permissions="ask")
    run = on.forge.stream("hi", permissions="ask")
    with pytest.raises(ForgeError, match="nothing of this run has come yet"):
        await run.answer("perm_1", "allow")
    for stream in (session.stream("hi"), run):
        answers = iter([{"decision": "allow"}, {"option_id": "reject_once"}])
        async for each in stream:
            if isinstance(each, PermissionRequestEvent):
                told = await stream.answer(each.permission_id, **next(answers))
                assert told.permission_id == each.permission_id
    assert heard == ["allow", "reject"] * 2
    [first, _] = [each async for each in session.events(follow=False) if isinstance(each, PermissionRequestEvent)]
    with pytest.raises(ForgeConflictError):
        await session.events().answer(first.permission_id, "reject")


@scenario
async def a_permission_that_somebody_else_answers(on: Stage) -> None:
    session = await on.forge.create_session(permissions="ask")
    on.gateway.answers(ask("ls"), "done")
    other = on.twin(base_url=on.gateway.url, token=on.gateway.token)

    def decide(request: PermissionRequestEvent) -> str:
        # Somebody else is quicker.
        on.gateway.refuses("permission_answered", at="POST /sessions/*/permissions/*")
        return "allow"

    try:
        turned = session.stream("hi", on_permission=decide)
        async for each in turned:
            if isinstance(each, PermissionRequestEvent):
                await (await other.attach_session(session.session_id)).answer(each.permission_id, "reject")
        assert (await turned.result()).text() == "done"
    finally:
        await other.close()


@scenario
async def what_can_be_pickled(on: Stage) -> None:
    session = await on.forge.create_session()
    stream = session.stream("hi")
    told = await every(stream)
    answers = [await stream.result(), await on.forge.run("hi"), *told]
    assert pickle.loads(pickle.dumps(answers)) == answers
    for held in (on.forge, session, session.files, stream):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(held._held)
    assert f"SessionFiles of {session.session_id}" in repr(session.files)


@scenario
async def forks_and_differences(on: Stage) -> None:
    session = await on.forge.create_session(meta={"a": 1})
    on.gateway.answers(write("notes.txt", "hello\n"), "done")
    await session.turn("hi")
    diff = await session.diff()
    assert [(each.path, each.change) for each in diff.files] == [("notes.txt", "added")]
    assert await session.diff(1) == diff
    with pytest.raises(ForgeNotFoundError):
        await session.diff(2)
    fork = await session.fork({"b": 2})
    assert fork.session_id != session.session_id
    assert (await fork.state())["meta"] == {"b": 2}
    assert await fork.files.get("notes.txt") == b"hello\n"
    same = await session.fork()
    assert (await same.state())["meta"] == {"a": 1}


@scenario
async def files_of_the_workspace(on: Stage) -> None:
    session = await on.forge.create_session()
    files = session.files
    told: list[Any] = []
    put = await files.put("src/a.txt", b"hello")
    assert (put.path, put.size, put.created) == ("src/a.txt", 5, True)
    mine = on.folder / "mine.bin"
    mine.write_bytes(b"x" * 700_000)
    assert (await files.put("big.bin", mine, lambda *now: told.append(now))).size == 700_000
    assert told[-1] == (700_000, 700_000)
    assert (await files.put("from-object", io.BytesIO(b"hey"))).size == 3
    assert [each.path for each in await every(files.list())] == ["big.bin", "from-object", "src"]
    entries = await every(files.list("", recursive=True))
    assert [each.path for each in entries] == ["big.bin", "from-object", "src", "src/a.txt"]
    assert [each.path for each in await every(files.list("src"))] == ["src/a.txt"]
    assert await files.get(entries[3]) == b"hello"
    told.clear()
    assert await files.get("big.bin", lambda *now: told.append(now)) == b"x" * 700_000
    assert told[-1] == (700_000, 700_000)
    target = on.folder / ("ü" * 127)
    target.write_text("before")
    with pytest.raises(ForgeNotFoundError):
        await files.download("nothing", target)
    assert target.read_text() == "before"
    await files.download("src/a.txt", target, lambda *now: told.append(now))
    assert target.read_text() == "hello"
    assert sorted(each.name for each in on.folder.iterdir()) == ["mine.bin", target.name]
    await files.delete("big.bin")
    with pytest.raises(ForgeInvalidError):
        await files.delete("src")
    await files.delete("src", recursive=True)
    with pytest.raises(ForgeNotFoundError):
        await files.get("src/a.txt")
    assert on.gateway.workspace(session.session_id) == {"from-object": b"hey"}


@scenario
async def a_file_whose_answer_is_cut_is_fetched_anew(on: Stage) -> None:
    session = await on.forge.create_session()
    await session.files.put("a", b"x" * 300_000)
    on.gateway.drops(after_bytes=200_000, at="GET /sessions/*/files/*")
    assert await session.files.get("a") == b"x" * 300_000
    on.gateway.drops(after_bytes=200_000, at="GET /sessions/*/files/*")
    with pytest.raises(ForgeTransportError) as caught:
        again = await on.forge.with_options(retries=0).attach_session(session.session_id)
        await again.files.download("a", on.folder / "a")
    assert caught.value.next_step == ""  # of a turn it would tell where it is on record
    assert list(on.folder.iterdir()) == []


@scenario
async def uploads(on: Stage) -> None:
    told: list[Any] = []
    mine = on.folder / "notes.txt"
    mine.write_text("hello")
    token = await on.forge.upload_file(mine, 60, lambda *now: told.append(now))
    assert (token.size, token.ttl_secs, token.name, told) == (5, 60, "notes.txt", [(5, 5)])
    with mine.open("rb") as file:
        other = await on.forge.upload_file(file)
        assert not file.closed
    big = await on.forge.upload_file(io.BytesIO(b"y" * 3_000_000), None, lambda *now: told.append(now))
    assert told[-1] == (3_000_000, 3_000_000) and len(told) > 5
    await on.forge.run("read them", files=[token, other.file_token])
    assert [each.name for each in on.gateway.prompts[0].files] == ["notes.txt", "notes (2).txt"]
    assert (await on.forge.get_file(token))["size"] == (await on.forge.get_file(other.file_token))["size"] == 5
    assert (await on.forge.delete_file(big))["ok"] is True
    with pytest.raises(ForgeNotFoundError):
        await on.forge.get_file(big)
    assert [each.content for each in on.gateway.uploads] == [b"hello", b"hello"]


# --- all else ------------------------------------------------------------------------------------------------


@scenario
async def lists_and_records(on: Stage) -> None:
    made = [await on.forge.create_session(meta={"n": n}) for n in range(3)]
    await made[0].close()
    rows = await on.forge.list_sessions()
    assert [each["meta"]["n"] for each in rows["sessions"]] == [2, 1, 0]
    assert len((await on.forge.list_sessions(include_closed=False))["sessions"]) == 2
    assert await every(on.forge.sessions()) == rows["sessions"]
    assert [each["meta"]["n"] for each in await every(on.forge.sessions(include_closed=False))] == [2, 1]
    assert (await on.forge.get_session(made[1].session_id))["session_id"] == made[1].session_id
    assert (await on.forge.healthz())["ok"] is True
    assert [each["name"] for each in (await on.forge.agents())["agents"]] == ["claude", "codex", "gemini"]
    usage = await on.forge.usage(since=0, until=2_000_000_000.5, by="agent")
    assert usage["total"]["turns"] == 0
    assert dict(on.gateway.requests[-1].query) == {"since": "0", "until": "2000000000", "by": "agent"}


@scenario
async def tokens(on: Stage) -> None:
    async with on.twin(base_url=on.gateway.url, token=on.gateway.admin_token) as admin:
        made = await admin.mint_token("other", ["127.0.0.0/8"])
        assert (made.name, made.ip_cidrs, made.token[:3]) == ("other", ["127.0.0.0/8"], "cf_")
        with pytest.raises(ForgeConflictError):
            await admin.mint_token("other")
        assert [each["name"] for each in await admin.list_tokens()] == ["app", "other"]
        async with on.twin(base_url=on.gateway.url, token=made.token) as other:
            await other.agents()
            assert (await admin.revoke_token("other"))["ok"] is True
            with pytest.raises(ForgeAuthError) as caught:
                await other.agents()
    assert made.token not in str(caught.value)
    assert all("idempotency-key" not in each.headers for each in on.gateway.requests)


@scenario
async def the_life_of_a_session(on: Stage) -> None:
    opening = on.forge.session()
    assert "not open yet" in repr(opening)
    with pytest.raises(ForgeError, match="not open yet"):
        await opening.turn("hi")
    assert await opening.open() is not None
    assert f"{opening.session_id} claude open" in repr(opening)
    with pytest.raises(ForgeError, match="open already"):
        await opening.open()
    attached = await on.forge.attach_session(opening.session_id)
    async with attached:
        assert attached.cwd == opening.cwd
    assert attached.closed and not opening.closed
    with pytest.raises(ForgeClosedError):
        await opening.turn("hi")
    with pytest.raises(ForgeClosedError):
        await every(opening.stream("hi"))
    with pytest.raises(ForgeError, match="entered already"):
        await attached.__aenter__()
    again = await on.forge.attach_session(opening.session_id)
    with pytest.raises(ForgeClosedError):
        await again.turn("hi")
    await opening.close()
    assert "closed" in repr(opening)
    with pytest.raises(ForgeError, match="is closed"):
        await opening.__aenter__()
    never = on.forge.session()
    await never.close()
    with pytest.raises(ForgeError, match="is closed"):
        await never.open()
    with pytest.raises(ForgeNotFoundError):
        await on.forge.attach_session("sess_1")


@scenario
async def a_run_is_looked_at_as_a_session_is(on: Stage) -> None:
    on.gateway.answers(write("notes.txt", "hello"), "done")
    run_id = (await on.forge.run("hi")).run_id
    run = await on.forge.attach_session(run_id)
    assert (run.session_id, run.agent, (await run.state())["result"]) == (run_id, "claude", "done")
    happened = await every(run.events())
    assert [type(each) for each in happened if isinstance(each, TurnStartEvent | TurnEndEvent)] == [
        TurnStartEvent,
        TurnEndEvent,
    ]
    assert await every(run.events(after=happened[-1].seq)) == []
    assert await run.files.get("notes.txt") == b"hello"
    assert [each["turn_index"] for each in await every(run.turns())] == [1]
    assert await run.permissions() == [] and not await run.cancel()
    with pytest.raises(ForgeNotFoundError):
        await run.turn("hi")
    with pytest.raises(ForgeNotFoundError, match="run not found"):
        await on.forge.attach_session("run_1")


@scenario
async def a_failure_to_close_does_not_hide_another(on: Stage) -> None:
    on.gateway.refuses("internal", at="DELETE /sessions/*", times=2)
    with pytest.raises(KeyError, match="mine"):
        async with on.forge.session() as session:
            raise KeyError("mine")
    assert not session.closed
    with pytest.raises(ForgeAPIError, match="500"):
        await session.close()
    await session.close()
    assert session.closed


@scenario
async def a_session_that_is_gone_is_closed(on: Stage) -> None:
    on.gateway.refuses("not_found", at="DELETE /sessions/*")
    async with on.forge.session() as session:
        """Meanwhile the gateway has forgotten it."""
    assert session.closed


@scenario
async def other_options_by_the_same_connections(on: Stage) -> None:
    other = on.forge.with_options(timeout_secs=0.5, retries=0)
    assert (other.base_url, other.default_timeout_secs) == (on.gateway.url, 1)
    assert on.forge.with_options(timeout_secs=3).default_timeout_secs == 3
    assert on.forge.default_timeout_secs == on.forge.with_options(retries=5).default_timeout_secs == 120
    await other.run("hi")
    assert on.gateway.requests[0].json()["timeout_secs"] == 1
    for wrong in ({"timeout_secs": 0}, {"timeout_secs": 86_401}, {"retries": -1}, {"retries": True}):
        with pytest.raises(ValueError, match=r"timeout_secs|retries"):
            on.forge.with_options(**wrong)
    with pytest.raises(TypeError, match="seconds"):
        on.forge.with_options(timeout_secs="9")
    on.gateway.drops()
    with pytest.raises(ForgeTransportError):
        await other.run("hi")
    on.gateway.drops(times=2)
    assert (await on.forge.run("hi")).ok
    await other.close()
    with pytest.raises(ForgeError, match="this Forge is closed"):
        await on.forge.healthz()
    with pytest.raises(ForgeError, match="this Forge is closed"):
        await every(on.forge.stream("hi"))
    await on.forge.close()
    assert on.gateway.url in repr(on.forge)


@scenario
async def a_key_of_ones_own(on: Stage) -> None:
    session = await on.forge.create_session()
    for _ in range(2):
        assert (await session.turn("hi", idempotency_key="mine")).turn_index == 1
        assert (await on.forge.run("hi", idempotency_key="my-run")).result == "turn 1: hi"
    with pytest.raises(ForgeConflictError) as caught:
        await session.turn("something else", idempotency_key="mine")
    assert caught.value.code == "idempotency_mismatch"
    with pytest.raises(ValueError, match="idempotency_key is empty"):
        await session.turn("hi", idempotency_key="")


@scenario
async def what_cannot_be_sent(on: Stage) -> None:
    session = await on.forge.create_session()
    count = len(on.gateway.requests)
    for wrong in ("", " ", None):
        for send in (on.forge.run, session.turn):
            with pytest.raises(ValueError, match="prompt"):
                await send(wrong)
        with pytest.raises(ValueError, match="prompt"):
            on.forge.stream(wrong)
    for wrong in (0, -1, float("inf"), float("nan"), 86_401):
        with pytest.raises(ValueError, match="timeout_secs"):
            await on.forge.run("hi", timeout_secs=wrong)
    for options in ({"colour": 1}, {"files": "ff_1"}, {"timeout_secs": "9"}, {"schema": 7}):
        with pytest.raises(TypeError):
            await session.turn("hi", **options)
    for path in ("", "..", "a/../b", "/a", "a//b", "."):
        with pytest.raises(ValueError, match=r"a step of|surrogate"):
            await session.files.get(path)
    with pytest.raises(ValueError, match="surrogate"):
        await on.forge.run("\ud800")
    with pytest.raises(ValueError, match="surrogate"):
        await session.files.get("\ud800")
    with pytest.raises(TypeError, match="ip_cidrs"):
        await on.forge.mint_token("a", "10.0.0.0/8")
    with pytest.raises(TypeError, match="binary"):
        await on.forge.upload_file(io.StringIO("text"))
    with pytest.raises(FileNotFoundError):
        await on.forge.upload_file(on.folder / "nothing")
    assert len(on.gateway.requests) == count


# --- how the table is played ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_do_the_same(twin: Twin, name: str, tmp_path: Path) -> None:
    await play(name, twin, tmp_path)


async def test_the_table_has_every_public_name(tmp_path: Path) -> None:
    """Told by what was asked of a twin: each method was called, each property read."""
    twin = Twin(Forge)
    for name in SCENARIOS:
        (folder := tmp_path / name).mkdir()
        await play(name, twin, folder)
    public = {f"{cls.__name__}.{name}" for cls, _ in PAIRS for name in public_names(cls)}
    assert public - twin.used == set()


# --- signatures ----------------------------------------------------------------------------------------------


def public_names(cls: type) -> list[str]:
    return [name for name in dir(cls) if not name.startswith("_")]


PROTOCOLS: Final = {
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
    "__next__": "__anext__",
}
DIFFER: Final = {
    ("Forge.__init__", "session"): ("requests.Session | None", "httpx2.AsyncClient | None"),
    ("EventStream.text_deltas", "return"): ("Iterator[str]", "AsyncGenerator[str, None]"),
    ("TurnStream.text_deltas", "return"): ("Iterator[str]", "AsyncGenerator[str, None]"),
    ("EventStream.__init__", "wire"): ("Wire", "AsyncWire"),
    ("TurnStream.__init__", "wire"): ("Wire", "AsyncWire"),
    ("Session.__init__", "wire"): ("Wire", "AsyncWire"),
    ("SessionFiles.__init__", "wire"): ("Wire", "AsyncWire"),
}
"""The annotations that are not the same but for `Async`: what an app gives or gets is another library's."""


@pytest.mark.parametrize(("sync", "twin_cls"), PAIRS, ids=lambda cls: cls.__name__)
def test_the_twins_have_the_same_signatures(sync: type, twin_cls: type) -> None:
    assert public_names(sync) == public_names(twin_cls)
    protocols = [name for name in PROTOCOLS if hasattr(sync, name)]
    for name in [*public_names(sync), "__init__", *protocols]:
        here, there = (
            inspect.getattr_static(sync, name),
            inspect.getattr_static(twin_cls, PROTOCOLS.get(name, name)),
        )
        assert isinstance(here, property) is isinstance(there, property), name
        if isinstance(here, property):
            here, there = here.fget, there.fget
        elif not name.startswith("__"):
            awaited = inspect.iscoroutinefunction(there)
            assert awaited is (name not in AT_ONCE), name
        place = f"{sync.__name__}.{name}"
        assert _signature(place, here, 0) == _signature(place, there, 1)


@pytest.mark.parametrize(("sync", "twin_cls"), PAIRS, ids=lambda cls: cls.__name__)
def test_the_overloads_agree_too(sync: type, twin_cls: type) -> None:
    for name in ("run", "turn", "stream"):
        here, there = (getattr(cls, name, None) for cls in (sync, twin_cls))
        if here is not None and there is not None:
            ours, theirs = typing.get_overloads(here), typing.get_overloads(there)
            assert len(ours) == len(theirs) == 2
            place = f"{sync.__name__}.{name}"
            assert [_signature(place, each, 0) for each in ours] == [_signature(place, each, 1) for each in theirs]


@pytest.mark.parametrize(("sync", "twin_cls"), PAIRS, ids=lambda cls: cls.__name__)
def test_the_asynchronous_twin_explains_itself_by_the_other(sync: type, twin_cls: type) -> None:
    for name in {*public_names(sync)} & vars(twin_cls).keys():
        told = inspect.getattr_static(twin_cls, name).__doc__
        assert told.startswith(f"As `{sync.__name__}.{name}`."), name


def _signature(place: str, function: Any, twin: int) -> list[tuple[str, Any, Any, str]]:
    """Names, kinds, defaults and annotations; where the twins differ by their nature, the same word for both."""
    signature = inspect.signature(function)
    parts = [(each.name, each.kind, each.default, str(each.annotation)) for each in signature.parameters.values()]
    parts.append(("return", None, None, str(signature.return_annotation)))
    return [(name, kind, default, _neutral(place, name, told, twin)) for name, kind, default, told in parts]


def _neutral(place: str, name: str, annotation: str, twin: int) -> str:
    if (place, name) in DIFFER:
        assert annotation == DIFFER[place, name][twin]
        return "differs"
    return annotation.replace("Async", "") if twin else annotation
