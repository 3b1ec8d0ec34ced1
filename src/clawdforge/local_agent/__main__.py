"""The program: its arguments, its file descriptors and its end.

Exit codes: 0 the client closed its side, 1 there is no model to start with, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the client on stdin and stdout until it closes stdin; the model is loaded before it is answered.

    Returns:
        The exit code.
    """
    arguments = _arguments(argv)
    from clawdforge.local_agent import agent, model, protocol

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once, where an exception would wait for the library
    sink_fd = _take_stdout()
    try:
        loaded = model.load(arguments.model.absolute(), arguments.n_ctx)
    except model.ModelMissing as error:
        print(error, file=sys.stderr)
        return 1
    agent.Agent(protocol.Peer(sys.stdin.buffer, sink_fd), loaded).serve()
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clawdforge.local_agent",
        description="An ACP agent on stdin and stdout: a small language model on this CPU, offline.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="PATH", help="the weights, a GGUF file")
    parser.add_argument(
        "--n-ctx", type=_tokens, default=2048, metavar="TOKENS", help="longest conversation (default: %(default)s)"
    )
    return parser.parse_args(argv)


def _tokens(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 256 <= int(text) <= 131_072:
        raise argparse.ArgumentTypeError("must be a whole number between 256 and 131072")
    return int(text)


def _take_stdout() -> int:
    """Gives the real stdout under another number; whatever prints, in any language, then prints on stderr."""
    sink_fd = os.dup(1)
    os.dup2(2, 1)
    return sink_fd


if __name__ == "__main__":
    code: int = main()
    sys.stderr.flush()
    # At once: answers that are under way have nobody left to hear them, and the library's destructor can hang.
    os._exit(code)
