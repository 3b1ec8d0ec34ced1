"""ACP's session updates, as our events. Pure: an update in, a draft of an event out.

An update of a kind that we do not know, or whose shape is not what ACP says, is kept whole as `other`.
Must not know sessions, turns or processes. Source: https://agentclientprotocol.com/protocol/prompt-turn
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from clawdforge.server.agents import touched
from clawdforge.wire import events
from clawdforge.wire.events import Draft
from clawdforge.wire.permissions import PermissionAsk, PermissionOption

_TITLE_KEPT_CHARS: Final = 1_000
_OPTION_BYTES: Final = 100
_ASKED_WITH: Final = ("toolCallId", "title", "kind", "rawInput", "locations", "_meta")


class Shapeless(Exception):
    """An update lacks what its kind needs."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What a permission request may leave out of a call that was told of before; `paths` by their field."""

    kind: str
    title: str = ""
    runs_command: bool = False
    paths: Mapping[str, list[str]] = field(default_factory=dict)


class Translator:
    """Translates one agent's updates. Remembers of each tool call only what later updates leave out.

    Args:
        unkept: options of permission requests that it does not keep (see `entry.AgentEntry`).
    """

    def __init__(self, unkept: Collection[tuple[str, str]] = ()) -> None:
        self._unkept = unkept
        self._calls: dict[str, _Call] = {}
        self._raw_results: set[str] = set()
        self._asked: set[str] = set()

    def update(self, update: Mapping[str, Any]) -> Draft | None:
        """The event of one `session/update`, or None where it says nothing (an empty chunk, our own prompt)."""
        kind = update.get("sessionUpdate")
        translate = _KINDS.get(kind) if isinstance(kind, str) else None
        if translate is None:
            return Draft(events.OTHER, {"acp": dict(update)})
        try:
            return translate(self, update)
        except Shapeless:
            return Draft(events.OTHER, {"acp": dict(update)})

    def asked_about(self, params: Mapping[str, Any]) -> Draft | None:
        """The event of a tool call that a permission request is the first to tell of, else None.

        Whoever decides must see what it would do: gemini tells of an edit, codex of a command, after the answer.
        """
        call = params.get("toolCall")
        if not isinstance(call, dict) or call.get("toolCallId") in self._calls:
            return None
        content = call.get("content")
        diffs = [part for part in content if _is_diff(part)] if isinstance(content, list) else []
        try:
            draft = self._tool_call({**{name: call.get(name) for name in _ASKED_WITH}, "content": diffs})
        except Shapeless:
            return None
        self._asked.add(draft.data["id"])
        return draft

    def permission(self, permission_id: str, params: Mapping[str, Any]) -> PermissionAsk:
        """What a `session/request_permission` asks; what it leaves out comes from the tool call's own updates.

        A call that runs a command is of the kind execute, whatever it calls itself: codex calls `cat a | awk …` a
        read, and the awk program in it could do anything.
        """
        call = params.get("toolCall")
        call = call if isinstance(call, dict) else {}
        call_id = call.get("toolCallId")
        call_id = call_id if isinstance(call_id, str) else None
        known = self._calls.get(call_id or "", _Call("other"))
        kind = str(call.get("kind") or known.kind)
        paths = {**known.paths, **touched.paths(call, kind)}
        if known.runs_command or touched.runs_command(call):
            kind = "execute"
        offered = _options(params.get("options"))
        options = tuple(each for each in offered if (kind, each.kind) not in self._unkept)
        return PermissionAsk(
            permission_id=permission_id,
            tool_call_id=call_id,
            title=str(call.get("title") or known.title),
            kind=kind,
            paths=tuple(dict.fromkeys(chain.from_iterable(paths.values()))),
            options=options,
            held_bytes=sum(_OPTION_BYTES + len(each.option_id) for each in options),
        )

    def turn_over(self) -> None:
        """Forgets the turn's tool calls."""
        self._calls.clear()
        self._raw_results.clear()
        self._asked.clear()

    def _text(self, update: Mapping[str, Any]) -> Draft | None:
        return self._chunk(events.TEXT, update)

    def _thinking(self, update: Mapping[str, Any]) -> Draft | None:
        return self._chunk(events.THINKING, update)

    def _chunk(self, type_: str, update: Mapping[str, Any]) -> Draft | None:
        content = update.get("content")
        if not isinstance(content, dict) or content.get("type") != "text":
            raise Shapeless
        text = _need(content, "text", str)
        if not text:
            return None
        message_id = update.get("messageId")
        data = {"content": text}
        return Draft(type_, {**data, "message_id": message_id} if isinstance(message_id, str) else data)

    def _prompt_echo(self, _update: Mapping[str, Any]) -> None:
        """The prompt is in the log already, as it was given."""

    def _tool_call(self, update: Mapping[str, Any]) -> Draft:
        call_id = _need(update, "toolCallId", str)
        if call_id in self._asked:
            self._asked.remove(call_id)
            return self._tool_call_update(update)
        kind = _text_or_none(update, "kind") or "other"
        data = {
            "id": call_id,
            "name": kind,
            "title": "",
            "kind": kind,
            "status": "pending",
            "args": None,
            "result": None,
            "locations": [],
            "diffs": [],
        }
        changed = self._changed(call_id, update)
        self._remember(call_id, _Call(kind), update)
        return Draft(events.TOOL_CALL, {**data, **changed})

    def _tool_call_update(self, update: Mapping[str, Any]) -> Draft:
        call_id = _need(update, "toolCallId", str)
        if call_id not in self._calls:
            return self._tool_call(update)  # gemini tells of a call first by what became of it
        changed = self._changed(call_id, update)
        self._remember(call_id, self._calls[call_id], update)
        return Draft(events.TOOL_CALL_UPDATE, {"id": call_id, **changed})

    def _remember(self, call_id: str, known: _Call, update: Mapping[str, Any]) -> None:
        kind = update.get("kind") or known.kind
        title = (update.get("title") or known.title)[:_TITLE_KEPT_CHARS]
        runs_command = known.runs_command or touched.runs_command(update)
        self._calls[call_id] = _Call(kind, title, runs_command, {**known.paths, **touched.paths(update, kind)})

    def _changed(self, call_id: str, update: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that an update sets; ACP leaves out, or makes null, what stays as it was."""
        changed: dict[str, Any] = {}
        if (name := _tool_name(update)) is not None:
            changed["name"] = name
        for name in ("title", "kind", "status"):
            if (text := _text_or_none(update, name)) is not None:
                changed[name] = text
        if (value := update.get("rawInput")) is not None:
            changed["args"] = value
        if isinstance(locations := update.get("locations"), list):
            changed["locations"] = [each for each in locations if isinstance(each, dict)]
        if isinstance(content := update.get("content"), list):
            changed["diffs"] = [
                {"path": part.get("path"), "old_text": part.get("oldText"), "new_text": part.get("newText")}
                for part in content
                if _is_diff(part)
            ]
            if call_id not in self._raw_results and (text := _content_text(content)):
                changed["result"] = text
        if (output := update.get("rawOutput")) is not None:
            changed["result"] = output
            self._raw_results.add(call_id)
        return changed

    def _plan(self, update: Mapping[str, Any]) -> Draft:
        return Draft(events.PLAN, {"entries": _need(update, "entries", list)})

    def _commands(self, update: Mapping[str, Any]) -> Draft:
        return Draft(events.COMMANDS, {"commands": _need(update, "availableCommands", list)})

    def _mode(self, update: Mapping[str, Any]) -> Draft:
        return Draft(events.MODE, {"mode": _need(update, "currentModeId", str)})

    def _usage(self, update: Mapping[str, Any]) -> Draft:
        known = {name: update[name] for name in ("used", "size", "cost") if update.get(name) is not None}
        return Draft(events.USAGE, known)


_KINDS: Final[Mapping[str, Callable[[Translator, Mapping[str, Any]], Draft | None]]] = {
    "agent_message_chunk": Translator._text,
    "agent_thought_chunk": Translator._thinking,
    "user_message_chunk": Translator._prompt_echo,
    "tool_call": Translator._tool_call,
    "tool_call_update": Translator._tool_call_update,
    "plan": Translator._plan,
    "available_commands_update": Translator._commands,
    "current_mode_update": Translator._mode,
    "usage_update": Translator._usage,
}


def _need(update: Mapping[str, Any], name: str, kind: type) -> Any:
    value = update.get(name)
    if not isinstance(value, kind):
        raise Shapeless
    return value


def _text_or_none(update: Mapping[str, Any], name: str) -> str | None:
    value = update.get(name)
    if value is not None and not isinstance(value, str):
        raise Shapeless
    return value


def _tool_name(update: Mapping[str, Any]) -> str | None:
    """The agent's own name of the tool: claude tells it in `_meta`."""
    meta = update.get("_meta")
    claude = meta.get("claudeCode") if isinstance(meta, dict) else None
    name = claude.get("toolName") if isinstance(claude, dict) else None
    return name if isinstance(name, str) else None


def _is_diff(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "diff"


def _content_text(content: list[Any]) -> str:
    blocks = (part.get("content") for part in content if isinstance(part, dict) and part.get("type") == "content")
    return "\n".join(
        block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)
    )


def _options(options: Any) -> list[PermissionOption]:
    return [
        PermissionOption(each["optionId"], str(each.get("name") or ""), str(each.get("kind") or ""))
        for each in (options if isinstance(options, list) else [])
        if isinstance(each, dict) and isinstance(each.get("optionId"), str)
    ]
