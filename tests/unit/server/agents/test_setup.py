"""The first words to an agent, by the ways of the catalog's own entries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from clawdforge.server.agents import rpc, setup, ways
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.known import BUILT_IN
from clawdforge.server.agents.recall import Recall
from clawdforge.wire.agents import AgentOptions

SYSTEM = "Be brief."
NEW = {
    "sessionId": "s-1",
    "modes": {"availableModes": [{"id": "default"}, {"id": "plan"}], "currentModeId": "plan"},
}
GOOD: Mapping[str, Any] = {"initialize": {"protocolVersion": 1}, "session/new": NEW}

Say = Callable[..., Any]


class Scripted:
    """The other side of a peer: answers each method as a table says, `{}` where it says nothing.

    A list has an answer for each time that the method is called.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.peer = rpc.Peer(self._answer, self)
        self._answers = answers

    def _answer(self, line: bytes) -> None:
        message = json.loads(line)
        self.said.append((message["method"], message["params"]))
        answer = self._answers.get(message["method"], {})
        if isinstance(answer, list) and answer:
            times = sum(method == message["method"] for method, _ in self.said)
            answer = answer[times - 1]
        outcome = {"error": answer.args[0]} if isinstance(answer, Exception) else {"result": answer}
        self.peer.feed(json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}).encode())

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        raise AssertionError(method)

    def on_request(self, method: str, params: dict[str, Any], reply: rpc.Reply) -> None:
        raise AssertionError(method)

    def on_noise(self, line: bytes) -> None:
        raise AssertionError(line)


async def start(
    entry: AgentEntry | str, answers: Mapping[str, Any] = GOOD, **options: Any
) -> tuple[setup.Started, list[tuple[str, dict[str, Any]]]]:
    entry = BUILT_IN[entry] if isinstance(entry, str) else entry
    scripted = Scripted(answers)
    started = await setup.start_session(
        scripted.peer, entry, AgentOptions(agent=entry.name, **options), "/some/workspace", Recall(None, 1)
    )
    return started, scripted.said


def plain(**fields: Any) -> AgentEntry:
    return AgentEntry(name="plain", title="plain", argv=("plain",), **fields)


async def test_version_1_is_asked_for_and_nothing_is_offered() -> None:
    _, said = await start(plain())
    [(first, params), (second, new)] = said
    assert (first, params["protocolVersion"]) == ("initialize", 1)
    assert params["clientCapabilities"] == {
        "fs": {"readTextFile": False, "writeTextFile": False},
        "terminal": False,
    }
    assert (second, new) == ("session/new", {"cwd": "/some/workspace", "mcpServers": []})


@pytest.mark.parametrize("spoken", [2, 0, "1", None])
async def test_another_version_is_refused(spoken: Any) -> None:
    with pytest.raises(setup.Refused, match="speaks ACP version"):
        await start(plain(), {**GOOD, "initialize": {"protocolVersion": spoken}})


@pytest.mark.parametrize("new", [{}, {"sessionId": 7}, {"sessionId": ""}, [], None])
async def test_a_session_without_an_id_is_refused(new: Any) -> None:
    with pytest.raises(setup.Refused, match="without a session id"):
        await start(plain(), {**GOOD, "session/new": new})


KEYS = {
    "protocolVersion": 1,
    "authMethods": [
        {"id": "in-a-browser", "name": "Log in"},
        {"id": "the-key", "name": "Use a key", "type": "env_var", "vars": [{"name": "SOME_KEY"}]},
        {"id": "other-key", "name": "Use another", "type": "env_var", "vars": [{"name": "OTHER_KEY"}]},
    ],
}
LOGIN_WANTED = RuntimeError({"code": -32000, "message": "Authentication required"})


def methods(said: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [params.get("methodId", method) for method, params in said]


async def test_an_agent_that_wants_a_login_is_told_to_use_the_key_that_it_has() -> None:
    _, said = await start(plain(), {"initialize": KEYS, "session/new": [LOGIN_WANTED, NEW]})
    assert methods(said) == ["initialize", "session/new", "the-key", "session/new"]


async def test_of_its_keys_it_uses_the_first_that_is_there() -> None:
    unset = RuntimeError({"code": -32603, "message": "SOME_KEY is not set"})
    answers = {"initialize": KEYS, "session/new": [LOGIN_WANTED, NEW], "authenticate": [unset, {}]}
    _, said = await start(plain(), answers)
    assert methods(said) == ["initialize", "session/new", "the-key", "other-key", "session/new"]


async def test_an_agent_that_has_no_key_to_use_is_left_without_a_session() -> None:
    with pytest.raises(rpc.RpcError, match="Authentication required"):
        await start(plain(), {"initialize": {"protocolVersion": 1}, "session/new": LOGIN_WANTED})
    unset = RuntimeError({"code": -32603, "message": "it is not set"})
    with pytest.raises(rpc.RpcError, match="Authentication required"):
        await start(plain(), {"initialize": KEYS, "session/new": LOGIN_WANTED, "authenticate": unset})


async def test_an_agent_that_is_logged_in_is_told_nothing_of_keys() -> None:
    _, said = await start(plain(), {**GOOD, "initialize": KEYS})
    assert methods(said) == ["initialize", "session/new"]


async def test_claude_hears_in_its_meta_what_its_options_would_not_take() -> None:
    _, said = await start("claude", model="opus", effort="max", system=SYSTEM)
    meta = said[1][1]["_meta"]
    options = meta["claudeCode"]["options"]
    assert (options["model"], options["settingSources"]) == ("opus", ["user"])
    assert meta["systemPrompt"] == {"append": SYSTEM}
    assert said[2:] == [
        ("session/set_mode", {"sessionId": "s-1", "modeId": "default"}),
        ("session/set_config_option", {"sessionId": "s-1", "configId": "model", "value": "opus"}),
        ("session/set_config_option", {"sessionId": "s-1", "configId": "effort", "value": "max"}),
    ]


async def test_claude_s_system_prompt_can_be_replaced() -> None:
    _, said = await start("claude", system=SYSTEM, system_mode="replace")
    assert said[1][1]["_meta"]["systemPrompt"] == SYSTEM


async def test_one_session_s_choices_are_not_another_s() -> None:
    await start("claude", model="opus")
    _, said = await start("claude")
    assert "model" not in said[1][1]["_meta"]["claudeCode"]["options"]


async def test_codex_hears_model_and_effort_as_config_options() -> None:
    _, said = await start("codex", model="gpt", effort="xhigh", system=SYSTEM)
    assert "_meta" not in said[1][1]
    assert said[2:] == [
        ("session/set_mode", {"sessionId": "s-1", "modeId": "read-only"}),
        ("session/set_config_option", {"sessionId": "s-1", "configId": "model", "value": "gpt"}),
        ("session/set_config_option", {"sessionId": "s-1", "configId": "reasoning_effort", "value": "xhigh"}),
    ]


async def test_gemini_hears_its_model_by_a_method_of_its_own() -> None:
    started, said = await start("gemini", model="pro", system=SYSTEM)
    assert said[-1] == ("session/set_model", {"sessionId": "s-1", "modelId": "pro"})
    assert started.prefix == SYSTEM


async def test_local_hears_its_system_prompt_in_the_meta() -> None:
    _, said = await start("local", system=SYSTEM)
    assert said[1][1]["_meta"] == {"systemPrompt": {"append": SYSTEM}}


@pytest.mark.parametrize(
    ("name", "prefix"), [("opencode", SYSTEM), ("gemini", SYSTEM), ("codex", None), ("claude", None)]
)
async def test_only_those_that_know_no_other_way_hear_a_system_prompt_ahead_of_the_first(
    name: str, prefix: str | None
) -> None:
    started, _ = await start(name, system=SYSTEM)
    assert started.prefix == prefix


@pytest.mark.parametrize("name", ["claude", "codex", "gemini"])
async def test_the_ask_mode_is_set_though_the_agent_may_claim_to_be_in_it(name: str) -> None:
    mode = BUILT_IN[name].ask_mode
    _, said = await start(name, {**GOOD, "session/new": {"sessionId": "s-1", "modes": {"currentModeId": mode}}})
    assert ("session/set_mode", {"sessionId": "s-1", "modeId": mode}) in said


async def test_an_agent_that_does_not_take_its_ask_mode_is_not_let_loose() -> None:
    refusal = Exception({"code": -32602, "message": "no such mode"})
    with pytest.raises(rpc.RpcError, match="no such mode"):
        await start("claude", {**GOOD, "session/set_mode": refusal})


async def test_a_caller_s_mode_that_the_agent_does_not_take_is_refused() -> None:
    refusal = Exception({"code": -32603, "message": "untrusted"})
    with pytest.raises(setup.ValueRefused, match=r"refused the mode 'plan': .*untrusted") as raised:
        await start("gemini", {**GOOD, "session/set_mode": refusal}, mode="plan")
    assert raised.value.field == "mode"


async def test_the_caller_s_mode_is_set_in_its_place() -> None:
    _, said = await start("claude", mode="plan")
    assert [params["modeId"] for method, params in said if method == "session/set_mode"] == ["plan"]


@pytest.mark.parametrize("modes", [NEW["modes"], None, {}, {"availableModes": None}, {"availableModes": ["yolo"]}])
async def test_a_mode_that_is_not_offered_is_refused_before_it_is_tried(modes: Any) -> None:
    with pytest.raises(setup.ValueRefused, match="has no mode 'yolo'") as raised:
        await start("claude", {**GOOD, "session/new": {"sessionId": "s-1", "modes": modes}}, mode="yolo")
    assert raised.value.field == "mode"


@pytest.mark.parametrize(
    ("name", "method", "options", "field"),
    [
        ("codex", "session/set_config_option", {"model": "none"}, "model"),
        ("codex", "session/set_config_option", {"effort": "low"}, "effort"),
        ("gemini", "session/set_model", {"model": "none"}, "model"),
        ("opencode", "session/set_config_option", {"model": "none"}, "model"),
    ],
)
async def test_a_value_that_the_agent_refuses_is_the_caller_s_to_mend(
    name: str, method: str, options: dict[str, str], field: str
) -> None:
    refusal = Exception({"code": -32602, "message": "unknown value"})
    with pytest.raises(setup.ValueRefused, match="unknown value") as raised:
        await start(name, {**GOOD, method: refusal}, **options)
    assert raised.value.field == field


def offering(**options: list[str]) -> list[dict[str, Any]]:
    return [
        {"id": name, "type": "select", "options": [{"value": value} for value in values]}
        for name, values in options.items()
    ]


@pytest.mark.parametrize("options", [{"model": "none"}, {"effort": "max"}, {"model": "small", "effort": "low"}])
async def test_a_value_that_is_not_offered_is_refused_before_it_is_tried(options: dict[str, str]) -> None:
    """The small model takes no effort: the agent tells so when it has heard which model it shall use."""
    entry = plain(effort=ways.ConfigOption("effort"))
    answers = {
        **GOOD,
        "session/new": {**NEW, "configOptions": offering(model=["small", "large"], effort=["low", "high"])},
        "session/set_config_option": {"configOptions": offering(model=["small", "large"])},
    }
    with pytest.raises(
        setup.ValueRefused, match=r"does not offer the \w+ '\w+'( with this model)?: it offers "
    ) as raised:
        await start(entry, answers, **options)
    assert raised.value.field == list(options)[-1]


async def test_what_is_offered_is_told_to_the_owner_as_it_stands_in_the_end() -> None:
    last = offering(model=["small", "large"], effort=["low"])
    answers = {**GOOD, "session/new": {**NEW, "configOptions": offering(model=["small", "large"])}}
    answers["session/set_config_option"] = {"configOptions": last}
    started, _ = await start(plain(effort=ways.ConfigOption("effort")), answers, model="large", effort="low")
    assert started.offers.modes == ("default", "plan")
    assert started.offers.models == ("small", "large")
    assert started.offers.of_option("effort") == ("low",)


async def test_a_value_in_the_meta_is_told_again_where_the_agent_then_tells_what_goes_with_it() -> None:
    entry = plain(model=ways.MetaOption(("deep", "model"), config_id="model"))
    _, said = await start(entry, model="large")
    assert said[1][1]["_meta"] == {"deep": {"model": "large"}}
    assert said[-1] == (
        "session/set_config_option",
        {"sessionId": "s-1", "configId": "model", "value": "large"},
    )


async def test_the_entry_s_own_model_is_told_where_the_caller_names_none() -> None:
    _, said = await start(plain(default_model="of the settings"))
    assert said[-1][1]["value"] == "of the settings"
