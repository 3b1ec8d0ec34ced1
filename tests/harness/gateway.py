"""A real gateway process for tests: started as a user starts it, ended and looked after by pid."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from clawdforge import Forge, Session
from clawdforge.server.sandbox import cgroups
from clawdforge.server.sessions.history import OPENING
from clawdforge.testing import fake_agent
from harness.agent_log import VARIABLE, AgentLog

PATIENCE_S = 30
STDERR = 2


@dataclass
class Gateway:
    """A gateway process, from `start` to `stop` or `kill`; it can be started again on the same data."""

    root: Path
    agents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = ("-m", "clawdforge")
    prefix: Sequence[str] = ()
    url: str = ""

    def __post_init__(self) -> None:
        self.data_dir = self.root / "data"
        self.agent_log = AgentLog(self.data_dir / "homes")
        self._process: subprocess.Popen[str] | None = None
        self._stderr = self.root / "gateway.log"

    def start(self) -> Gateway:
        """Starts the process and waits until it says that it listens."""
        config = self.root / "config.toml"
        config.write_text(self._config())
        argv = [*self.prefix, sys.executable, *self.program, "serve", "--port", "0"]
        with self._stderr.open("a") as stderr:
            self._process = subprocess.Popen(
                [*argv, "--data-dir", str(self.data_dir), "--config", str(config)],
                env={**_clean_environ(), **self.env},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        line = self._first_line()
        self.url = line.rsplit(" ", 1)[-1].strip()
        assert self.url.startswith("http://127.0.0.1:"), f"the gateway said {line!r}; {self.log()}"
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What the gateway wrote to stderr."""
        return self._stderr.read_text()

    def admin(self) -> Forge:
        """The SDK with the admin token."""
        return Forge(base_url=self.url, token=(self.data_dir / "admin-token").read_text().strip())

    def app(self, name: str = "app", **options: Any) -> Forge:
        """The SDK with a new app's token."""
        with self.admin() as admin:
            return Forge(base_url=self.url, token=admin.mint_token(name).token, **options)

    def stop(self, within_s: float = PATIENCE_S) -> int:
        """SIGTERM, then the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._end(within_s)

    def fails_to_start(self) -> str:
        """Starts it where it must not start. Returns what it said on stderr; its exit code was 1."""
        said = len(self.log()) if self._stderr.exists() else 0
        try:
            self.start()
        except AssertionError:
            assert self._process is not None
            assert self._process.returncode == 1, self.log()
            return self.log()[said:]
        raise AssertionError("the gateway started")

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._end(PATIENCE_S)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, within_s: float = PATIENCE_S) -> int:
        return self._end(within_s)

    def close(self) -> None:
        """Ends whatever is left; every process that it started must be gone after."""
        if self._process is None:
            return
        if self.running:
            self.stop()
        left = self.children()  # before they are ended with their groups
        if identity := self._identity():
            cgroups.clear(identity)  # of one that was killed: the next one would do that
        assert not left, f"left running: {left}"

    def children(self, session: Session | None = None) -> list[str]:
        """Processes that this gateway's data directory started, wherever they are now, as text.

        With `session`, those alone that were started for it. Behind a wall there are two of the wall's own.
        """
        found = []
        for process in self._processes("" if session is None else session.session_id):
            with suppress(psutil.Error):
                found.append(f"{process.pid} {process.cmdline()}")
        return found

    def pid_here(self, session: Session, told: str) -> int:
        """The pid, on this machine, of a process that a session's agent knows by the number that it told."""
        found = [each.pid for each in self._processes(session.session_id) if _pid_of_its_own(each.pid) == told]
        assert len(found) == 1, f"{told} is the number of {found}"
        return found[0]

    def _identity(self) -> str:
        """How its children are marked; "" where it has started on no data directory."""
        file = self.data_dir / "gateway-id"
        return file.read_text().strip() if file.is_file() else ""

    def _processes(self, session_id: str) -> Iterator[psutil.Process]:
        if not self._identity():
            return
        mark = f"CLAWDFORGE_CHILD={self._identity()}:{session_id}".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError, psutil.Error):
                if mark in Path(f"/proc/{pid}/environ").read_bytes():
                    yield psutil.Process(int(pid))

    def heard(self, text: str) -> int:
        """How many prompts that hold this text have reached an agent, and not as what was said before."""
        prompts = (each["m"]["params"]["prompt"] for each in self.agent_log.entries("session/prompt"))
        texts = ([block.get("text", "") for block in each] for each in prompts)
        return sum(any(text in one and not one.startswith(OPENING) for one in each) for each in texts)

    def until_heard(self, text: str) -> None:
        """Waits until an agent has this prompt."""
        until(lambda: self.heard(text) > 0, f"an agent to hear {text!r}")

    def home(self, session: Session) -> Path:
        """The home of a session's agents, where it lies on this machine."""
        return self.data_dir / "homes" / session.session_id

    def zombies(self) -> list[int]:
        """Children of the gateway that ended and were not reaped."""
        found = []
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(OSError):
                for pid in map(int, (thread / "children").read_text().split()):
                    with suppress(psutil.NoSuchProcess):
                        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                            found.append(pid)
        return found

    def settle(self) -> None:
        """Waits until no agent is left, nor any pipe to one."""
        until(lambda: not self.children(), "the agents' processes to be gone")
        until(lambda: not self.zombies(), f"zombies to be reaped: {self.zombies()}")
        until(lambda: not self.pipes(), f"the pipes to agents to be closed: {self.pipes()}")

    def pipes(self) -> list[str]:
        """What the gateway process holds open of its children: pipes and process descriptors."""
        folder = Path(f"/proc/{self.pid}/fd")
        found = []
        for each in folder.iterdir():
            try:
                target = os.readlink(each)
            except FileNotFoundError:
                continue
            if int(each.name) > STDERR and (target.startswith("pipe:") or "pidfd" in target):
                found.append(f"{each.name} {target}")
        return found

    def forget_peak(self) -> int:
        """Begins a new measurement of `peak_bytes`. Returns the memory that is resident now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return psutil.Process(self.pid).memory_info().rss

    def peak_bytes(self) -> int:
        """The most memory that was resident since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def _end(self, within_s: float) -> int:
        assert self._process is not None
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the gateway did not end within {within_s} s; {self.log()}") from None
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()
        return code

    def _first_line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(PATIENCE_S):
                self.kill()
                raise AssertionError(f"the gateway said nothing in {PATIENCE_S} s; {self.log()}")
        line = self._process.stdout.readline()
        if not line:
            code = self._end(PATIENCE_S)
            raise AssertionError(f"the gateway exited with {code} before it listened; {self.log()}")
        return line

    def _config(self) -> str:
        fake = {"argv": fake_agent.argv(), "env": VARIABLE, "ask_mode": "ask"}
        lines = [f"{name} = {_toml(value)}" for name, value in self.settings.items()]
        for name, entry in {"fake": fake, **self.agents}.items():
            lines.append(f"[agents.{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in entry.items()]
        return "\n".join(lines) + "\n"


def here(session: Session, told: str) -> Path:
    """Where something in a session's workspace lies, of which its agent tells by the path that it knows."""
    return Path(session.cwd) / Path(told).relative_to(session.agent_cwd)


def until(condition: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Waits for something that happens in another process and tells nobody."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s} s for: {what}"
        time.sleep(0.01)


def _pid_of_its_own(pid: int) -> str:
    """The number of a process in its own pid namespace; "" where it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1]
    return ""


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _clean_environ() -> dict[str, str]:
    """This process's environment without what would steer a gateway, an SDK or an agent."""
    steering = ("CLAWDFORGE_", "ANTHROPIC_", "CLAUDE", "OPENAI_", "GEMINI_")
    return {name: value for name, value in os.environ.items() if not name.startswith(steering)}
