"""What a turn of the real `claude` gives: text, JSON, thinking, tool calls, usage, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge, Session
from clawdforge.testing.fake_model import FakeModel

# What the endpoint counts for each request.
INPUT, OUTPUT, CACHED = 100, 20, 10


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def test_a_run_returns_the_json_that_the_model_put_into_a_fence(app: Forge) -> None:
    result = app.run('[[JSON {"ripe": true, "fruits": ["fig", "plum"]}]]')
    assert (result.ok, result.stop_reason, result.agent) == (True, "end_turn", "claude")
    assert result.result == {"ripe": True, "fruits": ["fig", "plum"]}


def test_a_second_turn_still_knows_the_first(session: Session, model: FakeModel) -> None:
    first = session.turn("My bicycle is red. [[ECHO one]]")
    second = session.turn("What colour is it? [[ECHO two]]")
    assert second.turn_index == first.turn_index + 1
    told = [message["content"] for message in model.turns[-1].body["messages"]]
    assert "My bicycle is red." in json.dumps(told)
    turns_known = [int(turn.text().removeprefix("turns=").split()[0]) for turn in (first, second)]
    assert turns_known[1] == turns_known[0] + 1
    assert second.text().endswith("last=two")


def test_a_file_that_the_model_writes_is_there_and_its_tool_call_in_the_answer(session: Session) -> None:
    turn = session.turn("[[WRITE poem.txt roses are red]]")
    file = Path(session.cwd) / "poem.txt"
    assert file.read_text() == "roses are red"
    [call] = [event for event in turn.events if event["type"] == "tool_call"]
    assert (call["name"], call["kind"], call["status"]) == ("Write", "edit", "completed")
    assert call["args"] == {"file_path": "poem.txt", "content": "roses are red"}
    assert "File created successfully" in call["result"]
    assert call["diffs"] == [{"path": "poem.txt", "old_text": None, "new_text": "roses are red"}]
    assert turn.text() == f"TOOLDONE: {call['result']}"


def test_a_file_that_the_model_changes_shows_what_changed(session: Session) -> None:
    (Path(session.cwd) / "list.txt").write_text("bread\nmilk\n")
    change = {"file_path": "list.txt", "old_string": "milk", "new_string": "honey"}
    turn = session.turn(f"[[READ list.txt]][[TOOL Edit {json.dumps(change)}]]")
    assert (Path(session.cwd) / "list.txt").read_text() == "bread\nhoney\n"
    read, edit = [event for event in turn.events if event["type"] == "tool_call"]
    assert (read["name"], read["status"]) == ("Read", "completed")
    assert "milk" in read["result"]
    assert (edit["name"], edit["status"]) == ("Edit", "completed")
    [diff] = edit["diffs"]
    assert "milk" in diff["old_text"]
    assert "honey" in diff["new_text"]


def test_thinking_is_told_apart_from_the_answer(session: Session) -> None:
    turn = session.turn("[[THINK forty-two, surely]][[SAY the answer]]")
    assert types(turn.events) == ["thinking", "text"]
    assert turn.events[0]["content"] == "forty-two, surely"
    assert turn.text() == "the answer"


def test_usage_is_what_the_model_counted(session: Session) -> None:
    turn = session.turn("[[WRITE counted.txt x]]")
    requests = 2  # the call of the tool, and the answer to its result
    assert turn.usage is not None
    cost_usd = turn.usage.pop("cost_usd")
    assert turn.usage == {
        "input_tokens": requests * INPUT,
        "output_tokens": requests * OUTPUT,
        "cached_read_tokens": requests * CACHED,
        "cached_write_tokens": 0,
        "thought_tokens": 0,
        "total_tokens": requests * (INPUT + OUTPUT + CACHED),
        "source": "agent",
    }
    again = session.turn("[[WRITE counted.txt y]]").usage
    assert again is not None
    assert again["cost_usd"] == pytest.approx(cost_usd), "a turn's cost is its own, not the session's"
    assert cost_usd > 0


def test_model_effort_and_an_added_system_prompt_reach_the_model(app: Forge, model: FakeModel) -> None:
    options: dict[str, Any] = {"model": "claude-unheard-of-9", "effort": "low", "system": "Speak like a pirate."}
    result = app.run("[[SAY arr]]", **options)
    assert result.result == "arr"
    body = model.turns[-1].body
    assert body["model"] == "claude-unheard-of-9"
    assert body["output_config"]["effort"] == "low"
    system = [block["text"] for block in body["system"]]
    assert system[-1].endswith("\n\nSpeak like a pirate.")
    assert len(system[-1]) > 1_000, "its own instructions stay"


def test_a_system_prompt_can_take_the_place_of_its_own(app: Forge, model: FakeModel) -> None:
    options: dict[str, Any] = {"model": "sonnet", "effort": "max", "system_mode": "replace"}
    with app.session(system="Speak like a pirate.", **options) as session:
        for _ in range(2):
            session.turn("[[SAY arr]]")
            body = model.turns[-1].body
            assert body["system"][-1]["text"] == "Speak like a pirate."
            assert sum(len(block["text"]) for block in body["system"]) < 1_000
            assert body["model"].startswith("claude-sonnet-")
            assert body["output_config"]["effort"] == "max"


def test_it_speaks_with_the_gateways_key_to_the_gateways_endpoint(session: Session, model: FakeModel) -> None:
    session.turn("[[SAY who]]")
    assert model.turns[-1].headers["x-api-key"] == "sk-scripted-0123456789"
    assert not model.turns[-1].body["model"].startswith("claude-of-the-user")
    assert not [each for each in model.requests if each.kind == "side"], "nothing is asked that nobody asked for"


def test_an_upload_lies_in_the_workspace_and_is_named_to_the_model(
    app: Forge, session: Session, model: FakeModel, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("the cat sleeps")
    upload = app.upload_file(tmp_path / "notes.txt")
    turn = session.turn("[[READ notes.txt]]", files=[upload])
    assert (Path(session.cwd) / "notes.txt").read_text() == "the cat sleeps"
    assert "the cat sleeps" in turn.text()
    assert f"file://{session.cwd}/notes.txt" in json.dumps(model.turns[-1].body["messages"])


def test_a_prompt_of_a_megabyte_reaches_the_model_whole(session: Session, model: FakeModel) -> None:
    filler = "lorem ipsum " * (1024 * 1024 // 12)
    assert session.turn(f"{filler}[[SAY read it all]]").text() == "read it all"
    assert len(model.turns[-1].last_text) >= len(filler)


def test_a_refusal_is_no_success(session: Session) -> None:
    turn = session.turn("[[REFUSE]]")
    assert (turn.ok, turn.stop_reason) == (False, "refusal")
    assert "unable to respond to this request" in turn.text()


def test_it_goes_on_by_itself_where_the_model_ran_out_of_tokens(session: Session, model: FakeModel) -> None:
    turn = session.turn("[[SAY half of it]][[STOP max_tokens]]")
    assert (turn.ok, turn.stop_reason) == (True, "end_turn")
    assert turn.text().startswith("half of it")
    assert "Output token limit hit" in model.turns[-1].last_text


def test_an_end_without_a_word_is_empty_and_no_success(session: Session) -> None:
    turn = session.turn("[[EMPTY]]")
    assert (turn.ok, turn.stop_reason, turn.empty) == (False, "end_turn", True)
    assert turn.events == []


def test_an_answer_that_breaks_off_is_fetched_whole(session: Session) -> None:
    turn = session.turn("[[SLOW 10 0.001]][[CUT]]")
    assert (turn.ok, turn.stop_reason) == (True, "end_turn")
    assert turn.text() == "0 1 2 3 4 5 6 7 8 9 "
