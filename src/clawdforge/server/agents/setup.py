"""The first words to an agent: initialize, its key, a session, its mode, model and effort.

Nothing here outlives the start; the peer stays with its owner.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from clawdforge.server.agents import rpc, ways
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.launch import system_way
from clawdforge.server.agents.offers import Offers
from clawdforge.server.agents.recall import Recall
from clawdforge.wire.agents import AgentOptions

PROTOCOL_VERSION: Final = 1
AUTH_REQUIRED: Final = -32000
_VERSION: Final = version("clawdforge")  # once: it reads the disk for a millisecond


class Refused(Exception):
    """The agent answered, but not as ACP wants it."""


class ValueRefused(Exception):
    """The agent does not take a value that the caller chose; `field` names it."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


@dataclass(frozen=True, slots=True)
class Started:
    """A session that can take a prompt; `prefix` has to be said ahead of the first.

    `recalled`: it goes on with a conversation, in which that was said.
    """

    session_id: str
    prefix: str | None
    offers: Offers
    recalled: bool = False


async def start_session(
    peer: rpc.Peer, entry: AgentEntry, options: AgentOptions, cwd: str, recall: Recall
) -> Started:
    """Brings a fresh agent to where it can take a prompt: in the conversation that it recalls, else in a new one.

    Raises:
        rpc.RpcError, rpc.Gone: the agent answered with an error, or not at all.
        Refused: it speaks another protocol.
        ValueRefused: it does not take a value that the caller chose.
    """
    initialized = await _initialize(peer)
    model = options.model or entry.default_model
    meta = _meta(entry, options, model)
    params: dict[str, Any] = {"cwd": cwd, "mcpServers": []}
    if meta:
        params["_meta"] = meta

    async def call(method: str, params: dict[str, Any]) -> Any:
        return await _call(peer, initialized, method, params)

    recalled = await recall.session(call, initialized, params)
    if recalled is not None:
        session_id, answer = recalled
        # What it took in a new session it takes in one that it has recalled, or it has not recalled it.
        with suppress(rpc.RpcError, ValueRefused):
            offers = await _set_up(peer, entry, options, session_id, Offers.of(initialized, answer), again=True)
            return Started(session_id, None, offers, recalled=True)
    new = await call("session/new", params)
    new_id = new.get("sessionId") if isinstance(new, dict) else None
    if not isinstance(new_id, str) or not new_id:
        raise Refused("it answered session/new without a session id")
    offers = await _set_up(peer, entry, options, new_id, Offers.of(initialized, new))
    prefix = options.system if isinstance(system_way(entry, options), ways.FirstPrompt) else None
    return Started(new_id, prefix, offers)


async def _set_up(
    peer: rpc.Peer,
    entry: AgentEntry,
    options: AgentOptions,
    session_id: str,
    offers: Offers,
    *,
    again: bool = False,
) -> Offers:
    """Sets the mode, the model and the effort. Returns what the agent offers from then on.

    With `again` the agent has taken them before, and need not tell anew what it offers.
    """
    if not again or offers.modes is not None:
        _check_mode(entry, options, offers)
    await _set_mode(peer, entry, options, session_id)
    model = options.model or entry.default_model
    offers = await _tell(peer, entry.model, "model", model, session_id, offers)
    return await _tell(peer, entry.effort, "effort", options.effort, session_id, offers)


async def _initialize(peer: rpc.Peer) -> Mapping[str, Any]:
    answer = await peer.call(
        "initialize",
        {
            "protocolVersion": PROTOCOL_VERSION,
            "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
            "clientInfo": {"name": "clawdforge", "title": "clawdforge", "version": _VERSION},
        },
    )
    told: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
    if (spoken := told.get("protocolVersion")) != PROTOCOL_VERSION:
        raise Refused(f"it speaks ACP version {spoken!r}, clawdforge speaks {PROTOCOL_VERSION}")
    return told


async def _call(peer: rpc.Peer, initialized: Mapping[str, Any], method: str, params: dict[str, Any]) -> Any:
    """Asks, if need be with a key: codex takes none from its environment before it is told to."""
    try:
        return await peer.call(method, params)
    except rpc.RpcError as error:
        if error.code != AUTH_REQUIRED or not await _authenticate(peer, initialized):
            raise
    return await peer.call(method, params)


async def _authenticate(peer: rpc.Peer, initialized: Mapping[str, Any]) -> bool:
    """Tells the agent to use a key of its environment: the first of its ways that it does not refuse."""
    told = initialized.get("authMethods")
    for method in told if isinstance(told, list) else ():
        if isinstance(method, dict) and method.get("type") == "env_var":
            with suppress(rpc.RpcError):  # the variable is not set: it says so itself
                await peer.call("authenticate", {"methodId": method.get("id")})
                return True
    return False


def _meta(entry: AgentEntry, options: AgentOptions, model: str | None) -> dict[str, Any]:
    """`_meta` of `session/new`: what the entry always sends, and what the caller chose."""
    meta = copy.deepcopy(dict(entry.new_meta))
    chosen = (
        (model, entry.model),
        (options.effort, entry.effort),
        (options.system, system_way(entry, options)),
    )
    for value, way in chosen:
        match way:
            case ways.MetaOption(path) if value is not None:
                place = meta
                for step in path[:-1]:
                    place = place.setdefault(step, {})
                place[path[-1]] = value
            case ways.MetaSystemPrompt():
                meta["systemPrompt"] = value if options.system_mode == "replace" else {"append": value}
    return meta


def _check_mode(entry: AgentEntry, options: AgentOptions, offers: Offers) -> None:
    if options.mode is not None and options.mode not in (offers.modes or ()):
        known = f"it has {', '.join(offers.modes)}" if offers.modes else "it has none"
        raise ValueRefused("mode", f"the agent {entry.name!r} has no mode {options.mode!r}: {known}")


async def _set_mode(peer: rpc.Peer, entry: AgentEntry, options: AgentOptions, session_id: str) -> None:
    """Sets the caller's mode, or else the one in which the agent asks.

    Also where the agent claims to be in it: a workspace's own settings were seen to move it. An agent that does
    not take its ask-mode is not let loose.
    """
    mode = options.mode or entry.ask_mode
    if mode is None:
        return
    try:
        await peer.call("session/set_mode", {"sessionId": session_id, "modeId": mode})
    except rpc.RpcError as error:
        if options.mode is None:
            raise
        # Gemini offers modes that it does not take where it does not trust the workspace.
        raise ValueRefused("mode", f"the agent refused the mode {mode!r}: {error}") from error


async def _tell(
    peer: rpc.Peer, way: ways.Way | None, name: str, value: str | None, session_id: str, offers: Offers
) -> Offers:
    """Tells the agent a value. Returns what it offers from then on.

    The list that an agent offers is the last word: one was seen to lower an effort that its model lacks, silently.
    """
    if value is None:
        return offers
    try:
        match way:
            case ways.ConfigOption(config_id) | ways.MetaOption(_, str(config_id)):
                offered = offers.of_option(config_id)
                if offered is not None and value not in offered:
                    known = f"it offers {', '.join(offered)}" if offered else "it offers none"
                    which = " with this model" if name == "effort" else ""
                    raise ValueRefused(name, f"the agent does not offer the {name} {value!r}{which}: {known}")
                params = {"sessionId": session_id, "configId": config_id, "value": value}
                return offers.after(await peer.call("session/set_config_option", params))
            case ways.SetModel():
                await peer.call("session/set_model", {"sessionId": session_id, "modelId": value})
            case _:
                pass  # known to it before it started
    except rpc.RpcError as error:
        raise ValueRefused(name, f"the agent refused the {name} {value!r}: {error}") from error
    return offers
