"""A user namespace for a gateway that is root: agents live in it, and it knows no other uid than theirs.

Linux only. Blocking: a few milliseconds, once.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def make(unshare: str, inner_id: int, outer_id: int) -> int:
    """Makes a user namespace with one uid and one gid in it. Returns a descriptor that keeps it alive.

    Args:
        unshare: that program's path.
        inner_id: the uid and gid inside.
        outer_id: what they are on this machine.

    Raises:
        OSError: this machine does not allow it.
    """
    holder = subprocess.Popen([unshare, "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdin and holder.stdout
        holder.stdin.write(b".")
        holder.stdin.flush()
        if holder.stdout.read(1) != b".":  # it echoes once it is inside
            raise PermissionError("no user namespace could be made")
        process = Path("/proc") / str(holder.pid)
        for name in ("uid_map", "gid_map"):
            (process / name).write_text(f"{inner_id} {outer_id} 1")
        fd = os.open(process / "ns" / "user", os.O_RDONLY | os.O_CLOEXEC)
        holder.stdin.close()
    return fd
