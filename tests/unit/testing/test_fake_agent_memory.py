"""The scripted agent's conversations outlive it, and it is as wrong about them as real agents were seen to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Answer, Child

    Launch = Callable[..., Child]

CAPS = json.dumps({"loadSession": True, "sessionCapabilities": {"resume": {}, "fork": {}}})
ALL = ("load", "resume", "fork")


def recall(agent: Child, how: str, session_id: str) -> Answer:
    agent.call("initialize", {"protocolVersion": 1})
    return agent.call(f"session/{how}", {"sessionId": session_id, "cwd": str(agent.cwd), "mcpServers": []})


def spoken(launch: Launch, **env: str) -> Child:
    """An agent with a conversation of one turn, that was killed in the next."""
    agent = launch(FAKE_AGENT_CAPS=CAPS, **env).open()
    agent.prompt("one [[THINK hm]][[TOOL look {}]][[SAY un]]")
    agent.start_prompt("two [[SAY deux]][[KILL9]]")
    agent.ended()
    return agent


@pytest.mark.parametrize("how", ALL)
def test_a_conversation_goes_on_in_another_process(launch: Launch, how: str) -> None:
    first = spoken(launch)
    agent = launch(FAKE_AGENT_CAPS=CAPS)
    answer = recall(agent, how, first.session_id)
    kinds = [update["sessionUpdate"] for update in answer.updates]
    assert bool(kinds) == (how == "load")
    if how == "load":
        assert kinds[:3] == ["user_message_chunk", "agent_thought_chunk", "tool_call"]
        assert answer.text == "undeux"
    agent.session_id = answer.result.get("sessionId", first.session_id)
    assert (agent.session_id != first.session_id) == (how == "fork")
    prompts = ["one [[THINK hm]][[TOOL look {}]][[SAY un]]", "two [[SAY deux]][[KILL9]]"]
    assert json.loads(agent.prompt("[[RECALL]]").text) == prompts
    assert agent.prompt("four").text == "turn 4: four"
    assert json.loads(agent.prompt("[[CONFIG]]").text)["mode"] == "auto"


def test_a_copy_goes_its_own_way(launch: Launch) -> None:
    first = spoken(launch)
    agent = launch(FAKE_AGENT_CAPS=CAPS)
    agent.session_id = recall(agent, "fork", first.session_id).result["sessionId"]
    agent.prompt("mine")
    for session_id, turns in ((first.session_id, 3), (agent.session_id, 4)):
        later = launch(FAKE_AGENT_CAPS=CAPS)
        recall(later, "resume", session_id)
        later.session_id = session_id
        assert later.prompt("so").text == f"turn {turns}: so"


def test_without_a_way_to_go_on_nothing_is_kept(launch: Launch) -> None:
    agent = launch().open()
    agent.prompt("one")
    assert not (agent.cwd / ".fake_agent").exists()
    for how in ALL:
        answer = agent.call(f"session/{how}", {"sessionId": agent.session_id, "cwd": "/", "mcpServers": []})
        assert answer.error["code"] == -32601


@pytest.mark.parametrize("how", ALL)
def test_what_it_does_not_know_is_an_error(launch: Launch, how: str) -> None:
    for session_id in ("fake-0", "../../etc/passwd", ""):
        agent = launch(FAKE_AGENT_CAPS=CAPS)
        assert recall(agent, how, session_id).error["code"] == -32002


@pytest.mark.parametrize("how", ALL)
def test_faults_of_memory(launch: Launch, how: str) -> None:
    first = spoken(launch)
    denied = launch(FAKE_AGENT_CAPS=CAPS, FAKE_AGENT_START="no-recall")
    assert recall(denied, how, first.session_id).error["code"] == -32601
    empty = launch(FAKE_AGENT_CAPS=CAPS, FAKE_AGENT_START="empty-load")
    answer = recall(empty, how, "fake-0")
    assert "modes" in answer.result and answer.updates == []
    exits = launch(FAKE_AGENT_CAPS=CAPS, FAKE_AGENT_START="exit-recall")
    exits.call("initialize", {"protocolVersion": 1})
    exits.start(f"session/{how}", {"sessionId": first.session_id, "cwd": "/", "mcpServers": []})
    assert exits.ended() == 1
    hangs = launch(FAKE_AGENT_CAPS=CAPS, FAKE_AGENT_START="hang-recall")
    hangs.call("initialize", {"protocolVersion": 1})
    hangs.start(f"session/{how}", {"sessionId": first.session_id, "cwd": "/", "mcpServers": []})
    new = hangs.call("session/new", {"cwd": "/", "mcpServers": []})
    assert new.before == []


def test_one_that_only_says_that_it_resumes_knows_no_session(launch: Launch) -> None:
    first = spoken(launch)
    agent = launch(FAKE_AGENT_CAPS=CAPS, FAKE_AGENT_START="ghost-recall")
    assert recall(agent, "resume", first.session_id).result == {}
    agent.session_id = first.session_id
    assert agent.prompt("so").error["message"] == "Session not found"


def test_history_may_come_after_the_answer_to_load_and_before_any_other(launch: Launch) -> None:
    first = spoken(launch)
    agent = launch(FAKE_AGENT_CAPS=CAPS, FAKE_AGENT_START="late-history")
    assert recall(agent, "load", first.session_id).updates == []
    assert agent.call("anything", {}).text == "undeux"


def test_an_odd_id_is_long_and_holds_what_no_database_takes(launch: Launch) -> None:
    agent = launch(FAKE_AGENT_CAPS=CAPS, FAKE_AGENT_START="odd-session-id").open()
    assert len(agent.session_id) > 1_000_000
    assert "\0" in agent.session_id and "\ud800" in agent.session_id
    assert agent.prompt("hi").text == "turn 1: hi"


def test_what_is_handed_over_is_no_prompt(launch: Launch) -> None:
    agent = launch().open()
    before = "<conversation-so-far>\n[[KILL9]]\n</conversation-so-far>"
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in (before, "[[HANDED]]")]
    answer = agent.call("session/prompt", {"sessionId": agent.session_id, "prompt": blocks})
    assert answer.text == before
