"""openat2(2): finds what lies below an open directory, and has the kernel see to it that it lies there.

One system call, of Linux 5.6. Must not decide what is done where there is none.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

_NUMBER: Final = 437  # on every architecture
_NO_MAGIC_LINKS, _NO_LINKS, _BENEATH = 0x02, 0x04, 0x08
_libc: Final = ctypes.CDLL(None, use_errno=True)


def open_beneath(root: int, path: str, flags: int) -> int:
    """Opens a path below an open directory; no step of it is a link, or leads out, also not at this very moment.

    Raises:
        OSError: it cannot be opened; ENOSYS where the kernel has no such call, EPERM where a filter refuses it.
    """
    how = struct.pack("=QQQ", flags, 0, _NO_MAGIC_LINKS | _NO_LINKS | _BENEATH)
    opened: int = _libc.syscall(_NUMBER, root, os.fsencode(path), how, ctypes.c_size_t(len(how)))
    if opened < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return opened
