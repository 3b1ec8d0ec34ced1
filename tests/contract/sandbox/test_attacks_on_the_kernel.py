"""Calls that lead out of a wall, or give the kernel more to do wrong than a program needs, are refused."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator

import pytest

from clawdforge.server.sandbox import seccomp
from harness import intruder_calls
from harness.intruder_calls import NAMESPACES
from harness.stand import AS_ROOT, EVERYWHERE, Stand

NOWHERE = 1
"""An address at which nothing is: the kernel says EFAULT once it looks there."""
NOBODY = -1


@pytest.fixture
def terminal() -> Iterator[int]:
    """One that nobody has as theirs."""
    controls, terminal = pty.openpty()
    yield terminal
    os.close(controls)
    os.close(terminal)


@AS_ROOT
def test_no_namespace_can_be_made(stand: Stand) -> None:
    made = [(intruder_calls.namespace, kind) for kind in NAMESPACES]
    cloned = [(intruder_calls.clone_into_namespace, high_bits) for high_bits in (0, 1)]
    stand.shuts_out(stand.space("own"), *made, *cloned, by="EPERM")


@AS_ROOT
def test_nothing_can_be_mounted(stand: Stand) -> None:
    space = stand.space("own")
    own = stand.wall.view(space).workspace
    stand.shuts_out(space, (intruder_calls.mount, own), by="EPERM")


@AS_ROOT
def test_the_machine_cannot_be_renamed_nor_set(stand: Stand) -> None:
    """In both cases to what it is already."""
    stand.shuts_out(
        stand.space("own"), (intruder_calls.rename_machine,), ("rewrite", "/proc/sys/kernel/domainname")
    )


@AS_ROOT
def test_nothing_can_be_typed_into_a_terminal(stand: Stand, terminal: int) -> None:
    typed = [(intruder_calls.type_into_terminal, high_bits) for high_bits in (0, 1)]
    stand.shuts_out(stand.space("own"), *typed, by="EPERM", stdin=terminal)


@AS_ROOT
def test_nothing_can_be_pasted_into_a_terminal(stand: Stand, terminal: int) -> None:
    """Only a console of the machine would do it: any other terminal says that it does not know how."""
    (answer,) = stand.tries(stand.space("own"), (intruder_calls.paste_into_terminal,), stdin=terminal)
    assert answer == {"refused": "EPERM" if stand.walled else "ENOTTY"}


def test_the_calls_of_other_architectures_lead_nowhere(stand: Stand) -> None:
    """Whether the kernel of this machine knows them or not: SIGSYS is the filter, SIGSEGV such a kernel."""
    by_32_bits, by_x32 = stand.tries(
        stand.space("own"), (intruder_calls.unshare_by_32_bits,), (intruder_calls.unshare_by_x32,)
    )
    assert by_32_bits["refused"] in {"SIGSYS", "SIGSEGV", "SIGILL"}
    assert by_x32 == {"refused": "ENOSYS"}


CALLS = {
    "unshare": (0,),
    "setns": (NOBODY, 0),
    "umount2": (NOWHERE, 0),
    "pivot_root": (NOWHERE, NOWHERE),
    "chroot": (NOWHERE,),
    "move_mount": (NOBODY, NOWHERE, NOBODY, NOWHERE, 0),
    "open_tree": (NOBODY, NOWHERE, 0),
    "fsopen": (NOWHERE, 0),
    "fsconfig": (NOBODY, 0, 0, 0, 0),
    "fsmount": (NOBODY, 0, 0),
    "fspick": (NOBODY, NOWHERE, 0),
    "mount_setattr": (NOBODY, NOWHERE, 0, 0, 0),
    "open_by_handle_at": (NOBODY, NOWHERE, 0),
    "fanotify_init": (NOBODY, 0),
    "ptrace": (16, NOBODY),
    "process_vm_readv": (NOBODY, NOWHERE, 1, NOWHERE, 1, 0),
    "process_vm_writev": (NOBODY, NOWHERE, 1, NOWHERE, 1, 0),
    "process_madvise": (NOBODY, NOWHERE, 1, 0, 0),
    "pidfd_getfd": (NOBODY, 0, 0),
    "kcmp": (NOBODY, NOBODY, 0, 0, 0),
    "move_pages": (NOBODY, 1, NOWHERE, 0, NOWHERE, 0),
    "bpf": (NOBODY, NOWHERE, 8),
    "perf_event_open": (NOWHERE, 0, -1, -1, 0),
    "userfaultfd": (NOBODY,),
    "add_key": (NOWHERE, NOWHERE, 0, 0, 0),
    "request_key": (NOWHERE, NOWHERE, 0, 0),
    "keyctl": (NOBODY, 0, 0, 0, 0),
    "kexec_load": (NOBODY, 1, NOWHERE, NOBODY),
    "syslog": (NOBODY, 0, 0),
    "reboot": (0, 0, 0, 0),
    "swapon": (NOWHERE, NOBODY),
    "swapoff": (NOWHERE,),
    "acct": (NOWHERE,),
    "settimeofday": (NOWHERE, 0),
    "clock_settime": (0, NOWHERE),
    "clock_adjtime": (0, NOWHERE),
    "adjtimex": (NOWHERE,),
}
"""Asked for what makes no sense, so that without a wall the kernel looks at it, and nothing comes of it."""


@AS_ROOT
def test_the_kernel_does_not_even_look_at_a_call_that_is_refused(stand: Stand) -> None:
    numbers = seccomp.refused()
    tries = [(intruder_calls.numbered, numbers[name], *arguments) for name, arguments in CALLS.items()]
    told = dict(zip(CALLS, stand.tries(stand.space("own"), *tries), strict=True))
    if stand.walled:
        assert set(map(str, told.values())) == {"{'refused': 'EPERM'}"}, told
    else:
        assert {name for name, answer in told.items() if answer == {"refused": "EPERM"}} == set()


def test_no_call_of_the_list_of_refused_ones_gets_through(stand: Stand) -> None:
    tries = [(intruder_calls.numbered, number, 0) for number in seccomp.refused().values()]
    answers = stand.tries(stand.space("own"), *tries)
    assert [answer for answer in answers if answer != {"refused": "EPERM"}] == []


@EVERYWHERE
def test_calls_that_would_pass_the_filter_by_are_not_there(stand: Stand) -> None:
    """What they are asked for lies in memory, where no filter looks. Programs have another way."""
    answers = stand.tries(stand.space("own"), (intruder_calls.clone3,), (intruder_calls.io_uring,))
    assert all((answer == {"refused": "ENOSYS"}) == stand.walled for answer in answers), answers


def test_programs_can_do_what_they_need(stand: Stand) -> None:
    verbs = (intruder_calls.run_from_memory, intruder_calls.talk_to_itself, intruder_calls.wall_itself_in)
    answers = stand.tries(stand.space("own"), *((verb,) for verb in verbs))
    assert [answer["got"] for answer in answers] == [0, "hello", "walled in"]
