"""The command line: `clawdforge`, and its short form `cf`.

This file only starts it, since it must load where the extra `cli` is not installed.
"""

from __future__ import annotations

import io
import os
import sys

_INTERRUPTED = 130  # as `failures.Exit` has it, which may not have been loaded


def main() -> None:
    """Runs the console script and ends the process with one of the exit codes of `clawdforge --help`."""
    try:
        _prepare()
        from clawdforge.cli.root import cli
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    cli(prog_name="clawdforge")


def main_cf() -> None:
    """The same for the console script `cf`."""
    try:
        _prepare()
        from clawdforge.cli.short import cf
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    cf(prog_name="cf")


def _prepare() -> None:
    """Sees that there is something to run, and something to print to."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ModuleNotFoundError:
        print("The command line needs its extra: pip install 'clawdforge[cli]'", file=sys.stderr)
        sys.exit(2)
    # A standard stream that was closed is None, and every `isatty()` a traceback.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115  # for as long as we live
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An agent may say what the terminal's encoding lacks; its answer must not end as a traceback.
            stream.reconfigure(errors="backslashreplace")
