"""What an agent's program consists of: what of this machine must be in its sight, so that it can run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def consists_of(argv: Sequence[str], readable: Sequence[str] = ()) -> tuple[Path, ...]:
    """The files and directories that a command line needs to be seen behind a wall, outermost only."""
    wanted = [sys.prefix, sys.base_prefix, *sys.path[1:], *readable]
    for word in argv:
        if word.startswith("/") and Path(word).exists():
            wanted += [word, os.path.realpath(word)]
    found = sorted({Path(each) for each in wanted if each and Path(each).exists()})
    return tuple(each for each in found if not any(each.is_relative_to(other) for other in found if other != each))
