"""The system calls that nobody behind a wall may make, as a program for the kernel's filter. Pure.

It refuses, it does not kill: a program that probes for a call finds it missing and goes on. Refused is what makes
or enters namespaces, mounts, traces others, loads code into the kernel, changes the machine's clock or devices,
types into a terminal, or speaks a network that no namespace holds; and, where the session has no namespaces of its
own, what reaches others of its user past files and signals. Source: seccomp(2), linux/filter.h.
"""

from __future__ import annotations

import errno
import os
import struct
from functools import cache
from types import MappingProxyType
from typing import Final

# Numbers on (x86_64, aarch64); None: not there.
_REFUSED: Final = MappingProxyType(
    {
        # namespaces, and what a root directory consists of
        "unshare": (272, 97),
        "setns": (308, 268),
        "mount": (165, 40),
        "umount2": (166, 39),
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "move_mount": (429, 429),
        "open_tree": (428, 428),
        "open_tree_attr": (467, 467),
        "fsopen": (430, 430),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fspick": (433, 433),
        "mount_setattr": (442, 442),
        "open_by_handle_at": (304, 265),
        "fanotify_init": (300, 262),
        # other processes
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "process_madvise": (440, 440),
        "pidfd_getfd": (438, 438),
        "kcmp": (312, 272),
        "move_pages": (279, 239),
        # the kernel itself
        "bpf": (321, 280),
        "perf_event_open": (298, 241),
        "userfaultfd": (323, 282),
        "add_key": (248, 217),
        "request_key": (249, 218),
        "keyctl": (250, 219),
        "init_module": (175, 105),
        "finit_module": (313, 273),
        "delete_module": (176, 106),
        "kexec_load": (246, 104),
        "kexec_file_load": (320, 294),
        "syslog": (103, 116),
        "uselib": (134, None),
        "lookup_dcookie": (212, 18),
        # the machine
        "reboot": (169, 142),
        "swapon": (167, 224),
        "swapoff": (168, 225),
        "acct": (163, 89),
        "quotactl": (179, 60),
        "quotactl_fd": (443, 443),
        "settimeofday": (164, 170),
        "clock_settime": (227, 112),
        "clock_adjtime": (305, 266),
        "adjtimex": (159, 171),
        "vhangup": (153, 58),
        "iopl": (172, None),
        "ioperm": (173, None),
    }
)
# For these, programs have another way, and take it when they hear that the kernel lacks them. What clone3 is asked
# for lies in memory, where a filter cannot look; io_uring would make other calls past the filter.
_MISSING: Final = MappingProxyType(
    {
        "clone3": (435, 435),
        "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
    }
)
# What the kernel keeps for all of a user, by numbers and names: a session may have its own, or none.
_SHARED: Final = MappingProxyType(
    {
        "shmget": (29, 194),
        "shmat": (30, 196),
        "shmctl": (31, 195),
        "semget": (64, 190),
        "semop": (65, 193),
        "semctl": (66, 191),
        "semtimedop": (220, 192),
        "msgget": (68, 186),
        "msgsnd": (69, 189),
        "msgrcv": (70, 188),
        "msgctl": (71, 187),
        "mq_open": (240, 180),
        "mq_unlink": (241, 181),
    }
)
# What a process may do to itself, and its user to all that it runs: by what the first arguments must be.
_TO_ITSELF: Final = MappingProxyType(
    {
        "sched_setparam": ((142, 118), (0,)),
        "sched_setscheduler": ((144, 119), (0,)),
        "sched_setaffinity": ((203, 122), (0,)),
        "sched_setattr": ((314, 274), (0,)),
        "setpriority": ((141, 140), (0, 0)),
        "ioprio_set": ((251, 30), (1, 0)),
    }
)
_PRLIMIT: Final = (302, 261)
_SETRLIMIT: Final = (160, 164)
_CLONE: Final = (56, 220)
_IOCTL: Final = (16, 29)
_SOCKET: Final = (41, 198)
_SOCKETPAIR: Final = (53, 199)

_MARKED_LIMIT: Final = 15
"""RLIMIT_RTTIME, as which the gateway's processes bear a number by which leftovers are known (`agents.marks`)."""
_NEW_NAMESPACES: Final = 0x7E02_0000
_TYPING: Final = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX put words into a terminal as if a person had typed them."""
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
FAMILIES: Final = (UNIX, INET, INET6, NETLINK)
"""Not the others: vsock reaches the host of a virtual machine through any namespace."""
_CONNECTED: Final = (1, 5)
"""Kinds of sockets that, once connected, cannot be turned to anybody else: streams, and packets in sequence."""
_KIND: Final = 0xF

_ARCHITECTURES: Final = MappingProxyType({"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)})
_X32_BIT: Final = 0x4000_0000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NR_AT, _ARCH_AT, _ARG0_AT, _ARG1_AT = 0, 4, 16, 24
_ARG_BYTES: Final = 8
_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000


@cache
def program(
    machine: str | None = None, families: tuple[int, ...] = FAMILIES, *, among_others: bool = False
) -> bytes:
    """The filter as the kernel takes it: an array of `struct sock_filter`.

    Args:
        machine: as `os.uname` calls it; None: this one.
        families: the address families of which sockets may be made.
        among_others: the session has no namespaces of its own.

    Raises:
        KeyError: nobody has written down this machine's numbers.
    """
    machine = machine or os.uname().machine
    column, architecture = _ARCHITECTURES[machine]
    code = [
        _step(_LOAD, _ARCH_AT),
        # Of another architecture the numbers mean other calls.
        _step(_EQUAL, architecture, skip_if=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NR_AT),
    ]
    if machine == "x86_64":
        code += [_step(_AT_LEAST, _X32_BIT, skip_unless=1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    for calls, error in (
        (_REFUSED, errno.EPERM),
        (_MISSING, errno.ENOSYS),
        (_SHARED if among_others else {}, errno.ENOSYS),
    ):
        for numbers in calls.values():
            if (number := numbers[column]) is not None:
                code += [_step(_EQUAL, number, skip_unless=1), _step(_RETURN, _ERRNO | error)]
    for numbers, first in _TO_ITSELF.values() if among_others else ():
        code += _judged(numbers[column], [step for at, value in enumerate(first) for step in _only(at, value)])
    if among_others:
        code += _judged(_PRLIMIT[column], [*_only(0, 0), *_not_set(1, 2)])
        code += _judged(_SETRLIMIT[column], [_step(_LOAD, _ARG0_AT), *_refuse(_EQUAL, _MARKED_LIMIT)])
    code += _judged(_CLONE[column], [_step(_LOAD, _ARG0_AT), *_refuse(_ANY_BIT, _NEW_NAMESPACES)])
    code += _judged(_IOCTL[column], [_step(_LOAD, _ARG1_AT), *(s for n in _TYPING for s in _refuse(_EQUAL, n))])
    code += _judged(_SOCKET[column], [_step(_LOAD, _ARG0_AT), *_one_of(families)])
    code += _judged(_SOCKETPAIR[column], _pairs(families))
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def refused(machine: str | None = None) -> dict[str, int]:
    """The calls that are refused whatever they are asked for, at every level: names, and numbers on a machine."""
    column, _ = _ARCHITECTURES[machine or os.uname().machine]
    return {name: number for name, numbers in _REFUSED.items() if (number := numbers[column]) is not None}


def _step(code: int, value: int, *, skip_if: int = 0, skip_unless: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if, skip_unless, value)


def _refuse(test: int, value: int) -> list[bytes]:
    return [_step(test, value, skip_unless=1), _step(_RETURN, _ERRNO | errno.EPERM)]


def _only(argument: int, value: int) -> list[bytes]:
    """Refused where an argument is another."""
    at = _ARG0_AT + argument * _ARG_BYTES
    return [_step(_LOAD, at), _step(_EQUAL, value, skip_if=1), _step(_RETURN, _ERRNO | errno.EPERM)]


def _not_set(which: int, new: int) -> list[bytes]:
    """Refused where one argument names the limit that is a mark, and another is no null: it would be set."""
    low, high = (_ARG0_AT + new * _ARG_BYTES + half for half in (0, _ARG_BYTES // 2))
    return [
        _step(_LOAD, _ARG0_AT + which * _ARG_BYTES),
        _step(_EQUAL, _MARKED_LIMIT, skip_unless=5),
        _step(_LOAD, low),
        _step(_EQUAL, 0, skip_unless=2),
        _step(_LOAD, high),
        _step(_EQUAL, 0, skip_if=1),
        _step(_RETURN, _ERRNO | errno.EPERM),
    ]


def _one_of(values: tuple[int, ...]) -> list[bytes]:
    """Allowed where what was loaded is one of these, else no such socket is known."""
    known = [step for each in values for step in (_step(_EQUAL, each, skip_unless=1), _step(_RETURN, _ALLOW))]
    return [*known, _step(_RETURN, _ERRNO | errno.EAFNOSUPPORT)]


def _pairs(families: tuple[int, ...]) -> list[bytes]:
    """Only unix sockets; where none may be made that could be turned to others, then by pairs neither."""
    if UNIX in families:
        return [_step(_LOAD, _ARG0_AT), *_one_of((UNIX,))]
    unknown = _step(_RETURN, _ERRNO | errno.EAFNOSUPPORT)
    unix = [_step(_LOAD, _ARG0_AT), _step(_EQUAL, UNIX, skip_if=1), unknown]
    return [*unix, _step(_LOAD, _ARG1_AT), _step(_AND, _KIND), *_one_of(_CONNECTED)]


def _judged(number: int, steps: list[bytes]) -> list[bytes]:
    """Steps that judge one call by its arguments, of which they see the low 32 bits; in the end it is allowed."""
    steps = [*steps, _step(_RETURN, _ALLOW)]
    return [_step(_EQUAL, number, skip_unless=len(steps)), *steps]
