"""Runs a program where namespaces are refused to it, as Docker's filter does by default in a container.

A program of its own: `python without_namespaces.py PROGRAM …`. What it runs has the filter for good, with all that
starts from there. Source: seccomp(2), clone(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from types import MappingProxyType
from typing import Final

CLONE: Final = MappingProxyType({"x86_64": 56, "aarch64": 220})
CLONE3: Final = 435
"""What it is asked for no filter can see: programs are told that there is no such call, and use the other one."""
REFUSED: Final = MappingProxyType(
    {  # unshare, setns, mount, umount2, pivot_root
        "x86_64": (272, 308, 165, 166, 155),
        "aarch64": (97, 268, 40, 39, 41),
    }
)
NEW_NAMESPACES: Final = 0x7E020000

_LOAD, _EQUAL, _ANY_BIT, _ANSWER = 0x20, 0x15, 0x45, 0x06
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2


def program(machine: str) -> bytes:
    """The filter, for the kernel."""
    steps = [(_LOAD, 0, 0, _NUMBER_AT)]
    for number in REFUSED[machine]:
        steps += [(_EQUAL, 0, 1, number), (_ANSWER, 0, 0, _ERROR | errno.EPERM)]
    steps += [(_EQUAL, 0, 1, CLONE3), (_ANSWER, 0, 0, _ERROR | errno.ENOSYS)]
    steps += [(_EQUAL, 0, 3, CLONE[machine]), (_LOAD, 0, 0, _FIRST_ARGUMENT_AT)]
    steps += [(_ANY_BIT, 0, 1, NEW_NAMESPACES), (_ANSWER, 0, 0, _ERROR | errno.EPERM)]
    steps += [(_ANSWER, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def main(command: list[str]) -> None:
    """Becomes the command, behind the filter."""
    steps = program(os.uname().machine)
    told = _Program(len(steps) // 8, steps)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, ctypes.byref(told), 0, 0)):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "the filter could not be set")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
