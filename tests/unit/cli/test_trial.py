"""`clawdforge agents test`: what it shows, what it keeps, how it ends, and that nothing of it runs on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from click.testing import Result

from clawdforge.testing import fake_agent
from clawdforge.testing.stories import STORIES

Invoke = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings that add the scripted agent, pointed at the model it never asks, and one that is not there."""
    file = tmp_path / "clawdforge.toml"
    file.write_text(
        f'[agents.mine]\nargv = {json.dumps(fake_agent.argv())}\nask_mode = "ask"\n'
        '[agents.mine.scripted]\nenv = { MODEL_URL = "{url}" }\n'
        f"[agents.plain]\nargv = {json.dumps(fake_agent.argv())}\n"
        '[agents.gone]\nargv = ["no-such-program-anywhere"]\n'
    )
    return file


def test_stories_are_played_and_shown_as_they_end(process: Process, config: Path, tmp_path: Path) -> None:
    place = ("--config", config, "--data-dir", tmp_path / "data")
    done = process("agents", *place, "test", "mine", "--story", "write", "--story", "json")
    assert done.returncode == 0, done.stderr
    heading, *rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert heading == ["STORY", "OUTCOME", "WHAT IT TELLS, OR WHY NOT"]
    titles = {story.name: story.title for story in STORIES}
    assert rows == [[name, "works", titles[name]] for name in ("json", "write")], "in the table's order"
    assert [line.split()[:2] for line in done.stderr.decode().splitlines()] == [
        ["works", "json"],
        ["works", "write"],
    ]
    assert not (tmp_path / "data" / "tested").exists(), "only the end of all stories is kept"


def test_a_story_that_fails_is_told_why_and_is_an_exit_code(process: Process, config: Path) -> None:
    done = process(
        "agents", "--config", config, "test", "mine", "--story", "context", "--story", "effort", "--json"
    )
    assert done.returncode == 5, done.stderr
    document = json.loads(done.stdout)
    assert (document["ok"], document["agent"], document["version"]) == (False, "mine", None)
    context, effort = document["stories"]
    assert (context["story"], context["outcome"]) == ("context", "fails")
    assert context["why"].startswith("expected the prompt to reach the model; saw ")
    assert (effort["story"], effort["outcome"], effort["why"]) == ("effort", "cannot", "it takes no effort")


def test_ctrl_c_leaves_nothing_running(config: Path, tmp_path: Path) -> None:
    """The scripted agent never asks the model, which the second story waits for."""
    argv = [sys.executable, "-m", "clawdforge", "agents", "--config", str(config), "test", "mine"]
    with subprocess.Popen(
        [*argv, "--story", "json", "--story", "killed"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stderr is not None
        assert command.stderr.readline().split()[:2] == ["works", "json"]
        started = psutil.Process(command.pid).children(recursive=True)
        assert any("serve" in each.cmdline() for each in started)
        command.send_signal(signal.SIGINT)
        assert "nothing of it runs on" in command.stderr.read()
        assert command.wait(60) == 130
    assert [each for each in started if each.is_running()] == []
    assert [path.name for path in tmp_path.iterdir()] == ["clawdforge.toml"], "the temporary folder is gone too"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nobody"], 2, "no agent is called 'nobody'; known are: "),
        (["mine", "--story", "nothing"], 2, "no story is called 'nothing'; there are: json, schema, "),
        (["gone"], 5, "the agent 'gone' cannot run here: the program 'no-such-program-anywhere' was not found"),
        (["plain"], 2, "[agents.plain.scripted] env = "),
    ],
)
def test_what_cannot_be_played_is_told_before_anything_starts(
    invoke: Invoke, config: Path, words: list[str], code: int, says: str
) -> None:
    result = invoke("agents", "--config", config, "test", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr


def test_help_tells_the_stories(invoke: Invoke) -> None:
    text = " ".join(invoke("agents", "test", "--help").stdout.split())
    for story in STORIES:
        assert f"{story.name} {story.title}" in text
