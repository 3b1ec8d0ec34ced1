"""The scripted agent, as a client sees it: protocol, what it says, what it asks, how a turn ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clawdforge.testing import fake_agent

if TYPE_CHECKING:
    from .conftest import Child

    Launch = Callable[..., Child]

Message = dict[str, Any]


def choose(kind: str) -> Callable[[Message], Message]:
    """Answers permission requests with the option of this kind."""

    def answer(request: Message) -> Message:
        assert request["method"] == "session/request_permission"
        option = next(one for one in request["params"]["options"] if one["kind"] == kind)
        return {"result": {"outcome": {"outcome": "selected", "optionId": option["optionId"]}}}

    return answer


def refuse(_: Message) -> Message:
    return {"error": {"code": -32601, "message": "Method not found"}}


# -- the protocol -------------------------------------------------------------------------------------------


def test_initialize_names_the_agent_and_what_it_can_do(launch: Launch) -> None:
    caps = json.dumps({"loadSession": True, "promptCapabilities": {"image": True}})
    result = launch(FAKE_AGENT_CAPS=caps).call("initialize", {"protocolVersion": 1}).result
    assert result["protocolVersion"] == 1
    assert result["agentInfo"]["name"] == "fake_agent"
    assert result["agentCapabilities"]["loadSession"] is True
    assert result["agentCapabilities"]["promptCapabilities"]["image"] is True
    assert result["agentCapabilities"]["promptCapabilities"]["embeddedContext"] is True


@pytest.mark.parametrize("params", [{"mcpServers": []}, {"cwd": "here", "mcpServers": []}, {"cwd": "/"}])
def test_a_session_needs_an_absolute_cwd_and_mcp_servers(launch: Launch, params: Message) -> None:
    assert launch().call("session/new", params).error["code"] == -32602


def test_settings_take_what_is_on_offer_and_nothing_else(agent: Child) -> None:
    session = {"sessionId": agent.session_id}
    assert agent.call("session/set_mode", {**session, "modeId": "ask"}).result == {}
    assert agent.call("session/set_mode", {**session, "modeId": "yolo"}).error["code"] == -32602
    option = {**session, "configId": "model", "value": "fake-large"}
    options = agent.call("session/set_config_option", option).result["configOptions"]
    assert [one["currentValue"] for one in options] == ["fake-large", "default"]
    for name, value in [("model", "fake-huge"), ("effort", "lots"), ("taste", "sweet")]:
        option = {**session, "configId": name, "value": value}
        assert agent.call("session/set_config_option", option).error["code"] == -32602
    assert agent.call("session/set_model", {**session, "modelId": "default"}).error["code"] == -32601
    assert json.loads(agent.prompt("[[CONFIG]]").text) == {
        "mode": "ask",
        "model": "fake-large",
        "effort": "default",
    }


def test_the_model_can_be_one_of_those_in_session_new(launch: Launch) -> None:
    agent = launch(FAKE_AGENT_MODEL_BY="models", FAKE_AGENT_MODELS="mine").open()
    model = {"sessionId": agent.session_id, "modelId": "mine"}
    assert agent.call("session/set_model", model).result == {}
    assert json.loads(agent.prompt("[[CONFIG]]").text)["model"] == "mine"


def test_unknown_methods_are_refused_and_unknown_notifications_ignored(agent: Child) -> None:
    agent.send({"method": "nobody/knows", "params": {}})
    assert agent.call("session/load", {"sessionId": "x"}).error["code"] == -32601


def test_a_closed_session_takes_no_prompt(agent: Child) -> None:
    assert agent.call("session/close", {"sessionId": agent.session_id}).result == {}
    assert agent.prompt("hello").error["message"] == "Session not found"


def test_two_sessions_count_their_own_turns(agent: Child) -> None:
    first = agent.session_id
    assert agent.prompt("a").text == "turn 1: a"
    agent.open()
    assert agent.prompt("b").text == "turn 1: b"
    agent.session_id = first
    assert agent.prompt("c").text == "turn 2: c"


def test_a_prompt_during_a_turn_waits_for_its_end(agent: Child) -> None:
    first, second = agent.start_prompt("[[SLEEP 0.1]][[SAY one]]"), agent.start_prompt("[[SAY two]]")
    assert agent.answer_to(first).text == "one"
    assert agent.answer_to(second).text == "two"


def test_the_log_holds_every_message_that_came_in(launch: Launch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert fake_agent.read_log(log) == []
    agent = launch(FAKE_AGENT_LOG=str(log)).open()
    agent.prompt("hello")
    start, *messages = fake_agent.read_log(log)
    assert start["argv"] and start["pid"] == agent.process.pid
    assert [one["m"]["method"] for one in messages] == ["initialize", "session/new", "session/prompt"]
    assert [one["t"] for one in messages] == sorted(one["t"] for one in messages)
    (prompt,) = fake_agent.read_log(log, "session/prompt")
    assert prompt["m"]["params"]["prompt"] == [{"type": "text", "text": "hello"}]


def test_the_log_lies_in_its_home_where_that_is_said(launch: Launch, tmp_path: Path) -> None:
    launch(HOME=str(tmp_path), FAKE_AGENT_LOG="~/log").open()
    assert [one["m"]["method"] for one in fake_agent.read_log(tmp_path / "log")[1:]] == [
        "initialize",
        "session/new",
    ]


# -- what it says -------------------------------------------------------------------------------------------


def test_without_a_directive_it_echoes_in_two_chunks_of_one_message(agent: Child) -> None:
    agent.prompt("first")
    answer = agent.prompt("héllo")
    assert answer.result == {"stopReason": "end_turn"}
    assert [one["content"]["text"] for one in answer.updates] == ["turn 2: ", "héllo"]
    assert len({one["messageId"] for one in answer.updates}) == 1


def test_directives_run_in_their_order_wherever_they_stand(agent: Child) -> None:
    blocks = [
        {"type": "text", "text": "A preamble. [[SAY one]]"},
        {"type": "resource_link", "uri": "file:///x", "name": "x"},
        {"type": "text", "text": "then [[THINK hm]] and [[ECHO two\nlines]] [[JSON [1]]]"},
    ]
    params = {"sessionId": agent.session_id, "prompt": blocks}
    answer = agent.call("session/prompt", params)
    assert answer.text == "oneturn 1: two\nlines```json\n[1]\n```"
    kinds = [one["sessionUpdate"] for one in answer.updates]
    assert kinds == ["agent_message_chunk", "agent_thought_chunk", *["agent_message_chunk"] * 2]
    ids = [one["messageId"] for one in answer.updates]
    assert len(set(ids)) == 3 and ids[2] == ids[3]


def test_what_comes_then_answers_the_next_prompt_without_directives(agent: Child) -> None:
    assert agent.prompt("[[SAY a]][[THEN SAY b]][[THEN JSON [1]]]").text == "a"
    assert agent.prompt("[[SAY not yet]]").text == "not yet"
    assert agent.prompt("words").text == "b```json\n[1]\n```"
    assert agent.prompt("words").text == "turn 4: words"


@pytest.mark.parametrize("prompt", ["[[NOPE]]", "[[SLEEP long]]", "[[TOOL name {]]", "[[STOP x]][[EXIT now]]"])
def test_a_typo_is_loud(agent: Child, prompt: str) -> None:
    assert agent.prompt(prompt).error["code"] == -32602
    assert agent.prompt("[[SAY alive]]").text == "alive"


def test_every_verb_is_in_the_help() -> None:
    from clawdforge.testing.fake_agent import agent, start

    shown = subprocess.run(fake_agent.argv("--help"), capture_output=True, text=True, check=True).stdout
    assert [verb for verb in agent.VERBS if f"[[{verb}" not in shown] == []
    assert [fault for fault in start.NAMES if fault not in shown] == []


def test_a_tool_call_goes_from_pending_to_completed(agent: Child) -> None:
    updates = agent.prompt('[[TOOL grep {"pattern": "x"}]]').updates
    assert [one["sessionUpdate"] for one in updates] == ["tool_call", "tool_call_update", "tool_call_update"]
    assert [one["status"] for one in updates] == ["pending", "in_progress", "completed"]
    assert updates[0]["rawInput"] == {"pattern": "x"} and updates[2]["rawOutput"] == {"echo": {"pattern": "x"}}
    assert len({one["toolCallId"] for one in updates}) == 1


def test_other_updates(agent: Child) -> None:
    answer = agent.prompt("[[PLAN a|b]][[USAGE]][[COMMANDS]][[MODE ask]][[UNKNOWN]]")
    plan, usage, commands, mode, unknown = answer.updates
    assert [entry["content"] for entry in plan["entries"]] == ["a", "b"]
    assert usage["sessionUpdate"] == "usage_update" and answer.result["usage"]["totalTokens"] == 130
    assert commands["availableCommands"][0]["name"] == "fake"
    assert mode == {"sessionUpdate": "current_mode_update", "currentModeId": "ask"}
    assert unknown["sessionUpdate"] == "brand_new_update"


def test_usage_is_told_in_every_way_that_agents_have(agent: Child) -> None:
    counts = [agent.prompt("[[USAGE_SO_FAR]]").result["usage"]["inputTokens"] for _ in range(2)]
    assert counts == [100, 200]
    costs = [agent.prompt(f"[[COST {cost}]]").updates[0]["cost"] for cost in (0.1, 0.2)]
    assert costs == [{"amount": 0.1, "currency": "USD"}, {"amount": 0.3, "currency": "USD"}]
    answer = agent.prompt("[[CONTEXT 7]]")
    assert answer.updates[0] == {"sessionUpdate": "usage_update", "used": 7, "size": 200_000}
    assert "usage" not in answer.result


def test_a_late_update_comes_after_the_answer(agent: Child) -> None:
    assert agent.prompt("[[LATE later]]").text == ""
    assert agent.read()["params"]["update"]["content"]["text"] == "later"


def test_it_says_what_it_was_told_and_where_it_is(launch: Launch, tmp_path: Path) -> None:
    agent = launch("--acp", SECRET="s3cret")
    agent.call("initialize", {"protocolVersion": 1, "clientInfo": {"name": "test"}})
    meta = {"systemPrompt": {"append": "Be brief."}}
    params = {"cwd": str(tmp_path), "mcpServers": [], "_meta": meta}
    agent.session_id = agent.call("session/new", params).result["sessionId"]
    (tmp_path / "note").write_text("noted")
    told = agent.answer_to(agent.start_prompt("[[META]]", _meta={"schema": {}})).text
    assert json.loads(told) == {"session": meta, "prompt": {"schema": {}}}
    assert json.loads(agent.prompt("[[SYSTEM]]").text) == {"append": "Be brief."}
    assert json.loads(agent.prompt("[[CLIENT]]").text)["clientInfo"] == {"name": "test"}
    assert json.loads(agent.prompt("[[BLOCKS]]").text) == [{"type": "text", "text": "[[BLOCKS]]"}]
    assert json.loads(agent.prompt("[[ARGV]]").text)[1:] == ["--acp"]
    assert (
        agent.prompt("[[READ note]][[SAY , ]][[READ gone]]").text
        == "noted, cannot read gone: No such file or directory"
    )
    assert agent.prompt("[[LEAK SECRET]] [[ENV GONE]]").text == "s3cretGONE is not set"
    assert agent.prompt("[[CWD]] [[HOME]] [[PID]]").text == f"{tmp_path}{tmp_path}{agent.process.pid}"


def test_a_script_plays_prompts_by_their_words(launch: Launch) -> None:
    script = json.dumps({"three colours": "[[SAY red]]", "colours": "[[SAY blue]]"})
    agent = launch(FAKE_AGENT_SCRIPT=script).open()
    assert agent.prompt("Name three colours.").text == "red"
    assert agent.prompt("Which colours?").text == "blue"
    assert agent.prompt("And animals?").text == "turn 3: And animals?"


# -- what it asks -------------------------------------------------------------------------------------------


def ask_mode(agent: Child) -> None:
    agent.call("session/set_mode", {"sessionId": agent.session_id, "modeId": "ask"})


def test_in_its_first_mode_it_writes_unasked(agent: Child, tmp_path: Path) -> None:
    answer = agent.prompt("[[WRITE a.txt two words]]")
    assert answer.requests == [] and (tmp_path / "a.txt").read_text() == "two words"


def test_in_mode_ask_a_write_waits_for_permission(agent: Child, tmp_path: Path) -> None:
    ask_mode(agent)
    answer = agent.prompt("[[WRITE a.txt hello]]", on_request=choose("allow_once"))
    (request,) = answer.requests
    assert request["id"] == 0  # as real agents begin: an id that is false
    call = request["params"]["toolCall"]
    assert call["kind"] == "edit" and call["locations"] == [{"path": str(tmp_path / "a.txt")}]
    assert [one["status"] for one in answer.updates] == ["pending", "completed"]
    assert (tmp_path / "a.txt").read_text() == "hello"


def test_a_rejected_write_fails_and_the_turn_goes_on(agent: Child, tmp_path: Path) -> None:
    ask_mode(agent)
    answer = agent.prompt("[[WRITE a.txt hello]][[SAY on]]", on_request=choose("reject_once"))
    assert answer.updates[1]["status"] == "failed" and answer.text == "on"
    assert not (tmp_path / "a.txt").exists()


def test_a_write_that_cannot_be_done_fails(agent: Child) -> None:
    assert agent.prompt("[[WRITE no/such/folder/a.txt x]]").updates[1]["status"] == "failed"


def test_a_permission_answered_by_a_cancel_ends_the_turn(agent: Child) -> None:
    ask_mode(agent)

    def cancel(_: Message) -> Message:
        agent.cancel()
        return {"result": {"outcome": {"outcome": "cancelled"}}}

    assert agent.prompt("[[WRITE a.txt x]][[SAY on]]", on_request=cancel).result == {"stopReason": "cancelled"}


def test_a_shell_command_is_asked_for_and_run(agent: Child) -> None:
    ask_mode(agent)
    answer = agent.prompt("[[SH echo out; exit 3]]", on_request=choose("allow_always"))
    assert answer.requests[0]["params"]["toolCall"]["kind"] == "execute"
    assert answer.updates[-1]["rawOutput"] == {"exit": 3, "output": "out\n"}


def test_any_kind_can_be_asked_for_with_any_options(agent: Child) -> None:
    answer = agent.prompt(
        "[[OPTIONS reject_always|allow_once]][[ASK delete /etc/x]]", on_request=choose("allow_once")
    )
    params = answer.requests[0]["params"]
    assert params["toolCall"]["kind"] == "delete" and params["toolCall"]["locations"] == [{"path": "/etc/x"}]
    assert [one["kind"] for one in params["options"]] == ["reject_always", "allow_once"]
    assert answer.text == 'ASK delete: {"outcome": "selected", "optionId": "option-1"}'
    assert answer.updates[1]["status"] == "completed"
    refused = agent.prompt("[[ASK fetch -]]", on_request=refuse)
    assert refused.requests[0]["params"]["toolCall"]["locations"] == []
    assert json.loads(refused.text.removeprefix("ASK fetch: "))["error"]["code"] == -32601


def test_it_asks_several_times_at_once_for_one_tool_call(agent: Child) -> None:
    answer = agent.prompt("[[ASKS 60 edit]]", on_request=choose("allow_once"))
    assert len({request["id"] for request in answer.requests}) == 60
    assert len({request["params"]["toolCall"]["toolCallId"] for request in answer.requests}) == 1
    outcomes = json.loads(answer.text.removeprefix("ASKS edit: "))
    assert outcomes == [{"outcome": "selected", "optionId": "option-1"}] * 60


def test_it_uses_the_clients_files(agent: Child, tmp_path: Path) -> None:
    answer = agent.prompt("[[FS_WRITE a.txt hello]]", on_request=lambda _: {"result": {}})
    params = answer.requests[0]["params"]
    assert (params["path"], params["content"]) == (str(tmp_path / "a.txt"), "hello")
    assert json.loads(answer.text) == {"result": {}}


def test_it_counts_the_answers_to_many_requests(agent: Child) -> None:
    answer = agent.prompt("[[REQUESTS 120]]", on_request=refuse)
    assert len(answer.requests) == 120 and answer.text == "answered 120 errors 120"


# -- how a turn ends ----------------------------------------------------------------------------------------


def test_ends_of_a_turn(agent: Child) -> None:
    assert agent.prompt("[[EMPTY]]").before == []
    assert agent.prompt("[[STOP refusal]]").result == {"stopReason": "refusal"}
    assert agent.prompt("[[RESULT [1]]]").result == [1]
    assert agent.prompt("[[SAY x]][[ERROR -32000 no login]]").error == {"code": -32000, "message": "no login"}


def test_an_answer_given_twice(agent: Child) -> None:
    answer = agent.prompt("[[TWICE]]")
    assert agent.read() == answer.message


@pytest.mark.parametrize("turn", ["[[HANG]]", "[[SLEEP 300]]", "[[FLOOD 1000000]]", "[[RATE 1000 10]]"])
def test_a_cancel_ends_the_turn(agent: Child, turn: str) -> None:
    request = agent.start_prompt(f"[[SAY begun]]{turn}[[SAY never]]")
    assert agent.read()["params"]["update"]["content"]["text"] == "begun"
    agent.cancel()
    answer = agent.answer_to(request)
    assert answer.result == {"stopReason": "cancelled"} and not answer.text.endswith("never")
    assert agent.prompt("[[SAY alive]]").text == "alive"


def test_a_cancel_reaches_prompts_that_wait(agent: Child) -> None:
    first, second = agent.start_prompt("[[SAY begun]][[HANG]]"), agent.start_prompt("[[SAY never]]")
    agent.read()
    agent.cancel()
    assert {agent.read()["id"], agent.read()["id"]} == {first, second}
    assert agent.prompt("[[ECHO x]]").text == "turn 2: x"


def test_a_cancel_can_be_answered_with_an_error(agent: Child) -> None:
    request = agent.start_prompt("[[CANCEL_ERROR]][[SAY begun]][[HANG]]")
    agent.read()
    agent.cancel()
    assert agent.answer_to(request).error["code"] == -32800


def test_a_cancel_can_be_ignored(agent: Child) -> None:
    request = agent.start_prompt("[[IGNORE_CANCEL]][[SAY begun]][[SLEEP 0.1]][[SAY done]]")
    agent.read()
    agent.cancel()
    assert agent.answer_to(request).text == "done"


# -- how it starts ------------------------------------------------------------------------------------------


def test_it_imports_little() -> None:
    """Its start is its imports; those that cost milliseconds stay out."""
    python, *rest = fake_agent.argv()
    traced = subprocess.run(
        [python, "-X", "importtime", *rest], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stderr
    loaded = {line.rpartition("|")[2].strip() for line in traced.splitlines()}
    assert {"json", "fake_agent.agent"} <= loaded
    slow = {"asyncio", "argparse", "typing", "dataclasses", "pathlib", "subprocess", "threading", "clawdforge"}
    assert loaded & slow == set()


def test_it_runs_as_a_module_too(launch: Launch) -> None:
    argv = [sys.executable, "-m", "clawdforge.testing.fake_agent"]
    assert launch(argv=argv).open().prompt("hi").text == "turn 1: hi"


def test_the_testing_package_loads_nothing_heavy() -> None:
    code = "import sys, clawdforge.testing, clawdforge.testing.fake_agent; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"pytest", "requests", "clawdforge.server", "asyncio"} & set(loaded) == set()
