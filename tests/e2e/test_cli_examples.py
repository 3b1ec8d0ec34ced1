"""What `--help` teaches is true: each of its examples is run, as it stands there, against a real gateway.

Names in them stand for things that are made first: `sess_abc`, `run_abc`, `ff_…`, `my-app`, files.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from clawdforge import Forge, PermissionRequestEvent
from clawdforge.testing import fake_agent
from harness import agents, examples
from harness.command import Command, command_of
from harness.gateway import Gateway

FETCHES = "what it installs comes from elsewhere"
PLAYS = "the agent must be installed; tests/agents plays the stories with it"
NOT_RUN = {
    "clawdforge agents install local": FETCHES,
    "clawdforge agents install claude --data-dir ./data": FETCHES,
    "clawdforge agents test claude": PLAYS,
    "clawdforge agents test codex --story write --story killed": PLAYS,
}
SHELL = set("|$<>\n")
# Of `cf`, whose commands are the same ones, those that need no shell; that there is a `cf` is seen once.
RUN = [
    each
    for each in examples.all_blocks()
    if each not in NOT_RUN and not (SHELL & set(each) and "clawdforge" not in each)
]
AS_PROGRAM = "cf healthz"
FILES = {
    "report.pdf": "%PDF",
    "may.pdf": "%PDF",
    "june.pdf": "%PDF",
    "bills.json": "{}",
    "log.txt": "once upon a time",
    "question.txt": "Why?",
    "clawdforge.toml": f"[agents.mine]\nargv = {fake_agent.argv()}\nask_mode = 'ask'\n"
    "[agents.mine.scripted]\nenv = { MODEL_URL = '{url}' }\n",
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose claude and codex are the scripted agent."""
    stand_in = Gateway(
        tmp_path_factory.mktemp("examples"),
        agents={"claude": agents.scripted(), "codex": agents.scripted()},
        settings={"cancel_timeout_secs": 0.5},
    )
    stand_in.start()
    yield stand_in
    assert stand_in.stop() == 0, stand_in.log()
    stand_in.close()


@dataclass(frozen=True)
class World:
    """Somebody's home, in which an example finds all that it names."""

    gateway: Gateway
    command: Command
    home: Path

    def filled_in(self, example: str) -> str:
        """The example with the names of what there is."""
        made = {
            "sess_abc": lambda: self._session(closed="session watch" in example, asks="session answer" in example),
            "run_abc": self._run,
            "ff_…": self._upload,
            "my-app": lambda: self._app(known="revoke" in example),
            "/run/secrets/forge": lambda: str(self.gateway.data_dir / "admin-token"),
        }
        typed = example
        for name in filter(example.__contains__, made):
            typed = typed.replace(name, made[name]())
        return typed

    def forge(self) -> Forge:
        """The same app by the SDK, for a moment: a test may leave no connection behind."""
        return Forge(base_url=self.gateway.url, token=self.command.env["CLAWDFORGE_TOKEN"])

    def _session(self, *, closed: bool = False, asks: bool = False) -> str:
        with self.forge() as forge:
            session = forge.create_session("claude", permissions="ask" if asks else "allow")
            if asks:
                with session.stream("[[WRITE a.txt hello]]") as stream:
                    assert any(isinstance(each, PermissionRequestEvent) for each in stream)
            else:
                session.turn("[[WRITE a.txt hello]]")
            if closed:
                session.close()
            return session.session_id

    def _run(self) -> str:
        with self.forge() as forge:
            return forge.run("[[SAY hello]]").run_id

    def _upload(self) -> str:
        with self.forge() as forge:
            return forge.upload_file(self.home / "log.txt").file_token

    def _app(self, *, known: bool) -> str:
        name = f"my-app-{uuid.uuid4().hex}"
        if known:
            with self.gateway.admin() as admin:
                admin.mint_token(name)
        return name


@pytest.fixture(scope="module")
def world(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("home")
    programs = home / "bin"
    programs.mkdir()
    for name, function in (("clawdforge", "main"), ("cf", "main_cf")):
        code = f"from clawdforge.cli import {function}; {function}()"
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
        (programs / name).chmod(0o755)
    for name, content in FILES.items():
        (home / name).write_text(content)
    (home / ".config" / "fish" / "completions").mkdir(parents=True)  # as fish makes it
    subprocess.run(["git", "init", "-q"], cwd=home, check=True)
    subprocess.run(["git", "add", "-N", "log.txt"], cwd=home, check=True)
    with command_of(gateway, home) as command:
        command.env["PATH"] = f"{programs}:{os.environ['PATH']}"
        command.env["CLAWDFORGE_ADMIN_TOKEN"] = (gateway.data_dir / "admin-token").read_text().strip()
        command.env["CLAWDFORGE_PORT"] = "0"
        yield World(gateway, command, home)


@pytest.mark.parametrize("example", RUN)
def test_an_example_works(example: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = world.filled_in(example)
    if "--continue" in typed:
        world.filled_in("sess_abc")
    if typed.startswith("clawdforge serve"):
        serves(typed, world.command)
    elif SHELL & set(typed) or typed == AS_PROGRAM:
        done = subprocess.run(
            ["bash", "-euc", typed],
            env=world.command.env,
            cwd=world.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert b"Error" not in done.stderr
    else:
        # In this process: starting one costs more than most commands do.
        for name, value in world.command.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(world.home)
        script, *words = shlex.split(typed)
        result = CliRunner().invoke(examples.ROOTS[script], words, prog_name=script)
        # What is missing on this machine is its own matter.
        assert result.exit_code in ((0, 1) if words == ["doctor"] else (0,)), result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)


def serves(typed: str, command: Command) -> None:
    """It runs until it is told to stop."""
    with subprocess.Popen(
        ["bash", "-euc", f"exec {typed}"],
        env=command.env,
        cwd=command.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as gateway:
        assert gateway.stdout is not None
        url = gateway.stdout.readline().split()[-1]
        try:
            with Forge(base_url=url, token="x") as forge:
                assert forge.healthz()["ok"]
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.communicate(timeout=60)  # its last words need somebody to take them
    assert gateway.returncode == 0


def test_what_is_not_run_is_still_there() -> None:
    assert {*NOT_RUN, AS_PROGRAM} < set(examples.all_blocks())
