"""The scripted agent at its worst: dying, noisy, deaf, huge, and leaving processes behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from clawdforge.testing import fake_agent
from clawdforge.testing.fake_agent import lost

if TYPE_CHECKING:
    from .conftest import Child, Processes

    Launch = Callable[..., Child]


INITIALIZE = {"protocolVersion": 1, "clientCapabilities": {}}
NEW = {"cwd": "/", "mcpServers": []}


# -- before the first prompt --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status"), [("exit0", 0), ("exit1", 1), ("exit137", 137), ("stderr-then-exit", 1)]
)
def test_it_ends_before_it_speaks(launch: Launch, fault: str, status: int) -> None:
    agent = launch("--start-fault", fault)
    assert agent.read_line() is None and agent.ended() == status
    assert bool(agent.stderr.read()) == (fault == "stderr-then-exit")


def test_a_fault_can_come_from_the_environment_and_an_unknown_one_is_refused(launch: Launch) -> None:
    assert launch(FAKE_AGENT_START="exit1").ended() == 1
    agent = launch(FAKE_AGENT_START="nonsense")
    assert agent.ended() == 1 and b"no such start fault: nonsense" in agent.stderr.read()


@pytest.mark.parametrize(
    ("fault", "method", "code"),
    [
        ("error-initialize", "initialize", -32603),
        ("error-new", "session/new", -32603),
        ("auth-required", "session/new", -32000),
    ],
)
def test_it_answers_with_an_error(launch: Launch, fault: str, method: str, code: int) -> None:
    agent = launch("--start-fault", fault)
    params = {"initialize": INITIALIZE, "session/new": NEW}
    assert agent.call(method, params[method]).error["code"] == code


@pytest.mark.parametrize(("fault", "method"), [("hang-initialize", "initialize"), ("hang-new", "session/new")])
def test_it_never_answers_one_call(launch: Launch, fault: str, method: str) -> None:
    agent = launch("--start-fault", fault)
    agent.start(method, NEW)
    assert agent.call("authenticate", {}).before == []


@pytest.mark.parametrize(("fault", "version"), [("old-protocol", 0), ("old-protocol 2", 2)])
def test_it_speaks_another_protocol(launch: Launch, fault: str, version: int) -> None:
    assert launch("--start-fault", fault).call("initialize", INITIALIZE).result["protocolVersion"] == version


def test_it_dies_or_forgets_the_id_in_session_new(launch: Launch) -> None:
    agent = launch("--start-fault", "exit-new")
    agent.start("session/new", NEW)
    assert agent.read_line() is None and agent.ended() == 1
    assert "sessionId" not in launch("--start-fault", "no-session-id").call("session/new", NEW).result


def test_garbage_first_then_it_works(launch: Launch) -> None:
    agent = launch("--start-fault", "garbage-first")
    request = agent.start("initialize", INITIALIZE)
    lines = [agent.read_line() for _ in range(10)]
    assert b"123" in lines and b"[]" in lines and b"\xff\xfe\x80 not UTF-8" in lines
    assert json.loads(lines[-1] or b"")["id"] == request


def test_garbage_for_ever_ends_with_stdin(launch: Launch) -> None:
    agent = launch("--start-fault", "garbage")
    agent.start("initialize", INITIALIZE)
    lines = [agent.read_line() or b"" for _ in range(40)]
    assert not any(b"jsonrpc" in line for line in lines)
    agent.stdin.close()
    assert agent.ended() == 0


def test_a_slow_start_is_a_start(launch: Launch, tmp_path: Path) -> None:
    agent = launch("--start-fault", "slow 0.2", FAKE_AGENT_LOG=str(tmp_path / "log")).open()
    start, first, *_ = fake_agent.read_log(tmp_path / "log")
    assert first["t"] - start["t"] >= 0.2 and agent.prompt("hi").text == "turn 1: hi"


def test_a_file_can_say_how_it_starts(launch: Launch, tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    assert launch("--start-fault", f"@{fault}").open().prompt("hi").text == "turn 1: hi"
    fault.write_text("exit137\n")
    assert launch("--start-fault", f"@{fault}").ended() == 137


# -- its end ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", "[[HANG]]", "[[IGNORE_CANCEL]][[SLEEP 300]]"])
def test_it_ends_with_its_stdin(agent: Child, prompt: str) -> None:
    if prompt:
        agent.start_prompt(f"[[SAY begun]]{prompt}")
        agent.read()
    agent.stdin.close()
    assert agent.ended() == 0


def test_what_was_sent_before_the_end_of_stdin_is_answered(agent: Child) -> None:
    request = agent.start_prompt("[[SAY one]][[SAY two]]")
    agent.stdin.close()
    assert agent.answer_to(request).text == "onetwo"


@pytest.mark.parametrize(("prompt", "status"), [("[[EXIT 7]]", 7), ("[[KILL9]]", -signal.SIGKILL)])
def test_it_dies_in_mid_turn(agent: Child, prompt: str, status: int) -> None:
    agent.start_prompt(f"[[SAY begun]]{prompt}")
    agent.read()
    assert agent.read_line() is None and agent.ended() == status


def test_a_last_line_without_its_end(agent: Child) -> None:
    agent.start_prompt("[[NO_NEWLINE]]")
    last = agent.read_line()
    assert json.loads(last or b"")["params"]["update"]["content"]["text"] == "unfinished"
    assert agent.read_line() is None and agent.ended() == 0


def test_stdout_closes_and_it_lives_on(agent: Child) -> None:
    agent.start_prompt("[[CLOSE_STDOUT]]")
    assert agent.read_line() is None
    assert agent.process.poll() is None
    agent.stdin.close()
    assert agent.ended() == 0


def test_a_secret_on_stderr(launch: Launch) -> None:
    agent = launch(KEY="s3cret").open()
    agent.start_prompt("[[SECRET_STDERR KEY]]")
    assert agent.ended() == 1 and b"s3cret" in agent.stderr.read()


def test_sigterm_can_be_ignored(agent: Child) -> None:
    agent.prompt("[[IGNORE_SIGTERM]]")
    agent.process.terminate()
    assert agent.prompt("[[SAY alive]]").text == "alive"


@pytest.mark.parametrize("way", ["prompt", "fault"])
def test_the_end_of_stdin_can_be_ignored(launch: Launch, processes: Processes, way: str) -> None:
    agent = launch(*(("--start-fault", "ignore-eof") if way == "fault" else ())).open()
    if way == "prompt":
        agent.prompt("[[IGNORE_EOF]]")
    agent.stdin.close()
    processes.wait_until(lambda: processes.is_asleep(agent.process.pid), "asleep")
    assert agent.process.poll() is None


def test_reading_can_stop_for_a_while(launch: Launch, tmp_path: Path) -> None:
    agent = launch(FAKE_AGENT_LOG=str(tmp_path / "log")).open()
    first, second = agent.start_prompt("[[NO_READ 0.3]]"), agent.start_prompt("x" * 1_000_000)
    agent.answer_to(first)
    assert len(agent.answer_to(second).text) == 1_000_008
    before, after = fake_agent.read_log(tmp_path / "log", "session/prompt")
    assert after["t"] - before["t"] >= 0.3


def test_it_can_turn_deaf_after_a_turn(launch: Launch, tmp_path: Path) -> None:
    agent = launch(FAKE_AGENT_LOG=str(tmp_path / "log")).open()
    assert agent.prompt("[[SAY done]][[DEAF 0.3]]").text == "done"
    agent.prompt("hello")
    before, after = fake_agent.read_log(tmp_path / "log", "session/prompt")
    assert after["t"] - before["t"] >= 0.3


# -- noise and size -----------------------------------------------------------------------------------------


def test_garbage_in_a_turn(agent: Child) -> None:
    agent.start_prompt("[[GARBAGE]][[SAY on]]")
    lines = [agent.read_line() for _ in range(11)]
    assert b"null" in lines and b"" in lines
    assert b'"text":"on"' in (lines[-2] or b"")


def test_a_character_cut_in_two_arrives_whole(agent: Child) -> None:
    assert agent.prompt("[[SPLIT]]").text == "split: €"


def test_nul_and_a_lone_surrogate_arrive_as_escapes(agent: Child) -> None:
    agent.start_prompt("[[NUL]]")
    line = agent.read_line() or b""
    assert rb"\u0000" in line and rb"\ud800" in line and line.isascii()


def test_strays(agent: Child) -> None:
    seen: list[Any] = []

    def refuse(request: dict[str, Any]) -> dict[str, Any]:
        seen.append(request["id"])
        return {"error": {"code": -32601, "message": "no"}}

    answer = agent.prompt("[[STRAY]]", on_request=refuse)
    assert seen == ["a-string-id"] and answer.text == "string id answered: True"
    strays = [one for one in answer.before if "method" not in one]
    assert [one.get("id") for one in strays] == [987654, "no-such-id", None, True, {}, None, 2]


@pytest.mark.parametrize("size", [1_000, 200_000, 3_000_000])
def test_a_line_of_exactly_that_many_bytes(agent: Child, size: int) -> None:
    agent.start_prompt(f"[[BIGLINE {size}]]")
    line = agent.read_line() or b""
    assert len(line) + 1 == size
    assert set(json.loads(line)["params"]["update"]["content"]["text"]) == {"x"}


def test_an_answer_of_exactly_that_size(agent: Child) -> None:
    answer = agent.prompt("[[BIGTEXT 200001]]")
    assert len(answer.text) == 200_001 and len(answer.updates) == 4


@pytest.mark.parametrize("verb", ["FLOOD 1234", "RATE 20 1000"])
def test_many_updates_come_in_order(agent: Child, verb: str) -> None:
    count = int(verb.split()[1])
    answer = agent.prompt(f"[[{verb}]]")
    assert answer.text.split() == [str(number) for number in range(count)] and len(answer.updates) == count


def test_that_much_on_stderr(agent: Child) -> None:
    agent.prompt("[[STDERR 5000]]")
    agent.stdin.close()
    assert len(agent.stderr.read()) == 5_000


# -- what it leaves behind ----------------------------------------------------------------------------------


def test_a_child_that_ignores_sigterm_outlives_the_agent(agent: Child, processes: Processes) -> None:
    pid = int(agent.prompt("[[CHILD]]").text)
    os.kill(pid, signal.SIGTERM)
    agent.process.terminate()
    agent.ended()
    assert processes.is_running(pid) and os.getsid(pid) == agent.process.pid
    processes.end(pid)


def test_a_daemon_is_nobodys_child(agent: Child, processes: Processes) -> None:
    pid = int(agent.prompt("[[DAEMON]]").text)
    assert processes.is_running(pid) and os.getsid(pid) not in (agent.process.pid, os.getsid(0))
    processes.wait_until(lambda: os.listdir(f"/proc/{pid}/fd") == [], "files closed")
    agent.stdin.close()
    assert agent.ended() == 0 and processes.is_running(pid)
    processes.end(pid)


def test_a_grandchild_holds_stdout(agent: Child, processes: Processes) -> None:
    agent.start_prompt("[[GRANDCHILD]]")
    pid = int(agent.read()["params"]["update"]["content"]["text"])
    assert agent.ended() == 0
    assert os.readlink(f"/proc/{pid}/fd/1") == os.readlink(f"/proc/self/fd/{agent.stdout.fileno()}")
    processes.end(pid)
    assert agent.read_line() is None


@pytest.mark.parametrize("way", lost.WAYS)
def test_what_gets_lost_can_be_looked_for(agent: Child, processes: Processes, way: str) -> None:
    token = f"{os.getpid()}{time.monotonic_ns()}"
    assert agent.prompt(f"[[LEAVE {way} {token}]]").text == f"left {way} "

    def found() -> list[psutil.Process]:
        return [
            each for each in psutil.process_iter(["cmdline"]) if f"300.{token}" in (each.info["cmdline"] or ())
        ]

    processes.wait_until(lambda: len(found()) == 1, "the one that got lost")
    (sleeper,) = found()
    pid, own = sleeper.pid, agent.process.pid
    assert (os.getpgid(pid) == own) is (way in ("orphan", "deaf", "pipe"))
    assert (os.getsid(pid) == own) is (way in ("group", "orphan", "deaf", "pipe"))
    assert (sleeper.ppid() == own) is (way in ("group", "setsid", "deaf"))
    assert (sleeper.environ() == {}) is (way == "bare")
    assert (sleeper.cwd() == "/") is (way in ("daemon", "bare"))
    assert (os.listdir(f"/proc/{pid}/fd") != []) is (way == "pipe")
    if way == "deaf":
        os.kill(pid, signal.SIGTERM)
    agent.stdin.close()
    assert agent.ended() == 0 and processes.is_running(pid)
    processes.end(pid)


def test_forks(agent: Child, processes: Processes) -> None:
    assert agent.prompt("[[FORKS 3]]").text == "forked 3"
    children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children").read_text().split()
    assert len(children) == 3
    for pid in children:
        processes.end(int(pid))


def test_memory_and_disk(agent: Child, tmp_path: Path) -> None:
    def resident_bytes() -> int:
        return int(Path(f"/proc/{agent.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident_bytes()
    assert agent.prompt("[[MEMORY 50000000]]").text == "holding 50000000 bytes"
    assert resident_bytes() - before > 45_000_000
    assert agent.prompt("[[DISK big 3000001]]").text == "wrote 3000001 bytes"
    assert (tmp_path / "big").stat().st_size == 3_000_001
    assert agent.prompt("[[DISK no/such/folder 5]]").text.startswith("cannot fill")
