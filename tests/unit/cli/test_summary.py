"""Events and tool calls in one line."""

from __future__ import annotations

from typing import Any

import pytest

from clawdforge.cli import patches, summary
from clawdforge.client.events import Event, ToolDiff, ToolLocation
from unit.cli.happening import event, printed, request, tool


@pytest.mark.parametrize(
    ("happened", "line"),
    [
        (event("text", content="a\n\n b"), "a b"),
        (event("thinking", content="hm"), "hm"),
        (tool(locations=[{"path": "/w/a.txt"}]), "edit Write /w/a.txt (pending)"),
        (tool(title="", kind="other"), "Write (pending)"),
        (event("tool_call_update", id="c", status="completed", result="ok\nfine"), "c (completed) ok fine"),
        (event("plan", entries=[{"content": "a", "status": "completed"}, {"content": "b"}]), "1/2 done: a; b"),
        (request(), "perm_1 edit Write a.txt"),
        (event("permission_answer", permission_id="p", decision="allow", by="app:x"), "p allow by app:x"),
        (event("turn_queued", prompt="later"), "later"),
        (event("turn_start", prompt="do\nit"), "do it"),
        (event("turn_end", stop_reason="end_turn", ok=True, duration_ms=1234), "end_turn after 1.2 s"),
        (event("error", code="timeout", detail="slow"), "timeout: slow"),
        (event("agent_start", how="native"), "native"),
        (event("mode", mode="plan"), "plan"),
        (event("commands", commands=[{"name": "init"}, {"name": "review"}]), "/init /review"),
        (event("usage", used=5, size=10), "5 of 10 tokens of context"),
        (event("session_closed", reason="idle"), "idle"),
        (event("session_closed"), ""),
        (event("other", acp={"a": 1}), '{"acp":{"a":1}}'),
        (event("brand_new", level=11), '{"level":11}'),
    ],
)
def test_an_event_is_a_line(happened: Event, line: str) -> None:
    assert summary.summary(happened) == line


def test_no_line_is_endless() -> None:
    assert len(summary.summary(event("text", content="word " * 100_000))) <= 2_000
    assert len(summary.summary(event("other", acp={"x": "y" * 100_000}))) <= 2_000


@pytest.mark.parametrize(
    ("kind", "title", "path", "line"),
    [
        ("edit", "Write", "/w/a/b.py", "edit Write a/b.py"),
        ("edit", "Write b.py", "/w/a/b.py", "edit Write b.py"),
        ("read", "Read /w/a/b.py", "/w/a/b.py", "read Read /w/a/b.py"),
        ("execute", "make test", None, "execute make test"),
        ("other", "Task", None, "Task"),
        ("fetch", "fetch", None, "fetch"),
        ("think", "", None, "think"),
    ],
)
def test_a_tool_call_is_told_by_kind_title_and_place(kind: str, title: str, path: str | None, line: str) -> None:
    locations = () if path is None else (ToolLocation(path),)
    assert summary.tool_line(kind, title, locations, "/w") == line


def test_of_a_long_title_one_sees_that_it_is_cut() -> None:
    assert summary.one_line("x" * 2_000) == "x" * 2_000
    assert summary.one_line("x " * 2_000)[-2:] == "x…"
    assert summary.one_line("x" + " " * 10_000 + "rm -rf") == "x…"
    assert summary.one_line("x" * 2_001)[-1] == "…"


@pytest.mark.parametrize(
    ("args", "title", "shown"),
    [
        (None, "x", ""),
        ({}, "x", ""),
        ({"command": "ls -l"}, "`ls -l`", ""),
        ({"command": "ls -l; rm a", "timeout": 5}, "ls -l", "command: ls -l; rm a"),
        ({"command": ["sh", "-c", "rm a"], "cwd": "/w"}, "List /w", "command: sh -c 'rm a'"),
        ({"url": "http://x", "count": 1}, "http://x", ""),
        ({"url": "http://x"}, "Fetch", "url: http://x"),
        ({"command": 5, "x": "y"}, "y", '{"command":5,"x":"y"}'),
        (["rm", "a"], "rm a", '["rm","a"]'),
    ],
)
def test_what_a_tool_is_given_is_shown_unless_its_title_says_it(args: Any, title: str, shown: str) -> None:
    assert summary.args_text(args, title) == shown


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0.0 s"), (9_940, "9.9 s"), (12_345, "12 s"), (59_700, "1 m 00 s"), (185_000, "3 m 05 s")],
)
def test_a_duration_is_told_as_people_do(ms: int, text: str) -> None:
    assert summary.seconds_text(ms) == text


def edit(old: str | None, new: str | None, limit: int = 99) -> list[str]:
    return printed(patches.edit(ToolDiff("/w/a", old, new), "a", limit)).rstrip("\n").split("\n")


def test_an_edit_is_a_unified_diff_and_a_long_one_is_counted() -> None:
    assert edit("a\n", "b\n") == ["--- a", "+++ a", "@@ -1 +1 @@", "-a", "+b"]
    assert edit(None, "x\n" * 10, limit=5) == [
        "--- /dev/null",
        "+++ a",
        "@@ -0,0 +1,10 @@",
        "+x",
        "+x",
        "… 8 more lines",
    ]


def test_texts_too_long_to_be_compared_are_told_by_their_size() -> None:
    assert edit("a\n" * 5000, "b\n" * 6000)[-1] == "@@ 5000 lines become 6000 @@"
    assert edit("a", None) == ["--- a", "+++ a", "@@ -1 +0,0 @@", "-a"]


@pytest.mark.parametrize(
    ("line", "style"),
    [
        ("+new", "green"),
        ("-old", "red"),
        ("+++ b/x", "bold"),
        ("--- a/x", "bold"),
        ("@@ -1 +1 @@", "cyan"),
        ("diff --git a/x b/x", "bold"),
        (" same", None),
    ],
)
def test_the_lines_of_a_patch_have_their_colours(line: str, style: str | None) -> None:
    spans: list[Any] = patches.coloured([line]).spans
    assert [span.style for span in spans] == ([] if style is None else [style])
