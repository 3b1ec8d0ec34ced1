"""`CLAWDFORGE_LOG`: what is called, on stderr, without what must not be seen."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from clawdforge import Forge
from clawdforge.testing import FakeGateway

SCRIPT = """
import asyncio, io, sys
from clawdforge import AsyncForge, Forge

def use(forge):
    token = forge.upload_file(io.BytesIO(b"a secret file"))
    forge.run("a secret prompt", files=[token], system="a secret system")
    forge.get_file(token)
    list(forge.stream("a secret stream"))

async def use_async():
    async with AsyncForge() as forge:
        await forge.run("a secret prompt")

with Forge() as forge, Forge() as again:
    use(forge)
asyncio.run(use_async())
"""


def shown(gateway: FakeGateway, level: str | None, script: str = SCRIPT) -> list[str]:
    """What a program writes to stderr."""
    env = {**os.environ, **gateway.environ}
    if level is not None:
        env["CLAWDFORGE_LOG"] = level
    child = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr
    return child.stderr.splitlines()


def test_all_calls_once_and_no_secret(gateway: FakeGateway) -> None:
    lines = shown(gateway, "debug")
    told = "\n".join(lines)
    assert [line.split(" ", 2)[2].partition(" (")[0] for line in lines] == [
        "clawdforge DEBUG POST /files",
        "clawdforge DEBUG POST /run",
        "clawdforge DEBUG GET /files/ff_…",
        "clawdforge DEBUG POST /run",
        "clawdforge DEBUG POST /run",
    ]
    assert all("HTTP 200 (req_" in line and line.endswith(" ms") for line in lines)
    assert "secret" not in told and "cf_" not in told and "ff_…" in told
    assert all(each.name not in told for each in gateway.uploads if each.name)


@pytest.mark.parametrize("level", [None, " ERROR\n"])
def test_nothing_where_nothing_is_wanted(gateway: FakeGateway, level: str | None) -> None:
    assert shown(gateway, level) == []


def test_a_word_that_is_no_level_is_warned_of_and_breaks_nothing(gateway: FakeGateway) -> None:
    script = "from clawdforge import Forge\nwith Forge() as forge: forge.healthz()"
    assert shown(gateway, "loud", script) == [
        "CLAWDFORGE_LOG must be one of debug, info, warning, error; what it is now shows nothing"
    ]


def test_an_app_that_logs_says_itself_where_it_goes(gateway: FakeGateway) -> None:
    script = (
        "import logging, sys\n"
        "logging.basicConfig(stream=sys.stdout, format='mine: %(message)s')\n"
        "from clawdforge import Forge\n"
        "with Forge() as forge: forge.healthz()"
    )
    assert shown(gateway, "debug", script) == []


@pytest.mark.parametrize("level", ["debug", "Info", "nonsense", ""])
def test_within_a_process_that_logs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, level: str
) -> None:
    caplog.set_level("CRITICAL", "clawdforge")  # puts back what it was, at the end
    monkeypatch.setenv("CLAWDFORGE_LOG", level)
    handlers = caplog.handler, *_logger().handlers
    Forge(base_url="http://gateway.test").close()
    assert (caplog.handler, *_logger().handlers) == handlers
    expected = {"debug": 10, "Info": 20}.get(level, 50)
    assert _logger().level == expected


def test_where_nothing_shows_the_log_it_is_shown_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("WARNING", "clawdforge")
    monkeypatch.setattr(_logger(), "propagate", False)
    monkeypatch.setattr(_logger(), "handlers", [])
    monkeypatch.setenv("CLAWDFORGE_LOG", "info")
    for _ in range(2):
        Forge(base_url="http://gateway.test").close()
    _logger().info("told")
    assert capsys.readouterr().err.splitlines()[0].endswith(" clawdforge INFO told")
    assert len(_logger().handlers) == 1


def _logger() -> logging.Logger:
    return logging.getLogger("clawdforge")
