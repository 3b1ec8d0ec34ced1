"""The command line: `clawdforge`.

This file only starts it, since it must load where the extra `cli` is not installed.
"""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Runs the console script and ends the process with one of the exit codes of `clawdforge --help`."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ModuleNotFoundError:
        print("The command line needs its extra: pip install 'clawdforge[cli]'", file=sys.stderr)
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An agent may say what the terminal's encoding lacks; its answer must not end as a traceback.
            stream.reconfigure(errors="backslashreplace")
    from clawdforge.cli.root import cli

    cli(prog_name="clawdforge")
