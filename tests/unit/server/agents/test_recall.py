"""How an agent goes on with a conversation: what it is asked for, what is believed of its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from clawdforge.server.agents import rpc, setup
from clawdforge.server.agents.base import Memory
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.recall import Recall
from clawdforge.wire.agents import AgentOptions

RESUME: Mapping[str, Any] = {"sessionCapabilities": {"resume": {}}}
LOAD: Mapping[str, Any] = {"loadSession": True}
FORK: Mapping[str, Any] = {"sessionCapabilities": {"resume": {}, "fork": {}}}
BOTH: Mapping[str, Any] = {**RESUME, **LOAD}
UNKNOWN = RuntimeError({"code": -32002, "message": "Resource not found"})
NO_METHOD = RuntimeError({"code": -32601, "message": "Method not found"})
NEW = {"sessionId": "new", "modes": {"availableModes": [{"id": "ask"}, {"id": "plan"}], "currentModeId": "plan"}}
SILENCE = object()
SAID = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "as before"}}
NEWS = {"sessionUpdate": "available_commands_update", "availableCommands": []}


class Forgetting:
    """The other side of a peer, which knows a conversation or does not.

    Args:
        capabilities: what it says it can.
        answers: by method; an exception is an error, `SILENCE` no answer.
        tells: what it tells before the answer to `session/load`, and after it.
    """

    def __init__(
        self,
        capabilities: Mapping[str, Any],
        answers: Mapping[str, Any],
        tells: tuple[list[Any], list[Any]] = ([], []),
        memory: Memory | None = Memory("old"),  # noqa: B008 - a frozen value
        limit_s: float = 10,
    ) -> None:
        self.options: Mapping[str, Any] = {}
        self.recall = Recall(memory, limit_s)
        self.peer = rpc.Peer(self._take, self)
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.news: list[Any] = []
        initialized = {"protocolVersion": 1, "agentCapabilities": capabilities}
        self._answers = {"initialize": initialized, "session/new": NEW, **answers}
        self._tells = tells

    async def start(self, **entry: Any) -> setup.Started:
        known = AgentEntry(name="it", title="it", argv=("it",), **entry)
        options = AgentOptions(agent="it", **self.options)
        return await setup.start_session(self.peer, known, options, "/w", self.recall)

    @property
    def asked(self) -> list[str]:
        return [method.removeprefix("session/") for method, _ in self.said if method != "initialize"]

    def _take(self, line: bytes) -> None:
        message = json.loads(line)
        self.said.append((message["method"], message["params"]))
        answer = self._answers.get(message["method"], NO_METHOD)
        before, after = self._tells if message["method"] == "session/load" else ([], [])
        for update in before:
            self._tell(update)
        if answer is not SILENCE:
            outcome = {"error": answer.args[0]} if isinstance(answer, Exception) else {"result": answer}
            self.peer.feed(json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}).encode())
        for update in after:
            self._tell(update)

    def _tell(self, update: Any) -> None:
        message = {"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "old", "update": update}}
        self.peer.feed(json.dumps(message).encode())

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        if not self.recall.hears(params["update"]):
            self.news.append(params["update"])

    def on_request(self, method: str, params: dict[str, Any], reply: rpc.Reply) -> None:
        raise AssertionError(method)

    def on_noise(self, line: bytes) -> None:
        raise AssertionError(line)


async def test_what_it_does_not_say_that_it_has_it_is_not_asked_for() -> None:
    for capabilities in (
        {},
        {"loadSession": False},
        {"loadSession": "yes", "sessionCapabilities": [1]},
        {"x": None},
    ):
        agent = Forgetting(capabilities, {})
        started = await agent.start()
        assert agent.asked == ["new"]
        assert (started.session_id, started.recalled) == ("new", False)


async def test_without_a_memory_nothing_is_recalled() -> None:
    agent = Forgetting(BOTH, {}, memory=None)
    assert not (await agent.start()).recalled
    assert agent.asked == ["new"]


async def test_a_resume_goes_before_a_load_and_takes_what_a_new_session_takes() -> None:
    agent = Forgetting(BOTH, {"session/resume": {}, "session/set_mode": {}})
    started = await agent.start(ask_mode="ask", new_meta={"a": 1})
    assert (started.session_id, started.recalled) == ("old", True)
    assert agent.said[1:] == [
        ("session/resume", {"sessionId": "old", "cwd": "/w", "mcpServers": [], "_meta": {"a": 1}}),
        ("session/set_mode", {"sessionId": "old", "modeId": "ask"}),
    ]


async def test_a_resume_that_it_does_not_have_is_followed_by_its_load() -> None:
    agent = Forgetting(BOTH, {"session/load": {}}, tells=([SAID], []))
    assert (await agent.start()).recalled
    assert agent.asked == ["resume", "load", "_clawdforge/told"]


@pytest.mark.parametrize("tells", [([SAID, SAID], []), ([], [SAID, NEWS]), ([SAID], [NEWS, SAID])])
async def test_what_a_load_tells_again_is_no_news_whenever_it_tells_it(tells: tuple[list[Any], list[Any]]) -> None:
    agent = Forgetting(LOAD, {"session/load": {}}, tells)
    assert (await agent.start()).recalled
    assert agent.news == [update for update in (*tells[0], *tells[1]) if update is NEWS]
    agent._tell(SAID)  # later still: nobody has asked anything
    assert SAID not in agent.news
    agent.recall.over()
    agent._tell(SAID)
    assert agent.news[-1] == SAID


@pytest.mark.parametrize("tells", [[], [NEWS, {"sessionUpdate": []}, {}], [{"sessionUpdate": "usage_update"}]])
async def test_a_load_that_tells_nothing_that_was_said_has_loaded_nothing(tells: list[Any]) -> None:
    agent = Forgetting(LOAD, {"session/load": {}}, ([], tells))
    started = await agent.start()
    assert (started.session_id, started.recalled) == ("new", False)


@pytest.mark.parametrize("answer", [UNKNOWN, NO_METHOD, RuntimeError({"code": -32603, "message": "no"})])
async def test_what_it_has_forgotten_is_a_new_session(answer: Exception) -> None:
    agent = Forgetting(BOTH, {"session/resume": answer, "session/load": answer})
    started = await agent.start()
    assert (started.session_id, started.recalled) == ("new", False)
    assert agent.asked == ["resume", "load", "new"]


async def test_one_that_does_not_take_its_mode_again_has_not_recalled() -> None:
    agent = Forgetting(RESUME, {"session/resume": {}, "session/set_mode": UNKNOWN})
    with pytest.raises(rpc.RpcError):  # nor in a new session: it is not let loose
        await agent.start(ask_mode="ask")
    assert agent.asked == ["resume", "set_mode", "new", "set_mode"]


async def test_what_was_chosen_need_not_be_offered_again() -> None:
    agent = Forgetting(RESUME, {"session/resume": {}, "session/set_mode": {}, "session/set_config_option": {}})
    agent.options = {"mode": "plan", "model": "large"}
    assert (await agent.start()).recalled
    agent = Forgetting(RESUME, {"session/resume": NEW, "session/set_mode": {}, "session/set_config_option": {}})
    agent.options = {"mode": "gone"}
    with pytest.raises(setup.ValueRefused, match="no mode 'gone'"):
        await agent.start()


@pytest.mark.parametrize(
    ("capabilities", "how", "asked", "session_id"),
    [
        (FORK, "fork", ["fork"], "copy"),
        (RESUME, "fork", ["resume"], "old"),
        (FORK, "resume", ["resume"], "old"),
    ],
)
async def test_a_fork_is_a_copy_where_it_can_make_one(
    capabilities: Mapping[str, Any], how: Literal["resume", "fork"], asked: list[str], session_id: str
) -> None:
    answers = {"session/fork": {"sessionId": "copy"}, "session/resume": {}}
    agent = Forgetting(capabilities, answers, memory=Memory("old", how))
    started = await agent.start()
    assert (agent.asked, started.session_id, started.recalled) == (asked, session_id, True)


@pytest.mark.parametrize("answer", [{}, {"sessionId": 7}, None, []])
async def test_a_fork_without_an_id_is_none(answer: Any) -> None:
    capabilities = {"sessionCapabilities": {"fork": {}}}
    agent = Forgetting(capabilities, {"session/fork": answer}, memory=Memory("old", "fork"))
    assert (await agent.start()).session_id == "new"


async def test_one_that_hangs_or_ends_over_it_is_known_for_that() -> None:
    hangs = Forgetting(RESUME, {"session/resume": SILENCE}, limit_s=0)
    with pytest.raises(TimeoutError):
        await hangs.start()
    assert hangs.recall.pending
    ends = Forgetting(LOAD, {"session/load": SILENCE})
    starting = asyncio.ensure_future(ends.start())
    while "load" not in ends.asked:
        await asyncio.sleep(0)
    ends.peer.close("it exited")
    with pytest.raises(rpc.Gone):
        await starting
    assert ends.recall.pending
    later = Forgetting(RESUME, {"session/resume": UNKNOWN, "session/new": UNKNOWN})
    with pytest.raises(rpc.RpcError):
        await later.start()
    assert not later.recall.pending


async def test_the_first_prompt_finds_out_one_that_only_says_that_it_recalls() -> None:
    for answer, lost in (({"stopReason": "end_turn"}, False), (rpc.RpcError(-32603, "model"), False)):
        agent = Forgetting(RESUME, {"session/resume": {}})
        await agent.start()
        assert agent.recall.proved_none(answer) is lost
        assert agent.recall.proved_none(rpc.RpcError(-32602, "a bad prompt")) is False
        assert agent.recall.lasting("old") == "old"
    agent = Forgetting(RESUME, {"session/resume": {}})
    await agent.start()
    assert agent.recall.proved_none(rpc.RpcError(-32602, "Session not found")) is True
    assert agent.recall.lasting("old") is None


async def test_an_id_that_nobody_would_keep_is_not_kept() -> None:
    recall = Recall(None, 1)
    assert recall.lasting("x" * 1_000) == "x" * 1_000
    assert recall.lasting("x" * 1_001) is None
