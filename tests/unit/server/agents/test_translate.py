"""What three real agents said, word for word, becomes our events: `tests/golden` holds both sides."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.agents.translate import Translator
from clawdforge.server.agents.usage import Meter
from clawdforge.wire.events import Event
from clawdforge.wire.fold import Fold

GOLDEN = Path(__file__).parents[3] / "golden"
TRACES = sorted(GOLDEN.glob("*.jsonl"))


def messages(trace: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in trace.read_text().splitlines():
        entry = json.loads(line)
        if isinstance(entry["m"], dict):
            yield entry["d"], entry["m"]


def folded_turns(trace: Path) -> list[dict[str, Any]]:
    """Every turn of a trace, from its prompt to its answer, folded as the gateway folds it."""
    turns: list[dict[str, Any]] = []
    meters: dict[str, Meter] = defaultdict(lambda: Meter("prompt"))
    translator, fold, prompt_id, seq = Translator(), Fold(), None, 0
    for direction, message in messages(trace):
        if message.get("method") == "initialize":
            meters.clear()  # a fresh process
        elif direction == "out" and message.get("method") == "session/prompt":
            translator, fold, prompt_id, seq = Translator(), Fold(), message["id"], 0
            prompt = message["params"]["prompt"][0].get("text", "")[:80]
            meter = meters[message["params"]["sessionId"]]
            meter.prompted()
        elif direction == "in" and message.get("method") == "session/update":
            update = message["params"]["update"]
            if update["sessionUpdate"] == "usage_update":
                meters[message["params"]["sessionId"]].update(update)
            draft = translator.update(update)
            if draft is not None:
                seq += 1
                fold.add(Event(seq, draft.type, 1, 0, draft.data))
        elif direction == "in" and prompt_id is not None and message.get("id") == prompt_id:
            result = message.get("result") or {}
            events = [{k: v for k, v in e.items() if k not in ("ts", "turn_index")} for e in fold.result()]
            stop = result.get("stopReason")
            meter.answered(result)
            turns.append({"prompt": prompt, "stop": stop, "usage": asdict(meter.take()), "events": events})
            prompt_id = None
    return turns


@pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.stem)
def test_folds_every_turn_of_a_real_agent_as_it_was_read(trace: Path) -> None:
    expected = json.loads((GOLDEN / f"{trace.stem}.folded.json").read_text())
    assert folded_turns(trace) == expected


@pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.stem)
def test_loses_no_character_of_what_a_real_agent_said(trace: Path) -> None:
    said, kept = "", ""
    translator = Translator()
    for direction, message in messages(trace):
        if direction == "in" and message.get("method") == "session/update":
            update = message["params"]["update"]
            if update["sessionUpdate"] == "agent_message_chunk":
                said += update["content"]["text"]
            draft = translator.update(update)
            if draft is not None and draft.type == "text":
                kept += draft.data["content"]
    assert said
    assert kept == said


@pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.stem)
def test_knows_every_kind_of_update_that_real_agents_send(trace: Path) -> None:
    translator = Translator()
    unknown = {
        message["params"]["update"]["sessionUpdate"]
        for direction, message in messages(trace)
        if direction == "in" and message.get("method") == "session/update"
        if (draft := translator.update(message["params"]["update"])) is not None and draft.type == "other"
    }
    assert unknown <= {"session_info_update", "config_option_update"}


@pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.stem)
def test_reads_every_permission_request_of_a_real_agent(trace: Path) -> None:
    translator, asked = Translator(), 0
    for direction, message in messages(trace):
        if direction == "in" and message.get("method") == "session/request_permission":
            asked += 1
            ask = translator.permission("perm_1", message["params"])
            assert ask.kind in {"edit", "execute"}
            assert ask.tool_call_id
            assert {"allow_once", "reject_once"} <= {option.kind for option in ask.options}
            assert all(path.startswith("/") for path in ask.paths)
            assert ask.paths or ask.kind == "execute"
    assert asked


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"sessionUpdate": None},
        {"sessionUpdate": "never_heard_of", "x": 1},
        {"sessionUpdate": "agent_message_chunk"},
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "text"}},
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": 5}},
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": "AA=="}},
        {"sessionUpdate": "tool_call", "title": "no id"},
        {"sessionUpdate": "tool_call_update", "toolCallId": 7},
        {"sessionUpdate": "plan"},
        {"sessionUpdate": "available_commands_update", "availableCommands": "none"},
        {"sessionUpdate": "current_mode_update", "currentModeId": 3},
    ],
    ids=repr,
)
def test_keeps_whole_what_it_cannot_read(update: dict[str, Any]) -> None:
    draft = Translator().update(update)
    assert draft is not None
    assert (draft.type, draft.data) == ("other", {"acp": update})


def test_a_raw_result_is_not_overwritten_by_a_later_text() -> None:
    translator = Translator()
    translator.update({"sessionUpdate": "tool_call", "toolCallId": "a", "kind": "read"})
    translator.update({"sessionUpdate": "tool_call_update", "toolCallId": "a", "rawOutput": {"exit": 0}})
    text = [{"type": "content", "content": {"type": "text", "text": "seen"}}]
    draft = translator.update({"sessionUpdate": "tool_call_update", "toolCallId": "a", "content": text})
    assert draft is not None
    assert "result" not in draft.data


def test_a_permission_request_takes_its_kind_from_the_call_that_it_is_about() -> None:
    translator = Translator()
    translator.update({"sessionUpdate": "tool_call", "toolCallId": "a", "kind": "edit"})
    ask = translator.permission("perm_1", {"toolCall": {"toolCallId": "a"}, "options": None})
    assert (ask.kind, ask.options, ask.paths) == ("edit", (), ())


def test_a_permission_request_names_every_path_that_the_call_touches() -> None:
    call = {
        "toolCallId": "a",
        "kind": "move",
        "locations": [{"path": "/w/a"}, {"line": 1}],
        "content": [{"type": "diff", "path": "/w/b"}],
        "rawInput": {"path": "/w/a", "destination": "/etc/c"},
    }
    assert Translator().permission("perm_1", {"toolCall": call}).paths == ("/w/a", "/w/b", "/etc/c")


def test_an_option_that_the_agent_does_not_keep_is_not_passed_on() -> None:
    translator = Translator({("edit", "allow_always")})
    options = [{"optionId": kind, "name": kind, "kind": kind} for kind in ("allow_always", "allow_once")]

    def offered(kind: str) -> list[str]:
        params = {"toolCall": {"toolCallId": "t", "kind": kind}, "options": options}
        return [each.option_id for each in translator.permission("perm_1", params).options]

    assert offered("edit") == ["allow_once"]
    assert offered("execute") == ["allow_always", "allow_once"]


@pytest.mark.parametrize(
    "raw",
    [
        {"source": "/w/in", "target": "/etc/x"},
        {"old_path": "/w/in", "new_path": "/etc/x"},
        {"moves": [{"a": "/w/in", "whatever": ["/etc/x"]}]},
        ["/w/in", "/etc/x"],
        "/etc/x",
    ],
    ids=repr,
)
def test_every_text_in_the_raw_input_of_a_move_may_be_where_it_goes(raw: Any) -> None:
    call = {"toolCallId": "a", "kind": "move", "locations": [{"path": "/w/in"}], "rawInput": raw}
    assert Translator().permission("perm_1", {"toolCall": call}).paths == ("/w/in", "/etc/x")


def test_of_another_call_s_raw_input_only_what_is_named_like_a_path_counts() -> None:
    raw = {
        "filePath": "/w/a",
        "target_file": "/w/b",
        "files": ["/w/c", {"abs-path": "/w/d", "content": "not one"}],
        "edits": [{"path": "/w/e", "old_string": "not one", "path_count": 3}],
        "new_string": "not one",
        "file": {"text": "not one"},
    }
    ask = Translator().permission("perm_1", {"toolCall": {"kind": "edit", "rawInput": raw}})
    assert ask.paths == ("/w/a", "/w/b", "/w/c", "/w/d", "/w/e")


def test_a_file_that_a_patch_moves_away_is_touched_too() -> None:
    change = {"type": "update", "unified_diff": "@@", "move_path": "/w/a"}
    call = {"kind": "edit", "locations": [{"path": "/w/a"}], "rawInput": {"changes": {"/etc/x": change}}}
    assert Translator().permission("perm_1", {"toolCall": call}).paths == ("/w/a", "/etc/x")


@pytest.mark.parametrize("kind", ["read", "search", "edit"])
@pytest.mark.parametrize("raw", [{"command": ["bash", "-lc", "cat a | awk"]}, {"cmd": "cat a | awk"}], ids=repr)
def test_a_command_is_a_command_whatever_it_calls_itself(kind: str, raw: Any) -> None:
    call = {"toolCallId": "a", "kind": kind, "locations": [{"path": "/w/a"}]}
    assert Translator().permission("perm_1", {"toolCall": {**call, "rawInput": raw}}).kind == "execute"
    translator = Translator()
    told = translator.update({"sessionUpdate": "tool_call", **call, "rawInput": raw})
    assert told is not None
    assert told.data["kind"] == kind, "the agent's own word is what is shown"
    translator.update({"sessionUpdate": "tool_call_update", "toolCallId": "a", "rawInput": {}})
    assert translator.permission("perm_2", {"toolCall": call}).kind == "execute"
    assert Translator().permission("perm_3", {"toolCall": {**call, "rawInput": {"command": None}}}).kind == kind


def test_a_permission_request_takes_what_it_leaves_out_from_the_call_s_updates() -> None:
    translator = Translator()
    told = {"toolCallId": "a", "title": "Edit a", "kind": "edit", "locations": [{"path": "/w/a"}]}
    translator.update({"sessionUpdate": "tool_call", **told})
    translator.update({"sessionUpdate": "tool_call_update", "toolCallId": "a", "rawInput": {"path": "/etc/b"}})
    bare = translator.permission("perm_1", {"toolCall": {"toolCallId": "a"}})
    assert (bare.title, bare.kind, bare.paths) == ("Edit a", "edit", ("/w/a", "/etc/b"))
    said = {"toolCallId": "a", "title": "Edit c", "locations": [{"path": "/w/c"}]}
    full = translator.permission("perm_2", {"toolCall": said})
    assert (full.title, full.kind, full.paths) == ("Edit c", "edit", ("/w/c", "/etc/b"))
    other = translator.permission("perm_3", {"toolCall": {"toolCallId": "b"}})
    assert (other.title, other.kind, other.paths) == ("", "other", ())
    translator.turn_over()
    assert translator.permission("perm_4", {"toolCall": {"toolCallId": "a"}}).paths == ()


@pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.stem)
def test_what_a_real_agent_asks_for_was_told_before(trace: Path) -> None:
    """And in its turn each call is told of once, whatever comes first."""
    translator, told, asked = Translator(), dict[str, dict[str, Any]](), 0
    for direction, message in messages(trace):
        method, params = message.get("method"), message.get("params")
        if direction == "out" and method == "session/prompt":
            translator, told = Translator(), {}
        if direction != "in" or method not in ("session/update", "session/request_permission"):
            continue
        assert isinstance(params, dict)
        update = method == "session/update"
        draft = translator.update(params["update"]) if update else translator.asked_about(params)
        if draft is not None and draft.type == "tool_call":
            assert draft.data["id"] not in told
            told[draft.data["id"]] = dict(draft.data)
        elif draft is not None and draft.type == "tool_call_update":
            told[draft.data["id"]] |= draft.data
        if not update:
            asked += 1
            call = told[params["toolCall"]["toolCallId"]]
            # Of a command the title is enough.
            assert call["args"] or call["diffs"] or call["kind"] == "execute", call
    assert asked


def test_a_call_that_is_asked_for_first_has_no_result_and_goes_on() -> None:
    translator = Translator()
    diff = {"type": "diff", "path": "/w/a", "oldText": None, "newText": "x"}
    words = {"type": "content", "content": {"type": "text", "text": "Shall I?"}}
    call = {"toolCallId": "a", "kind": "edit", "title": "Write a", "content": [words, diff]}
    first = translator.asked_about({"toolCall": call})
    assert first is not None
    assert (first.type, first.data["status"], first.data["result"]) == ("tool_call", "pending", None)
    assert first.data["diffs"] == [{"path": "/w/a", "old_text": None, "new_text": "x"}]
    assert translator.asked_about({"toolCall": call}) is None
    done = {"sessionUpdate": "tool_call", "toolCallId": "a", "status": "completed", "content": [diff]}
    later = translator.update(done)
    assert later is not None
    assert (later.type, later.data["status"]) == ("tool_call_update", "completed")


@pytest.mark.parametrize("call", [None, 7, {}, {"toolCallId": 7}, {"toolCallId": "a", "title": []}])
def test_a_request_about_nothing_that_makes_sense_tells_of_no_call(call: Any) -> None:
    assert Translator().asked_about({"toolCall": call}) is None
