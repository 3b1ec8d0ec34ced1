"""The command line as somebody has it at home: a gateway, a token of their own, and files that nobody else has."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from clawdforge import Forge
from clawdforge.cli.root import cli
from harness.gateway import Gateway
from harness.tenants import close_all
from harness.terminal import Terminal

_STEERING = ("CLAWDFORGE_", "XDG_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")


@dataclass(frozen=True)
class Command:
    """Runs `clawdforge` as this app.

    Attributes:
        forge: the same app by the SDK.
        home: where the command keeps its files.
        env: what it is started with.
    """

    forge: Forge
    home: Path
    env: dict[str, str]

    def __call__(self, *arguments: str | Path, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Runs it to its end, without a terminal and in this process: to start one costs more than it does."""
        words = [str(each) for each in arguments]
        env: dict[str, str | None] = {name: None for name in os.environ if name not in self.env}
        with chdir(self.home):
            done = CliRunner().invoke(cli, words, input=input, env={**env, **self.env}, prog_name="clawdforge")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout_bytes, done.stderr_bytes)

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        """Starts it, without a terminal."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.argv(*arguments), env=self.env, cwd=self.home, **{**pipes, **options})

    def terminal(self, *arguments: str | Path, **env: str) -> Terminal:
        """Starts it in a terminal of its own."""
        return Terminal(self.argv(*arguments), {**self.env, **env}, cwd=str(self.home))

    def argv(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "clawdforge", *map(str, arguments)]


@contextmanager
def command_of(gateway: Gateway, home: Path) -> Iterator[Command]:
    """The command of a new app of a gateway. In the end what it has left open is closed."""
    with gateway.admin() as admin:
        token = admin.mint_token(f"typed-{uuid.uuid4().hex}").token
    env = {name: value for name, value in os.environ.items() if not name.startswith(_STEERING)}
    env |= {"HOME": str(home), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    env |= {"CLAWDFORGE_URL": gateway.url, "CLAWDFORGE_TOKEN": token}
    with Forge(base_url=gateway.url, token=token) as forge:
        yield Command(forge, home, env)
        close_all(forge)
    gateway.settle()
