"""What agents are told to do: drawn from a generator, with what must come of it where nobody disturbs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from chaos.history import Script

CALM: Final = Script("[[SAY calm]]", text="calm")
"""Nothing that can go wrong."""
BIG_BYTES: Final = 300_000
TOOLS: Final = ("execute", "edit", "read", "delete", "fetch")


def draw(rng: random.Random) -> Script:
    """Any of them, the ordinary ones more often."""
    kinds, weights = zip(*KINDS, strict=True)
    make: Callable[[random.Random], Script] = rng.choices(kinds, weights)[0]
    return make(rng)


def _says(rng: random.Random) -> Script:
    words = [f"{rng.randrange(1 << 30)} " for _ in range(rng.randint(1, 6))]
    does = "".join(f"[[SAY {word}]][[SLEEP {rng.uniform(0, 0.15):.3f}]]" for word in words)
    return Script(does, text="".join(words))


def _works(rng: random.Random) -> Script:
    arguments = f'{{"n": {rng.randrange(1 << 30)}}}'
    return Script(f"[[THINK hm]][[PLAN a|b]][[TOOL look {arguments}]][[USAGE]][[SAY done]]", text="done")


def _writes(rng: random.Random) -> Script:
    name = f"file-{rng.randrange(5)}.txt"
    return Script(f"[[WRITE {name} {rng.randrange(1 << 30)}]][[SAY written]]", text="written")


def _floods(rng: random.Random) -> Script:
    count = rng.randint(100, 1500)
    return Script(f"[[FLOOD {count}]]", text="".join(f"{number} " for number in range(count)))


def _ticks(rng: random.Random) -> Script:
    count = rng.randint(5, 60)
    return Script(f"[[RATE {count} {rng.choice((50, 200))}]]", text="".join(f"{each} " for each in range(count)))


def _is_big(_: random.Random) -> Script:
    return Script(f"[[BIGTEXT {BIG_BYTES}]]", text="x" * BIG_BYTES)


def _is_noisy(rng: random.Random) -> Script:
    noise = rng.choice(("[[GARBAGE]]", "[[STDERR 20000]]", "[[UNKNOWN]]", "[[TWICE]]"))
    return Script(f"{noise}[[SAY still here]]", text="still here")


def _leaves(rng: random.Random) -> Script:
    """Processes, which must be gone in the end. What it says of them is not known before."""
    way = rng.choice(("group", "setsid", "orphan", "daemon", "bare", "deaf", "pipe"))
    return Script(f"[[CHILD]][[LEAVE {way} {rng.randrange(1 << 60)}]]", text=None)


def _asks(rng: random.Random) -> Script:
    """What it is answered is in what it says."""
    return Script("".join(f"[[ASK {kind} -]]" for kind in rng.sample(TOOLS, 2)), text=None)


def _is_empty(_: random.Random) -> Script:
    return Script("[[EMPTY]]", ok=False)


def _stops(rng: random.Random) -> Script:
    reason = rng.choice(("refusal", "max_tokens", "max_turn_requests"))
    return Script(f"[[SAY so far]][[STOP {reason}]]", reason, ok=reason != "refusal", text="so far")


def _fails(rng: random.Random) -> Script:
    fault = rng.choice(("[[ERROR -32603 its own]]", "[[EXIT 3]]", "[[KILL9]]", "[[NO_NEWLINE]]", "[[GRANDCHILD]]"))
    return Script(f"[[SAY before]]{fault}", "agent_failed", ok=False)


def _hangs(rng: random.Random) -> Script:
    stubborn = rng.choice(("", "[[IGNORE_CANCEL]]", "[[CANCEL_ERROR]]", "[[IGNORE_CANCEL]][[IGNORE_SIGTERM]]"))
    return Script(f"[[SAY now]]{stubborn}[[HANG]]", "timeout", ok=False, timeout_s=1)


KINDS: Final = (
    (_says, 36),
    (_works, 15),
    (_writes, 8),
    (_floods, 6),
    (_ticks, 8),
    (_is_big, 3),
    (_is_noisy, 4),
    (_leaves, 3),
    (_asks, 12),
    (_is_empty, 2),
    (_stops, 3),
    (_fails, 4),
    (_hangs, 3),
)
