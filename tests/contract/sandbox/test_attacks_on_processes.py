"""Other sessions' agents and the gateway are out of an intruder's reach, though they may be its own user's."""

from __future__ import annotations

import pytest

from contract.sandbox.conftest import Victim
from harness import intruder, intruder_calls
from harness.stand import AS_ROOT, EVERYWHERE, Stand, Try


def looks_at(victim: Victim) -> list[Try]:
    """All ways to see what is in a process."""
    verbs = "memory memory_map environment directory root files take_file compare trace move_memory"
    transfers = "read_process write_process"
    return [
        *((verb, victim.pid) for verb in verbs.split()),
        *((verb, victim.pid, victim.address) for verb in transfers.split()),
    ]


def disturbs(victim: Victim) -> list[Try]:
    """All ways to do something to a process."""
    verbs = "kill kill_group kill_thread kill_by_descriptor limit sacrifice"
    return [(verb, victim.pid) for verb in verbs.split()]


def slows(victim: Victim) -> list[Try]:
    """All ways to have a process wait."""
    verbs = "pin slow idle slow_disk"
    return [(verb, victim.pid) for verb in verbs.split()]


def test_it_is_nobody_and_stays_nobody(stand: Stand) -> None:
    told = stand.attack(stand.space("own"), intruder.ids)["got"]
    assert told["uid"] != 0
    assert told["groups"] in ([], [told["uid"]])
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(told["status"][kind], 16) == 0
    assert told["status"]["NoNewPrivs"] == "1"
    assert told["status"]["Seccomp"] == "2"


@AS_ROOT
def test_it_cannot_become_root(stand: Stand) -> None:
    stand.shuts_out(stand.space("own"), (intruder_calls.become, 0))


def test_its_environment_and_files_are_what_it_was_given(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_GATEWAY", "secret")
    told = stand.attack(stand.space("own"), intruder.ids)["got"]
    assert set(told["environ"]) <= {"PATH", "HOME", "TMPDIR", "PWD", "LC_CTYPE"}
    # As root, bubblewrap leaves the agent's own user namespace open: it can neither enter nor leave it.
    assert [name for name in told["fds"] if not name.startswith("user:")] == []


@EVERYWHERE
def test_another_session_s_process_cannot_be_looked_into(stand: Stand, victim: Victim) -> None:
    stand.shuts_out(stand.space("own"), *looks_at(victim))


@EVERYWHERE
def test_another_session_s_process_cannot_be_disturbed(stand: Stand, victim: Victim) -> None:
    stand.shuts_out(stand.space("own"), *disturbs(victim))


@EVERYWHERE
def test_another_session_s_process_cannot_be_slowed_down(stand: Stand, victim: Victim) -> None:
    stand.shuts_out(stand.space("own"), *slows(victim))


@EVERYWHERE
def test_another_session_s_command_line_cannot_be_read(stand: Stand, victim: Victim) -> None:
    """Landlock cannot show /proc without it, and programs need /proc."""
    stand.shuts_out(stand.space("own"), (intruder_calls.command_line, victim.pid), leaks_at=["landlock"])


@AS_ROOT
def test_the_gateway_is_out_of_reach(stand: Stand, gateway: Victim) -> None:
    stand.shuts_out(stand.space("own"), *looks_at(gateway), *disturbs(gateway), *slows(gateway))


@AS_ROOT
def test_no_namespace_of_another_can_be_entered(stand: Stand, victim: Victim) -> None:
    kinds = ("ipc", "net", "pid", "uts", "cgroup")
    space = stand.space("own")
    stand.shuts_out(space, *((intruder_calls.enter, victim.pid, kind) for kind in kinds))
    if stand.walled:
        stand.shuts_out(space, (intruder_calls.enter, 1, "user"), (intruder_calls.enter_inherited,))


def test_only_its_own_processes_are_in_sight(stand: Stand) -> None:
    seen = stand.attack(stand.space("own"), intruder_calls.processes)["got"]
    if stand.wall.level == "bwrap":
        assert seen <= 3, "bubblewrap, the intruder and its try"
    else:
        assert seen >= 3


def test_the_first_process_behind_its_wall_is_no_way_through(stand: Stand) -> None:
    """At bwrap that is bubblewrap itself: out of reach, or where it is the same user's, walled in alike."""
    space = stand.space("own")
    if stand.leg == "bwrap-user":
        told = stand.attack(space, intruder.read, "/proc/1/status")["got"]
        for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"):
            assert line in told
    else:
        stand.shuts_out(space, *((verb, 1) for verb in ("memory", "trace", "environment", "files", "sacrifice")))
