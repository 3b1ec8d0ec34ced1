"""The gateway's own log, as a process of its own writes it."""

from __future__ import annotations

import subprocess
import sys


def said(code: str) -> str:
    """What a program says on stderr that has configured its log and then runs this code."""
    setup = "import logging; from clawdforge.server.telemetry import configure; configure('info')\n"
    ran = subprocess.run([sys.executable, "-c", setup + code], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    return ran.stderr


def test_connections_that_cannot_be_taken_are_one_line_a_while() -> None:
    log = said(
        "log = logging.getLogger('asyncio')\n"
        "for _ in range(100): log.error('socket.accept() out of system resource')\n"
        "for _ in range(2): log.error('something else')\n"
    )
    assert log.count("out of system resource") == 1
    assert log.count("something else") == 2


def test_nothing_from_outside_colours_or_overwrites_a_line() -> None:
    log = said(r"logging.getLogger('clawdforge').warning('red \x1b[31m, back \r, wide \x9b')")
    assert r"red \x1b[31m, back \r, wide \x9b" in log
