"""How root starts a program as another user without a fork of the gateway.

Python becomes another user only between fork and exec, and then has no `vfork`: with a gateway's memory that takes
5 to 7 ms, not 0.3. So a small program becomes that user, and then the one that is to be started. Must not start
that: `spawning` does.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

_SYSTEM: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_TRIAL_TIMEOUT_S: Final = 20
_STEERING: Final = ("LD_", "GLIBC_", "GCONV_", "LOCPATH", "NLSPATH", "MALLOC_", "MUSL_")
"""How variables begin by which whoever sets them has a program load what they have written. Source: ld.so(8)."""


def found(uid: int) -> tuple[str, ...]:
    """The words ahead of a command line that have it run by this uid and gid, without other groups.

    Blocking. () where that does not work here: in containers that may not call chroot, with the chroot of busybox.
    """
    chroot = shutil.which("chroot", path=_SYSTEM)
    if chroot is None:
        return ()
    # Its root stays. With + a number is a number: setpriv would first look for a user of that name, anywhere.
    words = (chroot, f"--userspec=+{uid}:+{uid}", "--groups=", "--skip-chdir", "/")
    with suppress(OSError, subprocess.SubprocessError):
        tried = (*words, "/bin/sh", "-c", "id -u; id -g; id -G")
        told = subprocess.run(tried, capture_output=True, timeout=_TRIAL_TIMEOUT_S, check=True).stdout
        if told.split() == [str(uid).encode()] * 3:
            return words
    return ()


def may_be_told(env: Iterable[str]) -> bool:
    """Whether root may run a program in an environment of these variables: none says what it loads."""
    return not any(name.startswith(_STEERING) for name in env)
