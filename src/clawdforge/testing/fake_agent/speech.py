"""Verbs that speak: text, thoughts, tool calls that do nothing, plans, usage, and what the agent was told."""

from __future__ import annotations

import json
import os
import sys

from .turn import HANDED_OVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .turn import Turn, Verb


def echo(turn: Turn, text: str) -> None:
    turn.say(f"turn {turn.session.turn_count}: {text}")


def say(turn: Turn, text: str) -> None:
    turn.say(text)


def think(turn: Turn, text: str) -> None:
    turn.think(text)


def fenced_json(turn: Turn, text: str) -> None:
    turn.say(f"```json\n{text}\n```")


def then(turn: Turn, argument: str) -> None:
    verb, _, rest = argument.partition(" ")
    turn.session.then.append((verb, rest))


def tool(turn: Turn, argument: str) -> None:
    name, _, arguments = argument.partition(" ")
    raw_input = json.loads(arguments or "{}")
    call = turn.tool_call(name, "other", raw_input)
    turn.update("tool_call_update", toolCallId=call["toolCallId"], status="in_progress")
    turn.tool_done(call, "completed", {"echo": raw_input})


def plan(turn: Turn, argument: str) -> None:
    entries = [{"content": text, "priority": "medium", "status": "pending"} for text in argument.split("|")]
    turn.update("plan", entries=entries)


def usage(turn: Turn, _: str) -> None:
    cost(turn, "0.001")
    tell_tokens(turn, 1)


def usage_so_far(turn: Turn, _: str) -> None:
    turn.session.usage_count += 1
    tell_tokens(turn, turn.session.usage_count)


def tell_tokens(turn: Turn, times: int) -> None:
    tokens = {
        "inputTokens": 100 * times,
        "outputTokens": 20 * times,
        "cachedReadTokens": 10 * times,
        "cachedWriteTokens": 0,
        "totalTokens": 130 * times,
    }
    turn.usage = {"usage": tokens}
    turn.result = {**turn.result, **turn.usage}


def cost(turn: Turn, amount: str) -> None:
    turn.session.cost_usd = round(turn.session.cost_usd + float(amount), 9)
    turn.update("usage_update", used=130, size=200_000, cost={"amount": turn.session.cost_usd, "currency": "USD"})


def context(turn: Turn, used: str) -> None:
    turn.update("usage_update", used=int(used), size=200_000)


def commands(turn: Turn, _: str) -> None:
    turn.update(
        "available_commands_update",
        availableCommands=[{"name": "fake", "description": "Does nothing", "input": None}],
    )


def mode(turn: Turn, mode_id: str) -> None:
    turn.session.set_mode(mode_id)
    turn.update("current_mode_update", currentModeId=mode_id)


def unknown(turn: Turn, _: str) -> None:
    turn.update("brand_new_update", novelty={"level": 11})


def late(turn: Turn, text: str) -> None:
    turn.late_texts.append(text)


def last_words(turn: Turn, text: str) -> None:
    turn.agent.last_words = lambda: turn.say(text)


def cwd(turn: Turn, _: str) -> None:
    turn.say(os.getcwd())  # noqa: PTH109


def read(turn: Turn, name: str) -> None:
    try:
        with open(turn.path(name), "rb") as file:  # noqa: PTH123
            turn.say(file.read().decode(errors="replace"))
    except OSError as error:
        turn.say(f"cannot read {name}: {error.strerror}")


def meta(turn: Turn, _: str) -> None:
    say_json(turn, {"session": turn.session.meta, "prompt": turn.params.get("_meta")})


def system(turn: Turn, _: str) -> None:
    say_json(turn, (turn.session.meta or {}).get("systemPrompt"))


def recall(turn: Turn, _: str) -> None:
    conversation = turn.session.conversation
    say_json(turn, conversation.prompts if conversation else [])


def handed(turn: Turn, _: str) -> None:
    turn.say("".join(text for text in turn.texts() if text.startswith(HANDED_OVER)))


def say_json(turn: Turn, value: Any) -> None:
    turn.say(json.dumps(value, ensure_ascii=False))


VERBS: dict[str, Verb] = {
    "ECHO": echo,
    "SAY": say,
    "THINK": think,
    "JSON": fenced_json,
    "THEN": then,
    "TOOL": tool,
    "PLAN": plan,
    "USAGE": usage,
    "USAGE_SO_FAR": usage_so_far,
    "COST": cost,
    "CONTEXT": context,
    "COMMANDS": commands,
    "MODE": mode,
    "UNKNOWN": unknown,
    "LATE": late,
    "LAST_WORDS": last_words,
    "CWD": cwd,
    "HOME": lambda turn, _: turn.say(os.environ.get("HOME", "")),
    "PID": lambda turn, _: turn.say(str(os.getpid())),
    "ARGV": lambda turn, _: say_json(turn, sys.argv),
    "READ": read,
    "BLOCKS": lambda turn, _: say_json(turn, turn.params.get("prompt")),
    "META": meta,
    "SYSTEM": system,
    "RECALL": recall,
    "HANDED": handed,
    "CONFIG": lambda turn, _: say_json(turn, turn.session.settings),
    "CLIENT": lambda turn, _: say_json(turn, turn.agent.client),
}
