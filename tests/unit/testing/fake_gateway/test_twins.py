"""The SDK's twins against a fake gateway: what an app's tests do with it, each once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clawdforge import AsyncForge, Forge, ForgeAgentError, ForgeLimitError, ForgeSchemaError, ForgeTransportError
from clawdforge.testing import FakeGateway, Prompt, ask, hang, plan, remove, text, thinking, tool_call, write


@dataclass
class Colours:
    colours: list[str]


@pytest.fixture
def forge(gateway: FakeGateway) -> Any:
    with Forge(base_url=gateway.url, token=gateway.token) as made:
        yield made


def test_runs_turns_and_streams(gateway: FakeGateway, forge: Forge) -> None:
    gateway.answers({"colours": ["red"]})
    assert forge.run("which?", schema=Colours).result == Colours(["red"])
    with forge.session(agent="codex", system="be brief") as session:
        gateway.answers("Hel", tool_call("Read", {"path": "a"}), "lo")
        stream = session.stream("hi")
        assert list(stream.text_deltas()) == ["Hel", "lo"]
        assert stream.result().text() == "Hello"
        assert session.turn("bye").text() == "turn 2: bye"
    assert [each.agent for each in gateway.prompts] == ["claude", "codex", "codex"]
    assert gateway.prompts[1].options == {"system": "be brief"}
    assert gateway.prompts[0].schema and "colours" in gateway.prompts[0].schema["properties"]


def test_every_event_is_a_typed_one(gateway: FakeGateway, forge: Forge) -> None:
    told = (thinking("hm"), plan("look"), tool_call("Read"), write("a", "b"), remove("a"), ask("rm"), "done")
    with forge.session(permissions="allow") as session:
        gateway.answers(*told)
        list(session.stream("x"))
        gateway.fails("agent_failed", limit="memory")
        list(session.stream("x"))
        gateway.answers("x", repair=1)
        list(session.stream("x", schema={"type": "integer"}))
    seen = {type(each).__name__ for each in session.events()}
    assert seen == {
        *(
            "AgentStartEvent",
            "TurnStartEvent",
            "ThinkingEvent",
            "PlanEvent",
            "ToolCallEvent",
            "ToolCallUpdateEvent",
        ),
        *("PermissionRequestEvent", "PermissionAnswerEvent", "TextEvent", "ErrorEvent", "SchemaRepairEvent"),
        *("TurnEndEvent", "SessionClosedEvent"),
    }


def test_an_answer_that_does_not_fit(gateway: FakeGateway, forge: Forge) -> None:
    gateway.answers("no colours")
    with pytest.raises(ForgeSchemaError):
        forge.run("which?", schema=Colours)


def test_a_stream_that_is_cut_goes_on(gateway: FakeGateway, forge: Forge) -> None:
    with forge.session() as session:
        for after_events in (0, 2, 4):
            gateway.answers("a", "b", "c")
            gateway.drops(after_events=after_events)
            assert "".join(session.stream("x").text_deltas()) == "abc"
        assert len(gateway.prompts) == 3


def test_an_answer_that_is_cut_is_asked_for_again(gateway: FakeGateway, forge: Forge) -> None:
    forge.healthz()  # shows that keys count
    for after_bytes in (0, 40, 400):  # before its head, in it, in its body
        gateway.drops(after_bytes=after_bytes)
        assert forge.run("x").result == "turn 1: x"
    assert len(gateway.prompts) == 3
    keys = [each.headers["idempotency-key"] for each in gateway.requests if each.path == "/run"]
    assert keys[::2] == keys[1::2] and len(set(keys)) == 3


def test_an_old_gateway_is_never_asked_twice() -> None:
    with FakeGateway(honours_keys=False) as gateway, Forge(base_url=gateway.url, token=gateway.token) as forge:
        forge.healthz()
        gateway.drops()
        with pytest.raises(ForgeTransportError):
            forge.run("x")
        assert len(gateway.prompts) == 1


def test_refusals_and_failures(gateway: FakeGateway, forge: Forge) -> None:
    gateway.refuses("rate_limited", retry_after_s=0)
    assert forge.run("x").ok
    gateway.refuses("budget_exceeded")
    with pytest.raises(ForgeLimitError):
        forge.run("x")
    gateway.fails("agent_failed", "it crashed", after=[text("partial")])
    with pytest.raises(ForgeAgentError, match="it crashed") as failed:
        forge.run("x")
    assert [each["content"] for each in failed.value.events] == ["partial"]


def test_permissions_files_and_cancel(gateway: FakeGateway, forge: Forge, tmp_path: Path) -> None:
    @gateway.on_prompt
    def tidies(prompt: Prompt) -> Any:
        for file in prompt.files:
            yield write(f"seen/{file.name}", file.content)
        if (yield ask("rm notes.txt", kind="delete")) == "allow":
            yield "removed"

    (tmp_path / "notes.txt").write_bytes(b"\x00\xff")
    upload = forge.upload_file(tmp_path / "notes.txt")
    with forge.session(permissions="ask") as session:
        asked: list[str] = []

        def decide(request: Any) -> str:
            asked.append(request.title)
            return "allow"

        assert session.turn("tidy", files=[upload], on_permission=decide).text() == "removed"
        assert asked == ["rm notes.txt"]
        assert session.files.get("seen/notes.txt") == b"\x00\xff"
        assert [each.path for each in session.diff().files] == ["seen/notes.txt"]
        hanging = hang()
        gateway.answers("so far", hanging)
        stream = session.stream("for ever")
        assert next(stream.text_deltas()) == "so far"
        hanging.reached()
        assert session.cancel() is True
        assert stream.result().stop_reason == "cancelled"


async def test_the_asynchronous_twin(gateway: FakeGateway) -> None:
    async with AsyncForge(base_url=gateway.url, token=gateway.token) as forge:
        gateway.answers({"colours": ["red"]})
        assert (await forge.run("which?", schema=Colours)).result == Colours(["red"])
        async with forge.session() as session:
            gateway.drops(after_events=2)
            gateway.answers("a", "b")
            stream = session.stream("x")
            assert [each async for each in stream.text_deltas()] == ["a", "b"]
            assert (await stream.result()).text() == "ab"
            assert (await session.turn("hi")).text() == "turn 2: hi"
        gateway.on_prompt(lambda prompt: prompt.text)
        runs = await asyncio.gather(*(forge.run(str(number)) for number in range(20)))
        assert [each.result for each in runs] == list(range(20))
