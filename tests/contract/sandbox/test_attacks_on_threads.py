"""What walls an agent in is taken by a thread of the gateway: none of them may stay where the agent reaches it."""

from __future__ import annotations

import os

from contract.sandbox.conftest import python
from harness.stand import Stand

# By signals, which would end the gateway as a whole, and by what shows its memory.
REACHED = """
import os, sys

def reached(tid):
    try:
        os.kill(int(tid), 0)
        return True
    except OSError:
        pass
    try:
        return bool(open(f"/proc/{tid}/maps").read(1))
    except OSError:
        return False

folder = f"/proc/{sys.argv[1]}/task"
print([tid for tid in (os.listdir(folder) if os.path.isdir(folder) else []) if reached(tid)])
"""


def test_no_thread_of_the_gateway_is_in_reach(stand: Stand) -> None:
    started, _ = stand.start(stand.space("own"), (python(), "-I", "-c", REACHED, str(os.getpid())))
    with started:
        assert started.communicate(timeout=60) == ("[]\n", "")
