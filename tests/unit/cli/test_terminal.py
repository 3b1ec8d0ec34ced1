"""What a person sees on a real terminal: the command runs in a pseudo-terminal of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
from typing import Any

import pytest

from clawdforge.cli import terminal

HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\x9b31md\x7fe\u202ef\rg\r\nh\ti\x00 ü🚲\u200d\u3000"


def test_a_terminal_is_shown_signs_instead_of_orders() -> None:
    shown = terminal.printable(HOSTILE)

    assert shown == "a␛]0;title␇b␛[2Jc\\x9b31md\\x7fe\\u202ef␍g\nh\ti␀ ü🚲\u200d\u3000"


def test_a_half_of_a_surrogate_pair_can_be_printed() -> None:
    assert terminal.printable("x\ud800y") == "x\\ud800y"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "1970-01-01 00:00:00Z"),
        (1_700_000_000, "2023-11-14 22:13:20Z"),
        (None, "-"),
        ("soon", "-"),
        (True, "-"),
        (10**20, str(10**20)),
        (-(10**15), str(-(10**15))),
    ],
)
def test_times_are_utc_and_nonsense_is_no_crash(value: Any, shown: str) -> None:
    assert terminal.time_text(value) == shown


@pytest.mark.parametrize(
    ("ago_s", "shown"),
    [
        (0, "now"),
        (59, "now"),
        (60, "1m"),
        (3_599, "59m"),
        (3_600, "1h"),
        (47 * 3_600, "47h"),
        (48 * 3_600, "2d"),
        (-1, "2023-11-14 22:13:21Z"),
        (1_700_000_000, "19675d"),
        (1_700_000_001, "1969-12-31 23:59:59Z"),
    ],
)
def test_an_age_is_short_and_what_is_not_past_is_a_time(ago_s: int, shown: str) -> None:
    assert terminal.age_text(1_700_000_000 - ago_s, 1_700_000_000.5) == shown


def test_an_age_of_nothing_is_nothing() -> None:
    assert [terminal.age_text(value, 9) for value in (None, "soon", True)] == ["-"] * 3


def test_without_a_terminal_there_is_no_sign_of_life(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.waiting("x"):
        pass
    with terminal.download_bar() as progress:
        progress("x", 1, 2)

    assert capsys.readouterr() == ("", "")


def in_terminal(
    arguments: list[str], program: tuple[str, ...] = ("-m", "clawdforge"), columns: int = 100, **env: str
) -> tuple[int, str]:
    """Runs Python with a terminal as its stdout and stderr; returns its exit code and what it wrote there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    command = [sys.executable, *program, *arguments]
    # What stands in the environment counts before what the terminal itself says of its size.
    around = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env={**around, "TERM": "xterm", **env}
    )
    os.close(theirs)
    written = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # how a pseudo-terminal says that its last writer is gone
                break
            if not piece:
                break
            written += piece
    finally:
        os.close(ours)
    return child.wait(60), written.decode()


def test_an_agents_words_cannot_steer_the_terminal(live_gateway: Any) -> None:
    live_gateway.body = (
        b'{"ok": true, "result": "\\u001b]0;owned\\u0007 \\u009b31m \\u202e end", '
        b'"duration_ms": 1, "stop_reason": "end_turn"}'
    )

    code, written = in_terminal(["run", "x"])

    assert code == 0
    assert "␛]0;owned␇ \\x9b31m \\u202e end" in written
    for order in ("\x1b]0;", "\x07", "\x9b", "\u202e"):
        assert order not in written


def test_an_error_cannot_steer_the_terminal_either(live_gateway: Any) -> None:
    live_gateway.status = 502
    live_gateway.body = b'{"detail": "x", "code": "agent_failed", "stderr_tail": "\\u001b[2Jgone"}'

    code, written = in_terminal(["run", "x"])

    assert code == 5
    assert "␛[2Jgone" in written
    assert "\x1b[2J" not in written


def test_while_one_waits_on_a_terminal_time_goes_by(live_gateway: Any) -> None:
    _, written = in_terminal(["run", "x", "--agent", "co\x1bdex"])

    assert "co␛dex works" in written
    assert " · 0.0 s" in written
    assert "hello" in written


def test_names_in_a_table_cannot_steer_the_terminal(live_gateway: Any) -> None:
    live_gateway.body = (
        b'{"ok": true, "count": 1, "sessions": '
        b'[{"session_id": "sess_1", "agent": "[red]\\u001b[31mred", "turn_count": 1}]}'
    )

    code, written = in_terminal(["session", "list"])

    assert code == 0
    assert "[red]␛[31mred" in written
    assert "\x1b[31m" not in written


SESSION = "sess_0123456789abcdef0123456789abcdef"
SESSIONS = [{"session_id": SESSION, "agent": "claude", "turn_count": 1, "created_at": 0, "last_turn_at": 0}]


@pytest.mark.parametrize("columns", [80, 40])
def test_a_table_tears_no_id_however_narrow_the_terminal_is(live_gateway: Any, columns: int) -> None:
    live_gateway.body = json.dumps({"ok": True, "count": 1, "sessions": SESSIONS}).encode()

    _, written = in_terminal(["session", "list"], columns=columns, NO_COLOR="1")

    lines = re.sub(r"\x1b\[[0-9]*m", "", written).splitlines()
    assert all(len(line) <= columns and line == line.rstrip() for line in lines)
    told = [line.split() for line in lines]
    if columns == 80:
        assert told[0][:3] == ["SESSION", "AGENT", "TURNS"]
        assert told[1][:3] == [SESSION, "claude", "1"]
        assert lines[0].index("TURNS") == lines[1].index("1  ")
    else:
        assert told[0] == ["SESSION"]
        assert (told[-2], told[-1][:2]) == ([SESSION], ["claude", "1"])


def test_a_record_tells_times_on_a_terminal(live_gateway: Any) -> None:
    live_gateway.body = b'{"ok": true, "created_at": 0, "closed_at": null, "turn_count": 0}'

    _, written = in_terminal(["session", "get", "sess_1"])

    assert written.splitlines() == ["created_at: 1970-01-01 00:00:00Z", "closed_at: -", "turn_count: 0"]


def test_a_line_that_is_too_long_is_cut() -> None:
    script = "from clawdforge.cli import terminal; terminal.line(('ab cd ' * 20, 'dim'), ('ef', ''))"

    _, written = in_terminal([], program=("-c", script), columns=40, NO_COLOR="1")

    (line,) = re.sub(r"\x1b\[[0-9]*m", "", written).splitlines()
    assert (len(line), line[-3:]) == (40, "b …")


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"TERM": ""}, False)],
)
def test_no_color_is_respected(live_gateway: Any, env: dict[str, str], coloured: bool) -> None:
    live_gateway.body = b'{"ok": true, "count": 0, "sessions": []}'

    code, written = in_terminal(["session", "list"], **env)

    assert code == 0
    assert "SESSION" in written
    # Bold is no colour: NO_COLOR leaves it alone, a dumb terminal has neither.
    colours = [f"\x1b[{attribute}" for attribute in ("3", "9", "4", "38", "1;3")]
    assert not any(colour in written for colour in colours)
    assert ("\x1b[" in written) == ("TERM" not in env)


def test_a_download_is_a_bar_on_a_terminal() -> None:
    script = (
        "from clawdforge.cli import terminal\n"
        "with terminal.download_bar() as progress:\n"
        "    progress('[b]mo\\x1bdel', 10, None)\n"
        "    progress('[b]mo\\x1bdel', 3_000_000, 6_000_000)\n"
        "    progress('[b]mo\\x1bdel', 6_000_000, 6_000_000)\n"
    )

    code, written = in_terminal([], program=("-c", script))

    assert code == 0
    assert "[b]mo␛del" in written
    assert "6.0/6.0 MB" in written
