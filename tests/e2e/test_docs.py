"""What README and docs show is run as it stands: their Python, their shell lines, their settings."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawdforge import Forge
from clawdforge.server.agents.catalog import catalog
from clawdforge.server.settings import AgentSettings
from clawdforge.testing import fake_agent
from clawdforge.wire.sse import Decoder
from harness import pages
from harness.gateway import Gateway
from harness.pages import ROOT, Snippet

SERVER = ROOT / "src" / "clawdforge" / "server"
WITH_PYTHON = [page for page in pages.PAGES if pages.programs(page)]
SCRIPTS = [each for page in pages.PAGES for each in pages.scripts(page)]

# What the agent does where a page asks for more than words: by words of the prompt.
SCRIPT = {
    "three colours": '[[JSON {"colours": ["red", "green", "blue"]}]]',
    "largest": '[[JSON {"name": "Tokyo", "country": "Japan", "people": 14000000}]]',
    "Review app.py": '[[JSON {"verdict": "fine", "faults": ["no docstring"]}]]',
    "Triage this": '[[JSON {"label": "bug", "urgent": true}]]',
    "login page": '[[JSON {"hours": 2.5, "why": "It is a form."}]]',
    "whatever the form says": "[[SAY hello]]",
    "hello.py": "[[WRITE hello.py print('hello')]][[SAY It prints a greeting.]]",
    "Make it shout": "[[WRITE hello.py print('HELLO')]][[SAY It shouts.]]",
    "Sum up data": "[[WRITE notes.md # Notes: 3]][[SAY It is 3.]]",
    "Look around": '[[TOOL list {"path": "."}]][[SAY There is nothing here.]]',
    "Tidy up": "[[SH rm -rf build]][[SAY It is tidy.]]",
    "Count to a million": "[[SAY one]][[HANG]]",
}
SAID = {
    "README.md": ["turn 1: Sum README.md up", "Tokyo 14000000", "+print('hello')", "turn 1: Tell me a story"],
    "docs/tutorial.md": [
        "turn 2: What colour is my bicycle?",
        "14,000,000 people",
        "it wants to: ",
        "added hello.py",
    ],
    "docs/streaming.md": ["[list]", "True cancelled", "turn_start 1"],
    "docs/answers-as-data.md": ["fine 1", "bug", "2.5", "the answer is no Number", "True []", "red None"],
    "docs/permissions.md": ["refused: ", "It is tidy."],
    "docs/files.md": ["19 of 19", "file data/report.csv 19", "# Notes: 3", "print('HELLO')\nprint('hello')"],
    "docs/retries.md": ["True"],
    "docs/asyncio.md": ["turn 1: What is 2 times 2?", "end_turn", "hello.py"],
}
READERS = itertools.count(1)
FILES = {"report.csv": "what,count\na,1\nb,2\n", "app.py": "print('hello')\n"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    # The scripted agent answers in their names: what is tested here is what the reader types.
    agent = {"argv": fake_agent.argv(), "ask_mode": "ask", "env": {"FAKE_AGENT_SCRIPT": json.dumps(SCRIPT)}}
    gateway = Gateway(tmp_path_factory.mktemp("docs"), agents={"claude": agent, "local": agent}).start()
    yield gateway
    gateway.close()


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Where the reader sits: a directory with the files that the pages speak of."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    (tmp_path / ".config" / "fish" / "completions").mkdir(parents=True)  # as fish makes it
    venv = tmp_path / "clawdforge" / "bin"  # where README and tutorial install it
    venv.mkdir(parents=True)
    (venv / "activate").write_text(f"PATH='{Path(sys.executable).parent}':$PATH\n")
    return tmp_path


def environment(gateway: Gateway, home: Path) -> dict[str, str]:
    admin_token = (gateway.data_dir / "admin-token").read_text().strip()
    with gateway.admin() as admin:
        token = admin.mint_token(f"reader-{next(READERS)}").token
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "CLAWDFORGE_URL": gateway.url,
        "CLAWDFORGE_TOKEN": token,
        "CLAWDFORGE_ADMIN_TOKEN": admin_token,
    }


def typed(words: list[str], gateway: Gateway, desk: Path) -> str:
    """What is printed where somebody types this; it must not fail."""
    done = subprocess.run(
        words,
        env=environment(gateway, desk),
        cwd=desk,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_has_what_those_who_come_back_look_for() -> None:
    headings = re.findall(r"^## (.+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {"Two commands", "Multi-turn / Sessions (v0.2)", "HTTP"} <= set(headings)


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_runs(gateway: Gateway, desk: Path, page: str) -> None:
    said = typed([sys.executable, "-P", "-W", "error", pages.__file__, page], gateway, desk)
    assert [words for words in SAID[page] if words not in said] == [], said


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: f"{each.page}:{each.line}")
def test_the_shell_lines_of_a_page_run(gateway: Gateway, desk: Path, script: Snippet) -> None:
    lines = script.code.replace("http://127.0.0.1:8800", gateway.url)
    typed(["bash", "-eu", "-c", lines], gateway, desk)


@pytest.mark.parametrize("page", ["README.md", "docs/streaming.md"])
def test_the_stream_of_a_page_is_cut_and_found_again(gateway: Gateway, desk: Path, page: str) -> None:
    [script] = [each for each in pages.scripts(page) if each.code.startswith("ask()")]
    env = environment(gateway, desk)
    done = subprocess.run(
        ["bash", "-eu", "-c", script.code.replace("http://127.0.0.1:8800", gateway.url)],
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *cut, rest = done.stdout.split(b"\n", 3)
    assert cut[0] == b"id: 1"
    frames = [*Decoder().feed(rest)]
    assert (frames[0].event, frames[-1].event) == ("turn_start", "turn_end")
    assert cut == f"id: {frames[0].id}\nevent: {frames[0].event}\ndata: {frames[0].data}".encode().split(b"\n")
    with Forge(base_url=gateway.url, token=env["CLAWDFORGE_TOKEN"]) as forge:
        assert len([*forge.runs()]) == 1


def settings(agent: str) -> str:
    """The example of the docs that is about this agent."""
    [text] = [each.code for each in pages.snippets("docs/agents.md", "toml") if f"[agents.{agent}]" in each.code]
    return text


def test_the_settings_in_the_docs_are_settings() -> None:
    agents = {name: AgentSettings(**entry) for name, entry in tomllib.loads(settings("mine"))["agents"].items()}
    entry = catalog(agents)["mine"]
    assert entry.argv == ("python3", "my_agent.py")
    assert entry.login_files == ("~/.mine/credentials.json",)


def test_an_agent_is_added_by_the_settings_in_the_docs_alone(tmp_path: Path) -> None:
    (tmp_path / "clawdforge.toml").write_text(settings("new"))
    # The example's python3 is the one that has clawdforge.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    stories = ("json", "write", "refused")
    words = ["agents", "--config", "clawdforge.toml", "--data-dir", "data", "test", "new", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "clawdforge", *words, *(f"--story={name}" for name in stories)],
        env={**os.environ, "PATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    played = {each["story"]: each["outcome"] for each in json.loads(done.stdout)["stories"]}
    assert played == dict.fromkeys(stories, "works")


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "SECURITY.md", *pages.PAGES])
def test_every_link_of_a_document_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert ((ROOT / document).parent / target).exists(), f"{document} links to {target}"


@pytest.mark.parametrize(
    "room", ["client", "cli", *sorted(f"server/{each.parent.name}" for each in SERVER.glob("*/__init__.py"))]
)
def test_every_module_of_a_room_stands_in_the_architecture(room: str) -> None:
    rows = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    (row,) = [row for row in rows if row.startswith(f"| `{room}` |")]
    modules = {each.stem for each in (SERVER.parent / room).glob("*.py")} - {"__init__"}
    assert modules - set(re.findall(r"`(\w+)`", row)) == set()
