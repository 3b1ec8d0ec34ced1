"""`make run`, as its reader sees it, with the embedded agent: the conversation, curl lines that work, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ANSWERED = re.compile(r"^  local .*?\[\d+\.\d\d s\]$", re.MULTILINE | re.DOTALL)
CURL = re.compile(r"^  (curl (?:.*\\\n)*.*)$", re.MULTILINE)


@pytest.fixture
def demo(repo_root: Path, model_weights: Path, tmp_path: Path) -> Path:
    """The program in a checkout of its own, which has the weights already."""
    (tmp_path / "tools").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "models").symlink_to(model_weights.parent)
    return Path(shutil.copy(repo_root / "tools" / "demo.py", tmp_path / "tools"))


@pytest.fixture
def running(demo: Path) -> Iterator[subprocess.Popen[str]]:
    # Whatever is set for another gateway is not for this one.
    env = {**os.environ, "CLAWDFORGE_PORT": "1", "CLAWDFORGE_ADMIN_TOKEN": "of-another-gateway"}
    with subprocess.Popen([sys.executable, demo], env=env, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def test_it_talks_shows_what_to_paste_and_serves_until_ctrl_c(running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    said = ""
    while not said.endswith("Serving. Ctrl-C ends it.\n"):
        line = running.stdout.readline()
        assert line, f"it ended after: {said}"
        said += line

    assert len(ANSWERED.findall(said)) == 4, said
    asked = re.findall(r"^  you +(.+)$", said, re.MULTILINE)
    assert asked[1:] == ["I have a red bicycle and a blue car.", "What colour is my bicycle?", "And my car?"]
    answers = [json.loads(subprocess.check_output(["bash", "-c", line])) for line in CURL.findall(said)]
    assert [each["ok"] for each in answers] == [True, True, True]
    assert (answers[1]["count"], answers[1]["sessions"][0]["turn_count"]) == (1, 3)
    assert answers[2]["result"]

    running.send_signal(signal.SIGINT)
    assert (running.wait(), running.stdout.read()) == (0, "\nStopping.\n")
