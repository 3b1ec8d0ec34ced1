"""How root starts a program as an ordinary user who, on this machine, could not even reach it.

A developer's Python or checkout may lie where only root can pass. In a mount namespace of the program's own, the
directories above are replaced by open ones in which there is nothing but what it needs.
"""

from __future__ import annotations

import shlex
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def command(uid: int, holder: Path, needed: Iterable[Path] = ()) -> tuple[str, ...]:
    """What to put before a command line.

    Args:
        uid: the user and the group that it is to have.
        holder: an empty directory, which stays empty for everybody else.
        needed: directories that it needs beside this Python and the checkout.
    """
    wanted = {Path(sys.base_prefix), Path(sys.prefix), CHECKOUT, *needed}
    shown = sorted({each.resolve() for each in wanted if _closed_above(each.resolve())})
    closed = sorted({_closed_above(each) for each in shown} - {None}, key=str)
    steps = ["set -e", f"mount -t tmpfs none {shlex.quote(str(holder))}"]
    for number, path in enumerate(shown):
        kept = shlex.quote(f"{holder}/{number}")
        steps += [f"mkdir {kept}", f"mount --rbind {shlex.quote(str(path))} {kept}"]
    steps += [f"mount -t tmpfs -o mode=0755 none {shlex.quote(str(each))}" for each in closed]
    for number, path in enumerate(shown):
        quoted = shlex.quote(str(path))
        steps += [f"mkdir -p {quoted}", f"mount --move {shlex.quote(f'{holder}/{number}')} {quoted}"]
    become = f"setpriv --reuid {uid} --regid {uid} --clear-groups"
    steps.append(f'exec {become} -- "$@"')
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(steps), "sh")


def _closed_above(path: Path) -> Path | None:
    """The uppermost directory above it that others cannot pass."""
    return next((each for each in reversed(path.parents) if not each.stat().st_mode & stat.S_IXOTH), None)
