"""A client for the scripted agent: a real child, real pipes, every wait with a deadline."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from clawdforge.testing import fake_agent

Message = dict[str, Any]
PATIENCE_S = 20.0
SLEEP_CALLS = ("35", "230", "115")  # nanosleep and clock_nanosleep, on x86-64 and on arm64


class Child:
    """One agent process; `read_line` and what builds on it fail after PATIENCE_S."""

    def __init__(self, argv: list[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.cwd = cwd
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "HOME": str(cwd), **env},
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self.session_id = ""
        self._unread = b""
        self._calls = 0

    def send(self, message: Message) -> None:
        self.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def start(self, method: str, params: Any) -> int:
        """Send a request, give its id."""
        self._calls += 1
        self.send({"id": self._calls, "method": method, "params": params})
        return self._calls

    def read_line(self) -> bytes | None:
        """The next line of stdout without its end; what is left at EOF; None after that."""
        deadline = time.monotonic() + PATIENCE_S
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self.stdout], [], [], deadline - time.monotonic())
            assert ready, f"silence from the agent after {self._unread[:200]!r}"
            chunk = os.read(self.stdout.fileno(), 1 << 20)
            if not chunk:
                rest, self._unread = self._unread, b""
                return rest or None
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def read(self) -> Message:
        """The next message."""
        line = self.read_line()
        assert line is not None, "the agent closed stdout"
        message: Message = json.loads(line)
        return message

    def answer_to(self, request_id: int, on_request: Callable[[Message], Message] | None = None) -> Answer:
        """Read up to the answer to this request; `on_request` gives what answers the agent's own requests."""
        before: list[Message] = []
        while True:
            message = self.read()
            if "method" in message and "id" in message:
                assert on_request, f"unexpected request {message}"
                self.send({"id": message["id"], **on_request(message)})
            elif message.get("id") == request_id and "method" not in message:
                return Answer(message, before)
            before.append(message)

    def call(self, method: str, params: Any, **options: Any) -> Answer:
        return self.answer_to(self.start(method, params), **options)

    def open(self) -> Child:
        """initialize and session/new."""
        self.call("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
        answer = self.call("session/new", {"cwd": str(self.cwd), "mcpServers": []})
        self.session_id = answer.result["sessionId"]
        return self

    def start_prompt(self, text: str, **params: Any) -> int:
        blocks = [{"type": "text", "text": text}]
        return self.start("session/prompt", {"sessionId": self.session_id, "prompt": blocks, **params})

    def prompt(self, text: str, **options: Any) -> Answer:
        return self.answer_to(self.start_prompt(text), **options)

    def cancel(self) -> None:
        self.send({"method": "session/cancel", "params": {"sessionId": self.session_id}})

    def ended(self) -> int:
        """The exit status, negative for a signal."""
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()


class Answer:
    """An answer and everything that came before it."""

    def __init__(self, message: Message, before: list[Message]) -> None:
        self.message = message
        self.before = before

    @property
    def result(self) -> Any:
        assert "result" in self.message, self.message
        return self.message["result"]

    @property
    def error(self) -> Message:
        error: Message = self.message["error"]
        return error

    @property
    def updates(self) -> list[Message]:
        notes = [one for one in self.before if one.get("method") == "session/update"]
        return [one["params"]["update"] for one in notes]

    @property
    def requests(self) -> list[Message]:
        return [one for one in self.before if "id" in one and "method" in one]

    @property
    def text(self) -> str:
        chunks = [one for one in self.updates if one["sessionUpdate"] == "agent_message_chunk"]
        return "".join(one["content"]["text"] for one in chunks)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Starts agents (with arguments and environment); all are gone after the test."""
    children: list[Child] = []

    def start(*arguments: str, argv: list[str] | None = None, **env: str) -> Child:
        children.append(Child(argv or fake_agent.argv(*arguments), tmp_path, env))
        return children[-1]

    yield start
    for child in children:
        child.close()


@pytest.fixture
def agent(launch: Callable[..., Child]) -> Child:
    """An agent with an open session."""
    return launch().open()


class Processes:
    """Looks at processes by pid."""

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Look again and again, with a deadline."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.005)

    def is_running(self, pid: int) -> bool:
        """Whether there is such a process that is no zombie."""
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return status.rpartition(")")[2].split()[0] != "Z"

    def is_asleep(self, pid: int) -> bool:
        """Whether it waits in a sleep, which no file wakes."""
        call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        return call in SLEEP_CALLS

    def end(self, pid: int) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        self.wait_until(lambda: not self.is_running(pid), f"{pid} gone")


@pytest.fixture
def processes() -> Processes:
    return Processes()
