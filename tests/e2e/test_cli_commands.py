"""The commands that are not chat, as processes of their own against a real gateway."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from clawdforge import ForgeAPIError
from clawdforge.client.session import Session
from harness.command import Command, command_of
from harness.gateway import Gateway
from harness.terminal import CTRL_C, CTRL_D, ENTER, ESCAPE, Terminal


@pytest.fixture
def command(gateway: Gateway, tmp_path: Path) -> Iterator[Command]:
    with command_of(gateway, tmp_path) as yours:
        yield yours


def opened(command: Command, *prompts: str, **options: Any) -> Session:
    """A session that has taken these prompts."""
    session = command.forge.create_session("fake", permissions="allow", **options)
    for prompt in prompts:
        session.turn(prompt)
    return session


def until_line(lines: IO[bytes], part: bytes) -> bytes:
    """Reads up to the line that holds this."""
    for line in lines:
        if part in line:
            return line
    raise AssertionError(f"it ended without {part!r}")


def test_ctrl_c_cancels_a_run_on_the_gateway(command: Command, gateway: Gateway) -> None:
    with command.start("run", "--agent", "fake", "[[SAY x]][[HANG]] 5a09c1") as child:
        gateway.until_heard("5a09c1")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)

    assert (child.returncode, out) == (130, b"")
    assert err == b"Error: interrupted; what the gateway was asked to do has ended there, too\n"
    (run,) = command.forge.runs()
    assert (run["status"], run["stop_reason"]) == ("done", "cancelled")


def test_ctrl_c_cancels_a_turn_too(command: Command, gateway: Gateway) -> None:
    session = opened(command)
    with command.start("session", "turn", session.session_id, "[[HANG]] 77d1e0") as child:
        gateway.until_heard("77d1e0")
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
    assert session.get_turn(1)["stop_reason"] == "cancelled"


def test_a_run_on_a_terminal_gives_a_glance_of_what_goes_on(command: Command) -> None:
    with command.terminal("run", "--agent", "fake", "[[SAY I look.]][[TOOL Look {}]][[HANG]]") as terminal:
        terminal.until("fake works · ")
        terminal.until("✓ Look")
        terminal.type(CTRL_C)
        terminal.until("Error: interrupted; ")
        assert terminal.end() == 130
    assert [line for line in terminal.screen if "Error" not in line and line] == [], "nothing of it is left"


def test_a_run_on_a_terminal_ends_with_its_result_alone(command: Command) -> None:
    with command.terminal("run", "--agent", "fake", '[[TOOL Look {}]][[JSON {"a": [1]}]]') as terminal:
        assert terminal.end() == 0
    assert json.loads("\n".join(terminal.screen)) == {"a": [1]}


WRITES = "[[SAY I write.]][[OPTIONS allow_once|reject_once]][[WRITE a.txt hello]]"
ASKS = "  [1 y] Allow Once   [2 n] Reject Once   Esc cancels the turn"


def test_what_a_run_asks_is_asked_on_the_terminal(command: Command) -> None:
    with command.terminal("run", "--agent", "fake", "--permissions", "ask", f"{WRITES}[[SAY Done.]]") as terminal:
        terminal.until("Esc cancels the turn")
        terminal.type("y")
        terminal.until("Allow Once")
        assert terminal.end() == 0

    seen = [line for line in terminal.screen if line]
    assert seen[:4] == ["--- /dev/null", "+++ /workspace/a.txt", "@@ -0,0 +1 @@", "+hello"]
    assert seen[4:] == ["? edit Write /workspace/a.txt", ASKS, "  → Allow Once", "Done."]


def test_what_a_turn_asks_is_asked_also_where_its_prompt_comes_from_a_pipe(command: Command) -> None:
    session = command.forge.create_session("fake", permissions="ask")
    line = " ".join(map(shlex.quote, command.argv("session", "turn", session.session_id, "-")))
    typed = f"echo {shlex.quote(WRITES)} | {line} > answer.txt"
    with Terminal(["bash", "-c", typed], command.env, cwd=str(command.home)) as terminal:
        terminal.until("Esc cancels the turn")
        terminal.type("n")
        terminal.until("Reject Once")
        assert terminal.end() == 0

    assert (command.home / "answer.txt").read_text() == "I write.\n"
    assert "? edit Write a.txt" in terminal.screen
    (answer,) = [each for each in session.get_turn(1)["events"] if each["type"] == "permission_answer"]
    assert answer["decision"] == "reject"


def test_escape_at_a_question_cancels_the_run(command: Command) -> None:
    with command.terminal("run", "--agent", "fake", "--permissions", "ask", WRITES) as terminal:
        terminal.until("Esc cancels the turn")
        terminal.type(ESCAPE)
        assert terminal.end() == 130
    (run,) = command.forge.runs()
    assert run["stop_reason"] == "cancelled"


def test_a_run_does_not_begin_that_would_ask_nobody(command: Command) -> None:
    done = command("run", "--agent", "fake", "--permissions", "ask", "hello")

    assert (done.returncode, done.stdout) == (2, b"")
    assert b"there is no terminal where somebody could be asked\nNext:  " in done.stderr
    assert [*command.forge.runs()] == []


def test_what_a_turn_asks_without_a_terminal_is_answered_from_another(command: Command) -> None:
    session = command.forge.create_session("fake", permissions="ask")
    with command.start("session", "turn", session.session_id, WRITES) as child:
        assert child.stderr is not None
        until_line(child.stderr, b"It asks, and waits for an answer (clawdforge session answer): edit Write")
        heading, line = command("session", "answer", session.session_id).stdout.decode().splitlines()
        assert heading.split("\t") == ["PERMISSION", "KIND", "REFUSED AT", "WHAT IT ASKS FOR"]
        permission_id, *asks = line.split("\t")
        assert (asks[0], asks[2]) == ("edit", "Write")
        (listed,) = json.loads(command("session", "answer", session.session_id, "--json").stdout)["permissions"]
        assert listed["permission_id"] == permission_id
        done = command("session", "answer", session.session_id, "allow")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", f"{permission_id}: allow\n".encode())
        assert child.wait(60) == 0
    assert command("session", "answer", session.session_id, "reject").returncode == 4
    done = command("session", "answer", session.session_id, "reject", "--permission", permission_id, "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (4, "permission_answered")


def test_a_prompt_can_be_typed_and_left(command: Command) -> None:
    for keys, code, says in ((f"hello{ENTER}{CTRL_D}", 0, "turn 1: hello"), (CTRL_C, 130, "Error: interrupted")):
        with command.terminal("run", "--agent", "fake", "-") as terminal:
            terminal.until("Ctrl-D on a line of its own ends it.")
            terminal.type(keys)
            assert terminal.end() == code
        assert [line for line in terminal.screen if line][-1].endswith(says)
    assert len([*command.forge.runs()]) == 1


def test_a_result_that_is_json_is_printed_as_json(command: Command) -> None:
    for name in ("a.txt", "b.txt"):
        (command.home / name).write_text(name)
    done = command("run", "--agent", "fake", "-f", "a.txt", "-f", "b.txt", '[[JSON {"a": [1]}]]')

    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {"a": [1]}, b"")


def test_what_comes_by_stdin_can_be_handed_over_as_a_file(command: Command) -> None:
    done = command("run", "--agent", "fake", "[[READ stdin]]", "-f", "-", input=b"from a pipe")
    assert (done.returncode, done.stdout) == (0, b"from a pipe\n")
    for twice in (["x", "-f", "-", "-f", "-"], ["-", "-f", "-"]):
        done = command("run", "--agent", "fake", *twice, input=b"once")
        assert done.returncode == 2
        assert b"stdin can be read only once" in done.stderr


def test_a_session_is_watched_as_it_happens(command: Command) -> None:
    session = opened(command)
    with (
        command.start("session", "watch", session.session_id) as plain,
        command.start("session", "watch", session.session_id, "--json") as documents,
    ):
        assert plain.stdout is not None
        assert documents.stdout is not None
        until_line(plain.stdout, b"agent_start")
        session.turn("[[ECHO a\tb]]")
        line = until_line(plain.stdout, b"turn 1")
        assert line.decode().split("\t")[1:] == ["3", "1", "text", "turn 1: a b\n"]
        session.close()
        assert until_line(plain.stdout, b"session_closed")
        types = [json.loads(line)["type"] for line in documents.stdout]
        assert (plain.wait(60), documents.wait(60)) == (0, 0)
    assert types == ["agent_start", "turn_start", "text", "turn_end", "session_closed"]


def test_what_has_happened_is_told_without_waiting_for_more(command: Command) -> None:
    session = opened(command, "one", "two")
    after = session.get_turn(1)["events"][-1]["seq"]
    done = command("session", "watch", session.session_id, "--no-follow", "--after", str(after))

    assert [line.split("\t")[3] for line in done.stdout.decode().splitlines()] == [
        "turn_end",
        "turn_start",
        "text",
        "turn_end",
    ]
    with command.terminal("session", "watch", session.session_id, "--no-follow") as terminal:
        assert terminal.end() == 0
    assert any(re.fullmatch(r"[0-9:]{8} +\d+ +2 text +turn 2: two", line) for line in terminal.screen)
    assert all(len(line) <= 100 for line in terminal.screen)


def test_ctrl_c_ends_watching_and_nothing_else(command: Command) -> None:
    session = opened(command)
    with command.start("session", "watch", session.session_id) as child:
        assert child.stdout is not None
        until_line(child.stdout, b"agent_start")
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, b"Error: no longer watching; the session goes on\n")
    assert session.state()["live"]


def test_a_diff_is_what_git_applies(command: Command) -> None:
    session = opened(command, "[[WRITE ä.txt one]][[SH printf 'a\\r\\nb' > b.txt; printf '\\0' > c.bin]]")
    done = command("session", "diff", session.session_id)

    assert done.returncode == 0
    assert done.stderr == b"not in the patch: c.bin (binary)\n"
    subprocess.run(["git", "apply"], input=done.stdout, cwd=command.home, check=True)
    assert (command.home / "ä.txt").read_text() == "one"
    assert (command.home / "b.txt").read_bytes() == b"a\r\nb"


def test_a_diff_on_a_terminal_has_colours_and_a_list_of_its_files(command: Command) -> None:
    session = opened(command, "[[WRITE a.txt one]]", "[[WRITE a.txt two]]")
    with command.terminal("session", "diff", session.session_id) as terminal:
        assert terminal.end() == 0
    assert terminal.screen[:2] == ["turn 2, 1 file", "  M a.txt"]
    assert "\x1b[31m-one" in terminal.written
    with command.terminal("session", "diff", session.session_id, "--turn", "1", NO_COLOR="1") as terminal:
        assert terminal.end() == 0
    assert "\x1b[3" not in terminal.written
    assert "+one" in terminal.screen
    forced = subprocess.run(
        command.argv("session", "diff", session.session_id),
        env={**command.env, "FORCE_COLOR": "1"},
        capture_output=True,
    )
    assert b"\x1b[32m+two" in forced.stdout
    document = json.loads(command("session", "diff", session.session_id, "--json").stdout)
    assert [each["path"] for each in document["files"]] == ["a.txt"]


def test_a_session_is_written_down(command: Command) -> None:
    session = opened(command, "hello\nthere", "[[PLAN a|b]][[THINK hm]][[WRITE a.txt one]]")
    name = session.session_id
    done = command("session", "export", name)

    assert done.returncode == 0
    text = done.stdout.decode()
    assert text.startswith(f"# Session {name}\n\nAgent fake, opened 20")
    assert "\n## Turn 1\n\n> hello\n> there\n\nturn 1: hello\nthere\n\n*end_turn after " in text
    assert "\n- [ ] a\n- [ ] b\n\n*Thinking:* hm\n\n- ✓ edit Write a.txt\n\n```diff\n--- /dev/null\n" in text

    done = command("session", "export", name, "--format", "json", "-o", "out.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"Wrote out.json.\n")
    document = json.loads((command.home / "out.json").read_text())
    assert document["session"]["session_id"] == name
    assert [event["seq"] for event in document["events"]] == list(range(1, len(document["events"]) + 1))
    assert [each.name for each in command.home.iterdir() if "part" in each.name] == []


def test_a_run_is_watched_written_down_and_cancelled_by_its_id(command: Command, gateway: Gateway) -> None:
    run_id = command.forge.run("[[WRITE a.txt one]][[SAY done]]", agent="fake").run_id

    told = command("session", "watch", run_id).stdout.decode().splitlines()
    assert [line.split("\t")[3] for line in told][-2:] == ["turn_end", "session_closed"]
    text = command("session", "export", run_id).stdout.decode()
    assert text.startswith(f"# Run {run_id}\n\nAgent fake, opened 20")
    assert "+one" in text
    document = json.loads(command("session", "export", run_id, "--json").stdout)
    assert (document["run"]["result"], document["events"][0]["type"]) == ("done", "turn_start")

    with command.start("run", "--agent", "fake", "[[HANG]] 90d1e2") as child:
        gateway.until_heard("90d1e2")
        running = next(run["run_id"] for run in command.forge.runs() if run["status"] == "running")
        assert command("session", "cancel", running).stderr == b"Cancelled.\n"
        assert child.wait(60) == 6
    for words in (["session", "diff"], ["session", "turn"], ["session", "close"], ["chat", "--session"]):
        done = command(*words, run_id, *(["x"] if words[-1] == "turn" else []))
        assert done.returncode == 2
        assert b"this is a run's, which can be watched, answered, exported and cancelled" in done.stderr


def test_a_file_that_cannot_be_written_is_told(command: Command) -> None:
    session = opened(command)
    done = command("session", "export", session.session_id, "-o", "no/such/folder.md")

    assert done.returncode == 2
    assert b"no/such" in done.stderr
    done = command("session", "export", session.session_id, "-o", "no/such/folder.md", "--json")
    assert json.loads(done.stdout)["error"]["exit_code"] == 2
    assert b"Traceback" not in done.stderr


def test_a_turn_is_cancelled_from_elsewhere(command: Command, gateway: Gateway) -> None:
    session = opened(command)
    with session.stream("[[HANG]] 11b2ff") as stream:
        next(stream)
        gateway.until_heard("11b2ff")
        done = command("session", "cancel", session.session_id, "--json")
        assert json.loads(done.stdout) == {"ok": True, "session_id": session.session_id, "cancelled": True}
        assert stream.result().stop_reason == "cancelled"
    done = command("session", "cancel", session.session_id)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"There was nothing to cancel.\n")


def test_a_session_is_forked(command: Command) -> None:
    session = opened(command, "one")
    fork = command("session", "fork", session.session_id, "--meta", '{"a": 1}').stdout.decode().strip()

    state = command.forge.get_session(fork)
    assert (state["meta"], state["turn_count"]) == ({"a": 1}, 1)
    assert state["forked_from"]["session_id"] == session.session_id


def test_what_was_asked_lately_is_listed(command: Command) -> None:
    command.forge.run("one", agent="fake")
    with pytest.raises(ForgeAPIError):
        command.forge.run("[[EXIT 3]]", agent="fake")
    first = opened(command, "two", "[[EMPTY]]")
    second = opened(command, "[[STOP refusal]]")

    rows = json.loads(command("logs", "--json").stdout)["logs"]
    assert {row["id"]: row["status"] for row in rows} == {
        f"{first.session_id}#1": "ok",
        f"{first.session_id}#2": "empty",
        f"{second.session_id}#1": "refusal",
        **{run["run_id"]: "failed" if run["status"] == "failed" else "ok" for run in command.forge.runs()},
    }
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    assert len(json.loads(command("logs", "-n", "2", "--json").stdout)["logs"]) == 2

    heading, *lines = command("logs", "--failed").stdout.decode().splitlines()
    assert heading.split("\t") == ["ID", "WHEN", "AGENT", "STATUS", "SECONDS", "ERROR"]
    assert sorted(line.split("\t")[3] for line in lines) == ["empty", "failed", "refusal"]
    assert any("agent_failed: " in line for line in lines)

    assert command("logs", f"{first.session_id}#1").stdout.endswith(b"\nturn 1: two\n")
    run_id = next(run["run_id"] for run in command.forge.runs() if run["ok"])
    assert command("logs", run_id).stdout.endswith(b"\nturn 1: one\n")
    with pytest.raises(ForgeAPIError) as caught:
        command.forge.run("[[SAY so far]][[EXIT 3]]", agent="fake")
    assert command("logs", str(caught.value.session_id)).stdout.endswith(b"\nso far\n")
    for wrong, code in (("nonsense#x", 2), ("run_nothing", 4)):
        assert command("logs", wrong).returncode == code


def test_a_shell_completes_sessions_and_agents(command: Command) -> None:
    session = opened(command)

    def completed(*words: str) -> list[str]:
        variables = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        env = {**command.env, "_CLAWDFORGE_COMPLETE": "bash_complete", **variables}
        done = subprocess.run(command.argv(), env=env, capture_output=True, timeout=60)
        assert done.stderr == b""
        return done.stdout.decode().split()

    run_id = command.forge.run("hello", agent="fake").run_id
    assert completed("clawdforge", "session", "get", "") == [f"plain,{session.session_id}"]
    both = [f"plain,{session.session_id}", f"plain,{run_id}"]
    assert completed("clawdforge", "session", "watch", "") == both
    assert "plain,fake" in completed("clawdforge", "chat", "--agent", "fak")
    assert completed("clawdforge", "ses") == ["plain,session"]
    command.env["CLAWDFORGE_URL"] = "http://127.0.0.1:1"
    assert completed("clawdforge", "session", "get", "sess") == []


@pytest.mark.parametrize("arguments", [["export"], ["watch", "--no-follow"]], ids=" ".join)
def test_a_reader_that_has_enough_ends_it_quietly(command: Command, arguments: list[str]) -> None:
    session = opened(command, "[[BIGTEXT 400000]]")
    with command.start("session", *arguments, session.session_id) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 141


def test_streams_that_are_closed_or_full_are_no_traceback(command: Command) -> None:
    session = opened(command, "[[SAY x]]")
    for redirected in (">&-", ">&- 2>&-", "<&-", "> /dev/full", "2> /dev/full", "2>&-"):
        line = " ".join([*command.argv("session", "export", session.session_id), redirected])
        done = subprocess.run(["bash", "-c", line], env=command.env, capture_output=True, timeout=60)
        assert b"Traceback" not in done.stderr, redirected
        assert b"Exception ignored" not in done.stderr, redirected
        assert (done.returncode == 0) == (redirected != "> /dev/full"), redirected


def test_cf_finds_its_gateway_in_its_file(command: Command) -> None:
    opened(command, "one")
    file = command.home / ".config" / "clawdforge" / "cf.env"
    file.parent.mkdir(parents=True)
    names = ("CLAWDFORGE_URL", "CLAWDFORGE_TOKEN")
    file.write_text("".join(f"{name}='{command.env[name]}'\n" for name in names))
    env = {name: value for name, value in command.env.items() if name not in names}
    program = [sys.executable, "-c", "from clawdforge.cli import main_cf; main_cf()", "session", "list"]

    file.chmod(0o644)
    warned = subprocess.run(program, env=env, capture_output=True, timeout=60)
    file.chmod(0o600)
    trusted = subprocess.run(program, env=env, capture_output=True, timeout=60)

    assert warned.returncode == trusted.returncode == 0
    assert len(trusted.stdout.splitlines()) == 2, "a heading and the session"
    assert warned.stdout == trusted.stdout
    assert warned.stderr.startswith(b"Warning: others can read the token in ")
    assert trusted.stderr == b""
