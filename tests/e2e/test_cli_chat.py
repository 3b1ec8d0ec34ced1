"""`clawdforge chat` as a person has it: a real terminal, a real gateway, an agent that does what it is told."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.command import Command, command_of
from harness.gateway import Gateway
from harness.permissions import until_asked
from harness.terminal import CTRL_C, CTRL_D, ENTER, ESCAPE, Terminal

SIGN = "› "


@pytest.fixture
def command(gateway: Gateway, tmp_path: Path) -> Iterator[Command]:
    with command_of(gateway, tmp_path) as yours:
        yield yours


def say(terminal: Terminal, prompt: str, then: str = SIGN) -> None:
    """Types a prompt and waits for what it leads to."""
    terminal.type(prompt + ENTER)
    terminal.until(prompt)  # its echo
    terminal.until(then)


def the_session(command: Command) -> str:
    (row,) = command.forge.list_sessions()["sessions"]
    return str(row["session_id"])


def test_a_conversation(command: Command) -> None:
    (command.home / "note.txt").write_text("noted")
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        say(terminal, "hello **you**")
        say(terminal, '[[THINK I wonder]][[TOOL Look {"a": 1}]][[PLAN first|second]][[SAY - one]]')
        terminal.type("two\\" + ENTER + "lines" + ENTER)
        terminal.until("turn 3: two")
        terminal.until(SIGN)
        terminal.type("\x1b[200~pasted\nlines\x1b[201~" + ENTER)
        terminal.until("turn 4: pasted")
        terminal.until(SIGN)
        terminal.type("/att\tno\t" + ENTER)
        terminal.until("note.txt goes with the next prompt.")
        terminal.until(SIGN)
        say(terminal, "[[READ note.txt]]")
        say(terminal, "/files")
        say(terminal, "/nonsense")
        say(terminal, "//nonsense")
        say(terminal, "/diff 1 2")
        terminal.type(CTRL_D)
        assert terminal.end() == 0

    seen = "\n".join(terminal.screen)
    assert "\nturn 1: hello you\n" in seen
    assert '\nI wonder\n\n✓ Look\n  ⎿ {"echo":{"a":1}}\n\n • one\n\n☐ first\n☐ second\n' in seen
    assert "\nturn 3: two lines\n" in seen
    assert "\nnote.txt goes with the next prompt.\n" in seen
    assert "\nnoted\n" in seen
    assert "\nnote.txt  5 bytes\n" in seen
    assert "there is no command /nonsense" in seen
    assert "\nturn 6: /nonsense\n" in seen
    assert "\none word at most" in seen
    assert "works" not in seen, "what was drawn while one waited is gone"
    assert seen.rstrip().endswith(f"resume: clawdforge chat --session {the_session(command)}")
    assert command.forge.get_session(the_session(command))["live"]


def test_what_the_agent_asks_is_asked_and_answered_by_a_key(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        say(terminal, "[[OPTIONS allow_once|reject_once]][[WRITE a.txt one]]", "Esc cancels the turn")
        terminal.type("y")
        terminal.until("✓ edit Write a.txt")
        terminal.until(SIGN)
        say(terminal, "[[OPTIONS allow_once|reject_once]][[WRITE b.txt two]]", "Esc cancels the turn")
        terminal.type("2")
        terminal.until("✗ not allowed (app:")
        terminal.until(SIGN)
        say(terminal, "/diff 1")
        terminal.type(CTRL_D)
        assert terminal.end() == 0

    seen = "\n".join(terminal.screen)
    assert "--- /dev/null\n+++ a.txt\n@@ -0,0 +1 @@\n+one\n? edit Write a.txt\n" in seen
    assert "  [1 y] Allow Once   [2 n] Reject Once   Esc cancels the turn\n  → Allow Once\n" in seen
    assert "turn 1, 1 file\n  A a.txt\ndiff --git a/a.txt b/a.txt\n" in seen
    assert "\x1b[32m+one" in terminal.written, "in colours"
    with pytest.raises(Exception, match="not found"):
        command.forge.attach_session(the_session(command)).files.get("b.txt")


def test_of_a_long_diff_the_beginning_is_shown(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake", "--permissions", "allow") as terminal:
        terminal.until(SIGN)
        say(terminal, "[[SH seq 1 1000 > long.txt]]")
        say(terminal, "/diff", "606 more lines: clawdforge session diff sess_")
        terminal.until(SIGN)
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    assert "+394" in terminal.screen
    assert "+395" not in terminal.screen


def test_escape_at_a_question_cancels_the_turn(command: Command) -> None:
    for key in (ESCAPE, CTRL_C):
        with command.terminal("chat", "--agent", "fake", "--close") as terminal:
            terminal.until(SIGN)
            say(terminal, "[[WRITE a.txt one]]", "Esc cancels the turn")
            terminal.type(key)
            terminal.until("(cancelled)")
            terminal.until(SIGN)
            terminal.type(CTRL_D)
            terminal.until("Closed sess_")
            assert terminal.end() == 0


def test_a_question_that_is_answered_elsewhere_is_no_more(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        say(terminal, "[[WRITE a.txt one]]", "Esc cancels the turn")
        session = command.forge.attach_session(the_session(command))
        (asked,) = session.permissions()
        session.answer(asked.permission_id, "allow")
        terminal.until("✓ edit Write a.txt")
        terminal.until(SIGN)
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_nobody_answers_before_they_are_asked(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        terminal.type("[[SAY now]][[WRITE a.txt one]]" + ENTER + "1")  # ahead of the question
        terminal.until("Esc cancels the turn")
        assert until_asked(command.forge, the_session(command))
        terminal.type("n")
        terminal.until("not allowed")
        terminal.until(SIGN)
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_ctrl_c_cancels_the_turn_and_not_the_chat(command: Command, gateway: Gateway) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        say(terminal, "[[SAY before]][[HANG]]", "before")
        terminal.type(CTRL_C)
        terminal.until("(cancelled)")
        terminal.until(SIGN)
        say(terminal, "are you there?", "turn 2: are you there?")
        terminal.until(SIGN)
        terminal.type("half a prompt")
        terminal.until("half a prompt")
        terminal.interrupt()
        terminal.until("Ctrl-C once more leaves")
        terminal.until(SIGN)
        say(terminal, "[[SAY that was no exit]]")
        terminal.interrupt()
        terminal.until("Ctrl-C once more leaves")
        terminal.until(SIGN)
        terminal.interrupt()
        assert terminal.end() == 0

    session = command.forge.attach_session(the_session(command))
    assert [turn["stop_reason"] for turn in session.turns()] == ["end_turn", "end_turn", "cancelled"]
    assert session.state()["live"]


def test_a_turn_that_does_not_end_can_be_left_and_waited_for(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        say(terminal, "[[IGNORE_CANCEL]][[SAY deaf]][[HANG]]", "deaf")
        terminal.type(CTRL_C)
        terminal.until("cancelling")
        terminal.type(CTRL_C)
        terminal.until("The turn goes on")
        terminal.until(SIGN)
        say(terminal, "after all")
        terminal.type(CTRL_D)
        assert terminal.end() == 0

    assert "after all" in "\n".join(terminal.screen)


def test_a_conversation_is_gone_on_with(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        say(terminal, "remember me")
        terminal.type("/exit" + ENTER)
        terminal.until("resume: clawdforge chat --session ")
        assert terminal.end() == 0
    session_id = the_session(command)
    for arguments in (["--session", session_id], ["-c"]):
        with command.terminal("chat", *arguments) as terminal:
            terminal.until("turn 1: remember me")
            terminal.until(SIGN)
            terminal.type("\x1b[A")  # what was typed in the chat before
            terminal.until("/exit")
            terminal.type(ENTER)
            assert terminal.end() == 0
    assert the_session(command) == session_id
    history = command.home / ".local" / "state" / "clawdforge" / "history"
    assert "remember me\n" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_a_fork_is_gone_on_in(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        say(terminal, "one")
        say(terminal, "/fork", "You are in sess_")
        terminal.until(SIGN)
        say(terminal, "two")
        terminal.type(CTRL_D)
        assert terminal.end() == 0

    rows = command.forge.list_sessions()["sessions"]
    assert sorted(row["turn_count"] for row in rows) == [1, 2]
    fork = next(row["session_id"] for row in rows if row["turn_count"] == 2)
    assert terminal.shown.rstrip().endswith(fork)


def test_what_nobody_said_a_word_in_is_closed(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        terminal.type(CTRL_D)
        terminal.until("Closed sess_")
        assert terminal.end() == 0

    assert command.forge.list_sessions(include_closed=False)["count"] == 0


def test_a_turn_that_fails_ends_neither_the_chat_nor_the_session(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        say(terminal, "[[SAY so far]][[EXIT 3]]", "✗ agent_failed")
        terminal.until(SIGN)
        say(terminal, "and now?", "turn 1: and now?")
        terminal.until(SIGN)
        command.forge.attach_session(the_session(command)).close()
        say(terminal, "closed?", "✗ HTTP 410 session_closed")
        terminal.until(SIGN)
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_an_agent_cannot_steer_the_terminal(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        evil = "\\u001b]0;owned\\u0007"
        terminal.type(f'[[TOOL T {{"x": "{evil}"}}]][[GARBAGE]][[UNKNOWN]]' + ENTER)
        terminal.until("✓ T")
        terminal.until(SIGN)
        terminal.type(CTRL_D)
        assert terminal.end() == 0

    assert "\x1b]0;" not in terminal.written


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_without_colours_nothing_is_coloured(command: Command, env: dict[str, str]) -> None:
    with command.terminal("chat", "--agent", "fake", "--permissions", "allow", **env) as terminal:
        terminal.until(SIGN)
        terminal.type("[[WRITE a.txt x]][[SAY # Title]]" + ENTER)
        terminal.until("Title")
        terminal.until("Title")
        terminal.until(SIGN)
        terminal.type(CTRL_D)
        assert terminal.end() == 0

    assert not any(f"\x1b[{code}" in terminal.written for code in ("3", "9", "1;3"))
    if "TERM" in env:
        assert "\x1b[1A" not in terminal.written, "a dumb terminal's cursor does not move"


def test_from_a_pipe_each_line_is_a_prompt_and_the_answers_are_plain(command: Command) -> None:
    done = command("chat", "--agent", "fake", input=b"one\n\n[[SAY **two**]]\n")

    assert (done.returncode, done.stdout) == (0, b"turn 1: one\n**two**\n")
    assert done.stderr == f"resume: clawdforge chat --session {the_session(command)}\n".encode()


def test_from_a_pipe_each_turn_may_be_a_document(command: Command) -> None:
    done = command("chat", "--agent", "fake", "--json", "--close", input=b"one\ntwo\n")

    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["turn_index"] for each in documents] == [1, 2]
    assert documents[1]["events"][0]["content"] == "turn 2: two"


def test_from_a_pipe_the_first_turn_that_fails_is_the_last(command: Command) -> None:
    done = command("chat", "--agent", "fake", input=b"[[EXIT 3]]\nnever asked\n")

    assert (done.returncode, done.stdout) == (5, b"")
    assert b"agent_failed" in done.stderr
    assert command.forge.get_session(the_session(command))["turn_count"] == 1


def test_from_a_pipe_nobody_can_be_asked(command: Command) -> None:
    prompt = b"[[WRITE a.txt x]][[SAY done]]\n"
    done = command("chat", "--agent", "fake", "--permissions", "ask", input=prompt)

    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert b"Refused, for nobody can be asked here: edit Write\n" in done.stderr


def test_from_a_pipe_ctrl_c_cancels_the_turn_and_ends_it_all(command: Command, gateway: Gateway) -> None:
    with command.start("chat", "--agent", "fake") as child:
        assert child.stdin is not None
        child.stdin.write(b"[[SAY x]][[HANG]] 8c1f\n")
        child.stdin.flush()
        assert child.stdout is not None
        assert child.stdout.read(1) == b"x"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)

    assert (child.returncode, out) == (130, b"\n")
    assert b"has ended there, too" in err
    assert b"resume: " in err
    (turn,) = command.forge.attach_session(the_session(command)).turns()
    assert turn["stop_reason"] == "cancelled"


def test_commands_of_a_chat_and_of_its_agent(command: Command) -> None:
    with command.terminal("chat", "--agent", "fake") as terminal:
        terminal.until(SIGN)
        say(terminal, "[[COMMANDS]][[SAY told]]")
        say(terminal, "/fake something", "turn 2: /fake something")
        terminal.until(SIGN)
        say(terminal, "/help", "/fake: the agent's own. Does nothing")
        terminal.until(SIGN)
        say(terminal, "/cancel", "No turn is running.")
        terminal.until(SIGN)
        for wrong, says in (
            ("/diff x", "'x' is no number of a turn"),
            ("/diff 9", "✗ HTTP 404"),
            ("/attach", "/attach FILE"),
            ("/attach no.txt", "No such file"),
            ("/files 'x", "No closing quotation"),
        ):
            say(terminal, wrong, says)
            terminal.until(SIGN)
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_what_excludes_each_other_is_said(command: Command) -> None:
    for arguments in (["-c", "--session", "x"], ["-c", "--agent", "fake"], ["--session", "x", "--model", "m"]):
        assert command("chat", *arguments).returncode == 2
    done = command("chat", "--continue")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no session is open" in done.stderr
