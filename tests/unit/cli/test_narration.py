"""What a person reads of a turn: events in, lines out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clawdforge.cli.narration import Narration
from clawdforge.client.events import Event, PermissionRequestEvent
from unit.cli.happening import event, option, printed, request, tool

CWD = "/workspace"
GOLDEN = Path(__file__).parents[2] / "golden"


def told(*happened: Event, finish: bool = True, cwd: str | None = CWD) -> str:
    narration = Narration(cwd)
    for each in happened:
        narration.take(each)
    if finish:
        narration.finish()
    return printed(*narration.drain())


def asked(*happened: Event) -> str:
    """What is told to somebody who is asked about the last of these."""
    narration = Narration(CWD)
    for each in happened:
        narration.take(each)
    assert isinstance(happened[-1], PermissionRequestEvent)
    what = narration.ask(happened[-1])
    return printed(*narration.drain(), what)


def text(content: str) -> Event:
    return event("text", content=content)


def test_text_is_said_block_by_block_and_only_once() -> None:
    narration = Narration()
    narration.take(text("one\n\ntw"))

    assert printed(*narration.drain()) == "one\n"
    assert printed(*narration.drain()) == ""
    assert printed(narration.live(9)) == "tw\n"

    narration.take(text("o"))
    narration.finish()

    assert printed(*narration.drain()) == "\ntwo\n"
    assert printed(narration.live(9)) == ""


def test_messages_do_not_run_into_each_other() -> None:
    pieces = [("a", "one "), ("a", "message"), ("b", "another"), (None, " and"), (None, " more")]
    said = told(*(event("text", content=content, message_id=name) for name, content in pieces))

    assert said == "one message\n\nanother\n\nand more\n"


@pytest.mark.parametrize("recorded", sorted(GOLDEN.glob("*.folded.json")), ids=lambda path: path.stem)
def test_what_real_agents_have_told_can_be_told(recorded: Path) -> None:
    turns = [turn["events"] for turn in json.loads(recorded.read_text())]
    assert len(turns) > 20
    for happened in turns:
        said = told(*(event(each.pop("type"), **{**each, "seq": n}) for n, each in enumerate(happened, start=1)))
        titles = [each["title"] for each in happened if each.get("title")]
        assert all(" ".join(title.split()) in " ".join(said.split()) for title in titles)


def test_a_thought_is_short() -> None:
    said = told(
        event("thinking", content="**I  wonder**\n"), event("thinking", content="why " * 500), text("Because.")
    )

    thought, _, answer = said.rpartition("\n\n")
    assert thought.startswith("I wonder why why")
    assert thought.endswith("…")
    assert len(thought) < 300
    assert answer == "Because.\n"


def test_while_it_thinks_the_thought_is_seen() -> None:
    narration = Narration()
    narration.take(event("thinking", content="hm\nhm"))

    assert narration.drain() == []
    assert printed(narration.live(9)) == "… hm hm\n"


def test_a_tool_call_is_one_line_in_its_last_state_and_its_result() -> None:
    narration = Narration(CWD)
    narration.take(tool(locations=[{"path": f"{CWD}/src/a.py"}], kind="read", title="Read"))

    assert printed(narration.live(9)) == "○ read Read src/a.py\n"

    narration.take(event("tool_call_update", id="call-1", status="in_progress"))
    assert printed(narration.live(9)) == "● read Read src/a.py\n"
    assert narration.drain() == []

    narration.take(event("tool_call_update", id="call-1", status="completed", result=f"1\t{CWD}/x\n2\tb"))
    assert printed(*narration.drain()) == "✓ read Read src/a.py\n  ⎿ 1 x 2 b\n"
    assert printed(narration.live(9)) == ""


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ("plain", "  ⎿ plain"),
        ({"exit": 0, "output": "done\n"}, "  ⎿ done"),
        ({"exit": 1}, '  ⎿ {"exit":1}'),
        ([1, 2], "  ⎿ [1,2]"),
        (None, None),
        ("", None),
    ],
)
def test_a_result_is_what_a_tool_wrote(result: Any, shown: str | None) -> None:
    assert told(tool("failed", title="make", kind="execute", result=result)).split("\n")[1:-1] == (
        [] if shown is None else [shown]
    )


def test_an_edit_is_shown_as_a_diff() -> None:
    diff = {"path": f"{CWD}/a.txt", "old_text": "a\nb\n", "new_text": "a\nc\n"}

    assert told(tool("completed", diffs=[diff], result="wrote it")) == (
        "✓ edit Write\n--- a.txt\n+++ a.txt\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    )


def test_an_edit_that_is_asked_for_is_shown_ahead_of_the_question_and_not_again() -> None:
    diff = {"path": f"{CWD}/a.txt", "old_text": None, "new_text": "c\n"}
    narration, about = Narration(CWD), request("allow_once")
    for each in (text("I write."), tool(diffs=[diff]), about):
        narration.take(each)
    assert isinstance(about, PermissionRequestEvent)

    assert narration.ask(about) == "edit Write a.txt"
    assert printed(*narration.drain()) == "I write.\n\n--- /dev/null\n+++ a.txt\n@@ -0,0 +1 @@\n+c\n"

    narration.take(event("permission_answer", permission_id="perm_1", decision="allow", by="app:me"))
    narration.take(event("tool_call_update", id="call-1", status="completed", diffs=[diff]))
    narration.finish()

    assert printed(*narration.drain()) == "✓ edit Write\n"


def test_who_is_asked_sees_more_of_an_edit() -> None:
    diff = {"path": "a", "old_text": None, "new_text": "x\n" * 300}

    assert told(tool("completed", diffs=[diff])).count("+x") == 37
    assert asked(tool(diffs=[diff]), request("allow_once")).count("+x") == 300


def test_who_is_asked_sees_what_a_tool_is_given() -> None:
    call = tool(kind="execute", title="Terminal", args={"command": f"rm -rf {CWD}/../x"})

    assert asked(call, request("allow_once")).startswith("  command: rm -rf /workspace/../x\n")
    assert "command" not in told(call, request("allow_once")), "where nobody is asked"


def test_what_was_not_allowed_is_told_with_the_reason() -> None:
    refused = event("permission_answer", permission_id="p", decision="reject", by="policy:workspace")
    assert "✗ not allowed (policy:workspace)\n" in told(tool(), request(), refused)


@pytest.mark.parametrize(
    ("stop_reason", "ok", "says"),
    [
        ("end_turn", True, ""),
        ("end_turn", False, "(no answer)\n"),
        ("cancelled", False, "(cancelled)\n"),
        ("max_tokens", True, "(max_tokens)\n"),
    ],
)
def test_an_end_that_is_none_of_an_answer_is_told(stop_reason: str, ok: bool, says: str) -> None:
    assert told(event("turn_end", stop_reason=stop_reason, ok=ok, duration_ms=5), finish=False) == says


def test_a_plan_is_a_checklist_told_in_its_last_state() -> None:
    narration = Narration()
    for done in range(3):
        status = ["completed"] * done + ["in_progress"] + ["pending"] * (2 - done)
        entries = [{"content": f"step {n}", "status": each} for n, each in enumerate(status)]
        narration.take(event("plan", entries=entries))

    assert printed(narration.live(9)) == "☒ step 0\n☒ step 1\n◐ step 2\n"
    assert narration.drain() == []
    narration.finish()
    assert printed(*narration.drain()) == "☒ step 0\n☒ step 1\n◐ step 2\n"


def test_of_a_long_plan_the_part_that_is_worked_on_is_seen() -> None:
    narration = Narration()
    entries = [{"content": f"step {n}", "status": "completed" if n < 15 else "pending"} for n in range(20)]
    narration.take(event("plan", entries=entries))

    assert printed(narration.live(99)).split("\n")[:3] == ["☒ step 12", "☒ step 13", "☒ step 14"]


def test_what_may_change_is_never_more_than_the_lines_that_there_are() -> None:
    narration = Narration()
    narration.take(text("\n".join(f"- {number}" for number in range(50)) + "\n" + "word " * 500 + "end"))

    shown = printed(narration.live(5)).rstrip("\n").split("\n")
    assert len(shown) == 5
    assert shown[-1].endswith("end")


def test_a_tail_longer_than_the_terminal_is_shown_as_far_as_it_can_be_seen() -> None:
    narration = Narration()
    narration.take(text("x" * 5000 + "the end"))

    assert printed(narration.live(4)).rstrip("\n").endswith("the end")


def test_the_end_says_what_went_wrong_and_leaves_no_tool_untold() -> None:
    end = event("turn_end", stop_reason="timeout", ok=False, duration_ms=5)
    said = told(tool("in_progress"), event("error", code="timeout", detail="too slow"), end, finish=False)

    assert said == "✗ timeout: too slow\n\n● edit Write\n"


@pytest.mark.parametrize(
    ("happened", "says"),
    [
        (event("agent_start", how="replayed"), "started anew"),
        (event("agent_start", how="new"), ""),
        (event("mode", mode="plan"), "mode plan"),
        (event("tool_call_update", id="never told", status="completed"), ""),
        (event("usage", used=1, size=2), ""),
        (event("brand_new", x=1), ""),
    ],
)
def test_other_events_are_told_only_where_they_matter(happened: Event, says: str) -> None:
    assert says in told(happened)
    assert bool(told(happened)) == bool(says)


def test_no_event_can_steer_the_terminal() -> None:
    evil = "\x1b]0;x\x07\x9b2J\u202e"
    happened = [
        text(f"{evil} [link{evil}](http://x/{evil}) `{evil}`\n\n"),
        event("thinking", content=evil + "thought"),
        tool("failed", title=evil, result=evil, diffs=[{"path": evil, "old_text": None, "new_text": evil}]),
        tool(id="2", title=evil, locations=[{"path": evil}]),
        request(title=evil, options=[option("allow_once", evil)]),
        event("permission_answer", permission_id="p", decision="reject", by=evil, reason=evil),
        event("plan", entries=[{"content": evil}]),
        event("mode", mode=evil),
        event("error", code=evil, detail=evil),
    ]

    said = told(*happened)

    assert "␛]0;x␇" in said
    assert not set("\x1b\x07\x9b\u202e") & set(said)
