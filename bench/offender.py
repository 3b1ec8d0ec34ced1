"""Gives one prompt again and again until it is ended: to a session (URL, token, path), or `apart` to an agent.

The prompt comes on stdin. A program of its own, so that its work is not done by the process that measures.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

import json  # noqa: E402 - the bench had to be found first

from bench.clients import Plain, RawAgent  # noqa: E402


def main() -> None:
    prompt = sys.stdin.read()
    if sys.argv[1] == "apart":
        agent = RawAgent()
        print("begins", flush=True)
        while True:
            try:
                agent.prompt(prompt)
            except ValueError:  # no line came: it has died
                agent = RawAgent()
    url, token, path = sys.argv[1:]
    client = Plain(url, token)
    body = json.dumps({"prompt": prompt}).encode()
    print("begins", flush=True)
    while True:
        client.ask("POST", path, body)


main()
