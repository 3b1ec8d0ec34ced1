"""Stories of what a turn gives: text, JSON, thinking, tool calls, files, usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clawdforge.testing.fake_model import Request
from clawdforge.testing.stories.stage import Stage, expect
from clawdforge.wire.turns import TurnResult


def json_run(stage: Stage) -> None:
    value = {"ripe": True, "fruits": ["fig", "plum"]}
    result = stage.forge.run(f"[[JSON {json.dumps(value)}]]", agent=stage.agent)
    expect((result.ok, result.stop_reason) == (True, "end_turn"), "a run that ends well", result)
    expect(result.result == value, f"the result {value}", result.result)


def repaired(stage: Stage) -> None:
    word = stage.word()
    schema = {"type": "object", "properties": {word: {"type": "integer"}}, "required": [word]}
    wrong, right = ({word: value} for value in ("one", 1))
    turn = stage.turn(f"{word} [[SAY {json.dumps(wrong)}]][[THEN JSON {json.dumps(right)}]]", schema=schema)
    expect(turn.result == right, f"the result {right}", turn.result)
    expect(turn.schema_repaired is True, "it to be asked for again", turn.events)
    expect(turn.text() == f"```json\n{json.dumps(right)}\n```", "the second answer as the turn's", turn.text())
    expect('"required"' in _said(stage.request(word)), "the model to be told the schema", "nothing of it")
    again = stage.model.turns[-1]
    errors = [error for event in turn.events if event["type"] == "schema_repair" for error in event["errors"]]
    expect(bool(errors), "what was wrong with the first", turn.events)
    expect(all(error in _said(again) for error in errors), f"the model to be told {errors}", again.last_text)


def _said(request: Request) -> str:
    """All texts of a request to the model, as they are."""
    told = request.ask.user_texts if request.ask else ()
    return "\n".join(block for blocks in told for block in blocks)


def context(stage: Stage) -> None:
    fact = f"My bicycle is called {stage.word()}."
    first = stage.turn(f"{fact} [[ECHO one]]")
    word = stage.word()
    second = stage.turn(f"What is it called? {word} [[ECHO two]]")
    expect(second.turn_index == first.turn_index + 1, "the next turn of the session", second.turn_index)
    expect(
        fact in json.dumps(stage.request(word).body), "the model to be told the first turn again", "nothing of it"
    )
    known = [_turns_known(first), _turns_known(second)]
    expect(known[1] == known[0] + 1, "one more turn known to the model", known)


def _turns_known(turn: TurnResult) -> int:
    """The scripted model says how many turns it was told of."""
    _, found, rest = turn.text().partition("turns=")
    expect(bool(found), "the model's answer", turn.text())
    return int(rest.split()[0])


def thinking(stage: Stage) -> None:
    turn = stage.turn("[[THINK forty-two, surely]][[SAY the answer]]")
    thought = "".join(event["content"] for event in turn.events if event["type"] == "thinking")
    expect("forty-two, surely" in thought, "the model's thought as an event of its own", turn.events)
    expect("the answer" in turn.text() and "forty-two" not in turn.text(), "the answer alone as text", turn.text())


def writes(stage: Stage) -> None:
    name = f"{stage.word()}.txt"
    turn = stage.turn(f"[[WRITE {name} roses are red]]")
    file = Path(stage.session().cwd) / name
    expect(
        file.is_file(), f"the file {name} in the workspace", sorted(each.name for each in file.parent.iterdir())
    )
    expect(file.read_text().strip() == "roses are red", "its text", file.read_text())
    calls = [event for event in turn.events if event["type"] == "tool_call" and event["kind"] == "edit"]
    expect(bool(calls), "a tool call of the kind edit in the answer", turn.events)
    expect(calls[-1]["status"] == "completed", "it to be completed", calls[-1])
    expect(any(path.endswith(name) for path in _paths(calls[-1])), f"it to name {name}", calls[-1])


def _paths(call: Mapping[str, Any]) -> list[str]:
    return [each["path"] for each in (*call["locations"], *call["diffs"])]


def upload(stage: Stage) -> None:
    content = f"the cat sleeps on {stage.word()}"
    source = stage.outside / f"{stage.word()}.txt"
    source.write_text(content)
    token = stage.forge.upload_file(source)
    word = stage.word()
    turn = stage.turn(f"{word} [[READ {source.name}]]", files=[token])
    laid = Path(stage.session().cwd) / source.name
    expect(laid.is_file() and laid.read_text() == content, "the file in the workspace, unchanged", laid)
    expect(source.name in json.dumps(stage.request(word).body), "its name told to the model", "nothing of it")
    told = json.dumps(turn.events)
    expect(content in told, "its content in the answer to the model's tool call", turn.events)


def usage(stage: Stage) -> None:
    turn = stage.turn("[[SAY counted]]")
    told = turn.usage or {}
    expect(told.get("source") == "agent", "the tokens that the agent tells", turn.usage)
    expect(told.get("input_tokens", 0) > 0 and told.get("output_tokens", 0) > 0, "tokens in and out", turn.usage)
