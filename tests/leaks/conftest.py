"""Gateways at each level of the sandbox, what a way to end took, and the table of it all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge.testing import fake_agent
from harness.gateway import Gateway
from harness.stand import interpreter
from leaks import table

AGENT = "lossy"
LEVELS = ("bwrap", "landlock", "none")

NewGateway = Callable[[str], Gateway]


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A directory with the agent's program, which others may pass: of root's gateway agents are another user."""
    path = Path(tempfile.mkdtemp(prefix="leaks-", dir="/var/tmp"))
    path.chmod(0o711)
    program = Path(fake_agent.__file__).parent
    shutil.copytree(program, path / "program" / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def new_gateway(place: Path) -> Iterator[NewGateway]:
    """Starts gateways at a level, which the test may end; nothing of them is left after it."""
    made: list[Gateway] = []

    def make(level: str) -> Gateway:
        made.append(_gateway(place, level))
        return made[-1].start()

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session", params=LEVELS)
def lasting(place: Path, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A gateway of each level, which no test ends."""
    gateway = _gateway(place, request.param).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log()
    gateway.close()


def _gateway(place: Path, level: str) -> Gateway:
    root = Path(tempfile.mkdtemp(dir=place))
    root.chmod(0o711)
    program = place / "program"
    argv = [interpreter().path, "-I", "-S", str(program / "agent")]
    entry = {"argv": argv, "ask_mode": "ask", "readable": [str(program)]}
    return Gateway(root, agents={AGENT: entry}, settings={"sandbox": level, "cancel_timeout_secs": 0.1})


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls that wait."""
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture
def told(record_property: Callable[[str, Any], None]) -> Callable[[table.Cell], None]:
    """Puts a cell into the table."""
    return lambda cell: record_property(table.PROPERTY, cell.as_text())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, where somebody asked for more than dots."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    if terminalreporter.config.get_verbosity() > 0:
        terminalreporter.write_line(table.of(reports))
