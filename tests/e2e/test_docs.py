"""What README and docs show is run as it stands: their Python, their curl lines, their settings."""

from __future__ import annotations

import getopt
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawdforge import Forge
from clawdforge.server.agents.catalog import catalog
from clawdforge.server.settings import AgentSettings
from clawdforge.testing import fake_agent
from clawdforge.wire.sse import Decoder
from harness.gateway import Gateway

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "src" / "clawdforge" / "server"
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    # The scripted agent answers in claude's name: what is tested here is what the reader types.
    root = tmp_path_factory.mktemp("docs")
    gateway = Gateway(root, agents={"claude": {"argv": fake_agent.argv(), "ask_mode": "ask"}}).start()
    yield gateway
    gateway.close()


def environment(gateway: Gateway, name: str) -> dict[str, str]:
    with gateway.admin() as admin:
        token = admin.mint_token(name).token
    return {"PATH": os.environ["PATH"], "CLAWDFORGE_URL": gateway.url, "CLAWDFORGE_TOKEN": token}


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_the_python_of_the_readme_runs(gateway: Gateway, number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks(README, "python")[number]],
        env=environment(gateway, f"python-{number}"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "it failed" not in done.stdout
    assert "turn " in done.stdout, "the scripted agent's answer is printed"


def test_the_curl_line_of_the_readme_is_a_call_that_works(gateway: Gateway) -> None:
    [line] = [each for each in blocks(README, "sh") if each.startswith("curl")]
    token = environment(gateway, "curl")["CLAWDFORGE_TOKEN"]
    program, *words = shlex.split(line.replace("$CLAWDFORGE_TOKEN", token).replace("\\\n", " "))
    options, [url] = getopt.gnu_getopt(words, "sH:d:")
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    [body] = [value for name, value in options if name == "-d"]
    assert (program, url) == ("curl", "http://127.0.0.1:8800/run")
    request = urllib.request.Request(f"{gateway.url}/run", body.encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        result = json.load(answer)
    assert result["ok"] is True
    assert result["session_id"].startswith("run_")


def test_the_stream_of_the_readme_is_cut_and_found_again(gateway: Gateway) -> None:
    [script] = [each for each in blocks(README, "sh") if each.startswith("ask()")]
    env = environment(gateway, "stream")
    done = subprocess.run(
        ["bash", "-eu", "-c", script.replace("http://127.0.0.1:8800", gateway.url)],
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
        assert forge.list_runs()["count"] == 1


AGENTS = (ROOT / "docs" / "agents.md").read_text()


def settings(agent: str) -> str:
    """The example of the docs that is about this agent."""
    [text] = [block for block in blocks(AGENTS, "toml") if f"[agents.{agent}]" in block]
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


@pytest.mark.parametrize(
    "document", ["README.md", "ARCHITECTURE.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_every_link_of_a_document_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert ((ROOT / document).parent / target).exists(), f"{document} links to {target}"


@pytest.mark.parametrize("room", sorted(each.parent.name for each in SERVER.glob("*/__init__.py")))
def test_every_module_of_a_room_stands_in_the_architecture(room: str) -> None:
    rows = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    (row,) = [row for row in rows if row.startswith(f"| `server/{room}` |")]
    modules = {each.stem for each in (SERVER / room).glob("*.py")} - {"__init__"}
    assert modules - set(re.findall(r"`(\w+)`", row)) == set()
