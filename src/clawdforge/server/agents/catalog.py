"""The agents that can be asked for by name: those that are known, and how settings change and add to them.

Must not start or look for anything: see `available`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from clawdforge.server.agents import endpoints
from clawdforge.server.agents.entry import AgentEntry, Scripted
from clawdforge.server.agents.known import BUILT_IN
from clawdforge.server.settings import AgentSettings, ScriptedSettings


def catalog(changes: Mapping[str, AgentSettings]) -> Mapping[str, AgentEntry]:
    """The built-in entries with `[agents.NAME]` settings laid over them, and the agents that these add.

    Raises:
        ValueError: a new agent has no `argv`, or a base URL is none.
    """
    entries = dict(BUILT_IN)
    for name, change in changes.items():
        entries[name] = _changed(name, entries.get(name), change)
    return MappingProxyType(entries)


def _changed(name: str, entry: AgentEntry | None, change: AgentSettings) -> AgentEntry:
    if entry is None:
        if change.argv is None:
            raise ValueError(f"[agents.{name}] is new and needs an argv: how shall it be started?")
        entry = AgentEntry(name=name, title=name, argv=tuple(change.argv))
    return dataclasses.replace(
        entry,
        title=change.title or entry.title,
        argv=tuple(change.argv or entry.argv),
        env=MappingProxyType({**entry.env, **change.env}),
        inherit_env=entry.inherit_env if change.inherit_env is None else tuple(change.inherit_env),
        login_files=entry.login_files if change.login_files is None else tuple(change.login_files),
        home_files=MappingProxyType({**entry.home_files, **change.home_files}),
        resets=(*entry.resets, *change.resets),
        readable=tuple(change.readable),
        ask_mode=change.ask_mode or entry.ask_mode,
        base_url=endpoints.checked(name, change.base_url) or entry.base_url,
        default_model=change.model or entry.default_model,
        usage_counts=change.usage_counts or entry.usage_counts,
        scripted=entry.scripted if change.scripted is None else _scripted(change.scripted),
    )


def _scripted(way: ScriptedSettings) -> Scripted:
    return Scripted(MappingProxyType(way.env), tuple(way.argv), MappingProxyType(way.home_files))
