"""What looking at workspaces, for what turns change, adds to a warm turn: beside a gateway that does not look."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.clients import Plain
from bench.rows import AGENT, Bar, Bench, Findings, Stage
from bench.sampling import combined, interleaved

ROUNDS = 1000
WARM_UP = 50
SAYS, WRITES = "[[SAY x]]", "[[DISK written.bin 4000]][[SAY x]]"
CASES = {
    "looks": (20, SAYS),
    "looks, added to a turn in a workspace of 300 files": (300, SAYS),
    "looks, added to a turn that changes a file right after one that did": (20, WRITES),
}
LOOKS = Bar("turn.looks", "warm turn in a workspace of 20 files, over one that nobody looks at, p50", "ms", 0.1)


def measure(stage: Stage) -> Findings:
    """The row of looks. Most turns change nothing, and most workspaces are small; the others are probes."""
    with ExitStack() as closing:
        clients: dict[str, Plain] = {}
        for name, settings in (("looked", {}), ("plain", {"snapshot_bytes": 0})):
            clients[name] = closing.enter_context(stage.gateway(settings=settings)).plain()
        found = {
            what: interleaved(
                {name: partial(client.call, *_turn(client, files, prompt)) for name, client in clients.items()},
                stage.rounds(ROUNDS),
                WARM_UP,
            )
            for what, (files, prompt) in CASES.items()
        }
    added = {what: combined(samples, {"looked": 1, "plain": -1}, 0.5) for what, samples in found.items()}
    row = added.pop("looks")
    return Findings({LOOKS.name: row}, [(what, f"{each.value:.2f} ms p50") for what, each in added.items()])


def _turn(client: Plain, files: int, prompt: str) -> tuple[str, str, bytes]:
    """A call that asks for a turn of a new session, with so many files in its workspace."""
    path = client.create_session(AGENT)
    workspace = Path(json.loads(client.call("GET", path))["cwd"])
    for number in range(files):
        (workspace / f"file-{number}.txt").write_text(f"{number}\n" * 100)
    return "POST", f"{path}/turn", json.dumps({"prompt": prompt}).encode()


BENCH = Bench("looks", (LOOKS,), measure)
