"""The filter, run step by step as the kernel would; that a kernel takes it is shown in tests/contract/sandbox."""

from __future__ import annotations

import errno
import struct

import pytest

from clawdforge.server.sandbox import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# (x86_64, aarch64), as asm/unistd.h has them
READ, OPENAT, EXECVE, CLONE, SOCKET, IOCTL, MOUNT, UNSHARE, PTRACE = (
    (0, 63), (257, 56), (59, 221), (56, 220), (41, 198), (16, 29), (165, 40), (272, 97), (101, 117),
)  # fmt: skip
CLONE3, LANDLOCK_CREATE_RULESET, SECCOMP = (435, 435), (444, 444), (317, 277)
SOCKETPAIR, PRLIMIT, SETRLIMIT, SETPRIORITY, IOPRIO_SET, SHMAT, MQ_OPEN = (
    (53, 199), (302, 261), (160, 164), (141, 140), (251, 30), (30, 196), (240, 180),
)  # fmt: skip


def run(
    machine: str, number: int, *arguments: int, architecture: int | None = None, program: bytes | None = None
) -> int:
    """What the kernel would answer; every step leads forward, so it ends."""
    code = list(struct.iter_unpack("=HBBI", program or seccomp.program(machine)))
    low_and_high = [half for each in arguments for half in (each & 0xFFFFFFFF, each >> 32)]
    words = [number, architecture or MACHINES[machine], 0, 0, *low_and_high, *[0] * 12]
    at = accumulator = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = words[value // 4]
            case 0x06:
                return int(value)
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x54:
                accumulator &= value
            case _:
                raise AssertionError(f"an operation that the filter does not use: {operation:#x}")


def refusal(error: int) -> int:
    return 0x00050000 | error


def column(machine: str) -> int:
    return list(MACHINES).index(machine)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", [READ, OPENAT, EXECVE, LANDLOCK_CREATE_RULESET, SECCOMP])
def test_what_every_program_does_is_allowed(machine: str, call: tuple[int, int]) -> None:
    assert run(machine, call[column(machine)]) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", [MOUNT, UNSHARE, PTRACE])
def test_what_leads_out_is_refused(machine: str, call: tuple[int, int]) -> None:
    assert run(machine, call[column(machine)]) == refusal(errno.EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_processes_and_threads_may_be_made_but_no_namespaces(machine: str) -> None:
    clone = CLONE[column(machine)]
    fork, thread = 0x01200011, 0x003D0F00
    assert run(machine, clone, fork) == run(machine, clone, thread) == ALLOW
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert run(machine, clone, fork | flag) == refusal(errno.EPERM)
    assert run(machine, CLONE3[column(machine)]) == refusal(errno.ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
def test_nobody_types_into_a_terminal_whatever_the_upper_half_of_the_word_says(machine: str) -> None:
    ioctl = IOCTL[column(machine)]
    assert run(machine, ioctl, 0, 0x5401) == ALLOW
    for word in (0x5412, 0x541C, 0x1_0000_5412):
        assert run(machine, ioctl, 0, word) == refusal(errno.EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_only_these_families_of_sockets_are_made(machine: str) -> None:
    socket = SOCKET[column(machine)]
    assert {family for family in range(64) if run(machine, socket, family) == ALLOW} == {1, 2, 10, 16}
    assert run(machine, socket, 40) == refusal(errno.EAFNOSUPPORT)


@pytest.mark.parametrize("machine", MACHINES)
def test_pairs_of_sockets_are_unix_ones_and_where_those_are_not_to_be_had_cannot_be_turned_to_others(
    machine: str,
) -> None:
    def made(program: bytes, family: int) -> set[int]:
        number, flags = SOCKETPAIR[column(machine)], 0o2004000
        kinds = range(16)
        return {kind for kind in kinds if run(machine, number, family, kind | flags, program=program) == ALLOW}

    assert made(seccomp.program(machine), 1) == set(range(16))
    without = seccomp.program(machine, (2, 10), among_others=True)
    assert made(without, 1) == {1, 5}
    tipc = 30
    assert made(seccomp.program(machine), tipc) == made(without, tipc) == set()


@pytest.mark.parametrize("machine", MACHINES)
def test_among_others_a_process_can_do_to_itself_what_it_cannot_do_to_them(machine: str) -> None:
    among, alone = seccomp.program(machine, among_others=True), seccomp.program(machine)
    calls = (PRLIMIT, (0,), (7,)), (SETPRIORITY, (0, 0), (0, 7)), (IOPRIO_SET, (1, 0), (1, 7))
    for call, itself, other in calls:
        number = call[column(machine)]
        assert run(machine, number, *itself, program=among) == ALLOW
        assert run(machine, number, *other, program=among) == refusal(errno.EPERM)
        assert run(machine, number, *other, program=alone) == ALLOW
    all_of_its_user = SETPRIORITY[column(machine)], 2, 0
    assert run(machine, *all_of_its_user, program=among) == refusal(errno.EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_among_others_the_limit_that_is_a_mark_can_be_read_and_not_set(machine: str) -> None:
    among, mark, another = seccomp.program(machine, among_others=True), 15, 7
    prlimit, setrlimit = PRLIMIT[column(machine)], SETRLIMIT[column(machine)]
    for pointer in (0x1000, 0x7FFF_0000_0000):
        assert run(machine, prlimit, 0, mark, 0, pointer, program=among) == ALLOW
        assert run(machine, prlimit, 0, mark, pointer, 0, program=among) == refusal(errno.EPERM)
        assert run(machine, prlimit, 0, another, pointer, 0, program=among) == ALLOW
        assert run(machine, setrlimit, mark, pointer, program=among) == refusal(errno.EPERM)
        assert run(machine, setrlimit, another, pointer, program=among) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", [SHMAT, MQ_OPEN])
def test_among_others_what_a_user_s_processes_share_is_not_there(machine: str, call: tuple[int, int]) -> None:
    among = seccomp.program(machine, among_others=True)
    assert run(machine, call[column(machine)], program=among) == refusal(errno.ENOSYS)
    assert run(machine, call[column(machine)]) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_of_another_architecture_ends_the_program(machine: str) -> None:
    assert run(machine, 0, architecture=0x40000003) == KILL


def test_the_other_numbering_of_the_same_machine_is_missing() -> None:
    assert run("x86_64", 0x40000000 | 165) == refusal(errno.ENOSYS)


def test_a_machine_whose_numbers_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyError):
        seccomp.program("riscv64")
