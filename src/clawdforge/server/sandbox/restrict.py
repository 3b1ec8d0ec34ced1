"""What a thread gives up for itself, for good: Landlock, seccomp and no_new_privs are each a thread's own.

What a thread starts afterwards has given it up too, other threads have not. Knows the system calls; what a session
may have is `landlock`'s to say, and what calls it may make `seccomp`'s. Source: landlock(7), prctl(2), seccomp(2).
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Since ABI 1, 2, 3, 5 of Landlock.
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_CHANGE: Final = 0x1FF0  # remove and make what a directory holds
_REFER, _TRUNCATE, _DEVICE_CONTROL = 1 << 13, 1 << 14, 1 << 15
_READING: Final = _EXECUTE | _READ | _LIST
_DEVICES: Final = _READ | _WRITE | _TRUNCATE | _DEVICE_CONTROL
_OF_FILES: Final = _EXECUTE | _DEVICES
_REFER_SINCE, _TRUNCATE_SINCE, _NETWORK_SINCE, _DEVICE_CONTROL_SINCE, SCOPES_SINCE = 2, 3, 4, 5, 6
_TCP: Final = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # on every architecture
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Rights:
    """What is left of the files and the network. Paths that are not there are no matter.

    Attributes:
        write: paths below which everything is allowed.
        read: paths below which reading and running is.
        devices: files that may be read and written.
        tcp: whether TCP may be spoken; before ABI 4 nobody can be kept from it.
    """

    write: Sequence[str]
    read: Sequence[str]
    devices: Sequence[str]
    tcp: bool


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def abi() -> int:
    """Which version of Landlock the kernel has; 0: none, or it is turned off."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))))


def wall_in(rights: Rights, calls: bytes) -> None:
    """Leaves this thread nothing but these rights and the calls that a filter lets through (`seccomp.program`).

    It can neither signal what is outside, nor connect to abstract sockets there (ABI 6). It can still start a
    program, and must do nothing else: it cannot even read a module's source.

    Raises:
        OSError: the kernel refuses. The thread may have lost some of it: let it end.
    """
    _no_new_privileges()
    _restrict(rights)
    program = _Program(len(calls) // 8, calls)
    _prctl("seccomp", _SET_SECCOMP, _FILTER, ctypes.byref(program))


def scope_this_thread() -> bool:
    """Keeps what this thread starts from signalling what it did not start, and from abstract sockets out there.

    Files and mounts stay as they are, and starting costs no more. The thread itself is kept from it too.
    Returns whether the kernel can do that (ABI 6).

    Raises:
        OSError: the kernel refuses what it should know.
    """
    if abi() < SCOPES_SINCE:
        return False
    _no_new_privileges()
    _take(_ruleset(0, 0, _ABSTRACT_SOCKETS_AND_SIGNALS))
    return True


def _restrict(rights: Rights) -> None:
    version = abi()
    handled = _READING | _WRITE | _CHANGE
    for since, right in (
        (_REFER_SINCE, _REFER),
        (_TRUNCATE_SINCE, _TRUNCATE),
        (_DEVICE_CONTROL_SINCE, _DEVICE_CONTROL),
    ):
        handled |= right if version >= since else 0
    fields = [handled]
    if version >= _NETWORK_SINCE:
        fields.append(0 if rights.tcp else _TCP)
    if version >= SCOPES_SINCE:
        fields.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset = _ruleset(*fields)
    for paths, allowed in ((rights.write, handled), (rights.read, _READING), (rights.devices, _DEVICES)):
        for path in paths:
            _allow(ruleset, path, allowed & handled)
    _take(ruleset)


def _ruleset(*fields: int) -> int:
    """A set of rules for these: rights on files, on the network, scopes; as many as the kernel's version knows."""
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    return _call("landlock_create_ruleset", _CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)


def _allow(ruleset: int, path: str, allowed: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            allowed &= _OF_FILES
        _call("landlock_add_rule", _ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
    finally:
        os.close(fd)


def _take(ruleset: int) -> None:
    try:
        _call("landlock_restrict_self", _RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _no_new_privileges() -> None:
    _prctl("no_new_privs", _SET_NO_NEW_PRIVS, 1)


def _call(name: str, number: int, *arguments: object) -> int:
    return _checked(name, _libc.syscall(number, *arguments))


def _prctl(name: str, *arguments: object) -> None:
    _checked(name, _libc.prctl(*arguments, *(0,) * (5 - len(arguments))))


def _checked(name: str, answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return answer
