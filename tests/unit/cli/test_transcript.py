"""A session written down: turn by turn, complete, and readable whatever was said in it."""

from __future__ import annotations

import json

from clawdforge.cli import transcript
from clawdforge.client import telling
from clawdforge.client.events import Event
from unit.cli.happening import event, option, tool

STATE = {"session_id": "sess_1", "agent": "claude", "created_at": 0, "agent_cwd": "/w"}


def of_turn(turn: int | None, *happened: Event) -> list[Event]:
    return [telling.read({**each.data, "turn_index": turn}) for each in happened]


def markdown(*happened: Event) -> str:
    return "".join(transcript.as_markdown(STATE, happened))


def test_a_turn_is_told_from_its_prompt_to_its_end() -> None:
    text = markdown(
        *of_turn(None, event("agent_start", how="new")),
        event("turn_start", prompt="do\n\nit", files=["a.pdf"]),
        event("thinking", content="hm\n"),
        event("thinking", content="hm"),
        event("text", content="one "),
        event("text", content="two"),
        tool(status="in_progress", locations=[{"path": "/w/src/a.py"}]),
        event("tool_call_update", id="call-1", status="failed", result={"output": "no\n"}),
        event("plan", entries=[{"content": "a", "status": "completed"}, {"content": "b"}]),
        event("permission_request", permission_id="p", options=[option("allow_once")], expires_at=None),
        event("permission_answer", permission_id="p", decision="reject", by="policy:reads"),
        event("error", code="timeout", detail="too slow"),
        event("turn_end", stop_reason="timeout", ok=False, duration_ms=61_000),
    )

    assert text == (
        "# Session sess_1\n\nAgent claude, opened 1970-01-01 00:00:00Z.\n"
        "\n## Turn 1\n\n> do\n>\n> it\n\nFiles: a.pdf\n"
        "\n*Thinking:* hm hm\n\none two\n\n- ✗ edit Write src/a.py\n\n```\nno\n```\n"
        "\n- [x] a\n- [ ] b\n\n*Permission: reject, by policy:reads*\n"
        "\n**timeout**: too slow\n\n*timeout after 1 m 01 s*\n"
    )


def test_turns_that_overlap_are_told_one_after_the_other() -> None:
    end = event("turn_end", stop_reason="end_turn", ok=True, duration_ms=1)
    text = markdown(
        *of_turn(1, event("turn_start", prompt="first")),
        *of_turn(2, event("turn_queued", prompt="second")),
        *of_turn(1, event("text", content="one"), end),
        *of_turn(2, event("turn_start", prompt="second"), event("text", content="so far")),
    )

    assert text.index("> first") < text.index("one") < text.index("> second") < text.index("so far")
    assert text.count("## Turn") == 2


def test_no_text_ends_the_fence_that_it_stands_in() -> None:
    text = markdown(tool("completed", result="```\n````sh\n"), event("brand_new"), event("text"))

    assert "\n`````\n```\n````sh\n`````\n" in text


def test_an_edit_is_a_diff_and_a_long_result_is_cut() -> None:
    diff = {"path": "/w/a.txt", "old_text": "a\n", "new_text": "b\n"}
    text = markdown(tool("completed", diffs=[diff], result="x"), tool("completed", id="2", result="x" * 10_000))

    assert "\n```diff\n--- a.txt\n+++ a.txt\n@@ -1 +1 @@\n-a\n+b\n```\n" in text
    assert "x" * 2_000 + "…\n```\n" in text


def test_as_json_it_is_all_that_came() -> None:
    happened = [event("text", content="ü\ud800"), event("brand_new", level=11)]
    document = json.loads("".join(transcript.as_json(STATE, happened)))

    assert document == {"ok": True, "session": STATE, "events": [dict(each.data) for each in happened]}
    assert json.loads("".join(transcript.as_json(STATE, [])))["events"] == []
