"""Behind each wall an intruder tries what is not its own. Each test first shows that it would work, or could."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawdforge.server.sandbox import restrict
from clawdforge.server.sandbox.base import Limits
from clawdforge.server.sandbox.none import NoWall
from contract.sandbox.conftest import MIB, Stand, standing
from harness import intruder


def refused(answer: dict[str, object]) -> bool:
    return "refused" in answer


# --- what it is and has ------------------------------------------------------------------------------------------


def test_it_is_nobody_and_stays_nobody(stand: Stand) -> None:
    told = stand.attack(stand.space("own"), intruder.ids)["got"]
    assert told["uid"] != 0
    assert told["status"]["CapEff"] == "0000000000000000"
    assert told["status"]["NoNewPrivs"] == "1"
    assert told["status"]["Seccomp"] == "2"
    assert refused(stand.attack(stand.space("again"), intruder.become, 0))


def test_its_environment_and_files_are_what_it_was_given(stand: Stand) -> None:
    os.environ["SECRET_OF_THE_GATEWAY"] = "secret"
    try:
        told = stand.attack(stand.space("own"), intruder.ids)["got"]
    finally:
        del os.environ["SECRET_OF_THE_GATEWAY"]
    assert set(told["environ"]) <= {"PATH", "HOME", "TMPDIR", "PWD", "LC_CTYPE"}
    # As root, bubblewrap leaves the agent's own user namespace open: it can neither enter nor leave it.
    assert [name for name in told["fds"] if not name.startswith("user:")] == []


def test_its_own_directories_can_be_written_to(stand: Stand) -> None:
    space = stand.space("own")
    told = stand.attack(space, intruder.ids)["got"]
    for folder in ("cwd", "home", "tmp"):
        assert "got" in stand.attack(space, intruder.write, f"{told[folder]}/file")
    assert (space.workspace / "file").read_text() == "intruded"


# --- files -------------------------------------------------------------------------------------------------------


def test_another_session_and_the_data_directory_cannot_be_read(stand: Stand) -> None:
    other = stand.space("other")
    secret = other.workspace / "secret"
    secret.write_text("of another")
    if stand.agent_uid is not None:
        os.chown(secret, stand.agent_uid, stand.agent_uid)
    database = stand.place / "clawdforge.db"
    database.write_text("tokens")
    database.chmod(0o666)
    mine = stand.space("mine")
    for path in (secret, database):
        assert refused(stand.attack(mine, intruder.read, path))
        assert refused(stand.attack(mine, intruder.write, path))
        assert refused(stand.attack(mine, intruder.empty, path))
    assert refused(stand.attack(mine, intruder.listing, other.workspace))
    assert secret.read_text() == "of another"
    assert database.read_text() == "tokens"


def test_no_link_leads_out(stand: Stand) -> None:
    outside = stand.place / "outside"
    outside.write_text("outside")
    outside.chmod(0o666)
    mine = stand.space("mine")
    (mine.workspace / "link").symlink_to(outside)
    assert refused(stand.attack(mine, intruder.read, "link"))
    assert refused(stand.attack(mine, intruder.hard_link, outside, "hard"))
    assert outside.read_text() == "outside"


@pytest.mark.parametrize("path", ["/", "/usr", "/etc", "/dev", "/proc", "/var", "/home"])
def test_nothing_can_be_written_beside_its_own(stand: Stand, path: str) -> None:
    assert refused(stand.attack(stand.space("own"), intruder.write, f"{path}/intruded"))


def test_what_the_machine_keeps_to_itself_cannot_be_read(stand: Stand) -> None:
    space = stand.space("own")
    for path in (
        "/etc/shadow",
        "/etc/fstab",
        "/etc/ssl/private",
        "/var/log/dpkg.log",
        "/sys/kernel",
        "/root/.bashrc",
    ):
        assert refused(stand.attack(space, intruder.read, path))
    assert "got" in stand.attack(space, intruder.read, "/etc/nsswitch.conf")


def test_its_program_cannot_be_changed(stand: Stand) -> None:
    assert refused(stand.attack(stand.space("own"), intruder.write, intruder.__file__))


# --- other processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb", [intruder.memory, intruder.kill, intruder.trace, intruder.read_process, intruder.environment]
)
def test_another_process_of_its_user_is_out_of_reach(
    stand: Stand, victim: subprocess.Popen[bytes], verb: object
) -> None:
    assert refused(stand.attack(stand.space("own"), verb, victim.pid))


def test_the_gateway_is_out_of_reach(stand: Stand) -> None:
    space = stand.space("own")
    for verb in (intruder.memory, intruder.kill, intruder.trace, intruder.environment):
        assert refused(stand.attack(space, verb, os.getpid()))


# --- the kernel --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(intruder.NAMESPACES))
def test_no_namespace_can_be_made(stand: Stand, kind: str) -> None:
    assert stand.attack(stand.space("own"), intruder.namespace, kind) == {"refused": "EPERM"}


@pytest.mark.parametrize(
    ("verb", "arguments", "error"),
    [
        (intruder.clone_into_namespace, (), "EPERM"),
        (intruder.clone3, (), "ENOSYS"),
        (intruder.io_uring, (), "ENOSYS"),
        (intruder.mount, ("/tmp",), "EPERM"),
        (intruder.type_into_terminal, (), "EPERM"),
        (intruder.speak, ("AF_VSOCK",), "EAFNOSUPPORT"),
        (intruder.speak, ("AF_ALG",), "EAFNOSUPPORT"),
        (intruder.speak, ("AF_PACKET",), "EAFNOSUPPORT"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_call_that_leads_out_is_refused(
    stand: Stand, verb: object, arguments: tuple[str, ...], error: str
) -> None:
    answer = stand.attack(stand.space("own"), verb, *arguments)
    assert answer == {"refused": error}


def test_devices_are_out_of_reach(stand: Stand) -> None:
    space = stand.space("own")
    assert refused(stand.attack(space, intruder.make_device, "device"))
    for name in ("mem", "kmsg", "kvm", "vda", "sda", "fuse", "loop0"):
        assert refused(stand.attack(space, intruder.read, f"/dev/{name}"))
    assert "got" in stand.attack(space, intruder.write, "/dev/null")


# --- sockets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def listening() -> Iterator[tuple[socket.socket, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, server.getsockname()[1]


def test_without_network_nothing_is_there_to_connect_to(
    stand: Stand, listening: tuple[socket.socket, int]
) -> None:
    _, port = listening
    closed = stand.space("closed", network="none")
    assert refused(stand.attack(closed, intruder.connect_tcp, port))
    assert stand.attack(stand.space("open"), intruder.connect_tcp, port) == {"got": str(port)}


def test_without_network_no_datagram_arrives(stand: Stand) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        stand.attack(stand.space("closed", network="none"), intruder.send_udp, server.getsockname()[1])
        with pytest.raises(BlockingIOError):
            server.recv(100)


def test_abstract_sockets_are_out_of_reach_also_with_network(stand: Stand) -> None:
    """By Landlock's scope, where the kernel has it; a namespace holds them only where it holds the network too."""
    name = f"wall-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + name)
        server.listen()
        scoped = restrict.abi() >= restrict.SCOPES_SINCE or stand.wall.level == "landlock"
        for network in ("none", "open") if scoped else ("none",):
            assert refused(stand.attack(stand.space(network, network=network), intruder.connect_abstract, name))


def test_sockets_in_files_are_out_of_reach_but_for_those_it_was_given(stand: Stand) -> None:
    path = stand.place / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.chmod(0o666)
        assert refused(stand.attack(stand.space("without"), intruder.connect_file, path))
        there = "/run/model" if stand.wall.level == "bwrap" else str(path)
        given = stand.space("with", sockets={there: path}, network="none")
        assert stand.attack(given, intruder.connect_file, there) == {"got": there}


# --- limits ------------------------------------------------------------------------------------------------------


def test_its_tmp_is_bounded_where_it_is_its_own(stand: Stand) -> None:
    told = stand.attack(stand.space("own"), intruder.fill, "/tmp/file")
    if stand.wall.level == "bwrap":
        assert told["got"] == {"bytes": MIB, "stopped": "ENOSPC"}
        for path in ("/dev/shm/file", "/dev/file", "/file"):
            filled = stand.attack(stand.space(Path(path).parent.name or "root"), intruder.fill, path)
            assert filled == {"refused": "EROFS"} or filled["got"]["bytes"] == MIB
    else:
        assert refused(told)


def test_files_and_open_files_are_bounded(stand: Stand) -> None:
    space = stand.space("bounded", limits=Limits(open_files=40, file_bytes=MIB))
    assert stand.attack(space, intruder.fill, "file")["got"]["stopped"] == "EFBIG"
    answer = stand.attack(space, intruder.open_many)
    assert answer["got"]["files"] < 40
    assert answer["got"]["stopped"] == "EMFILE"


# --- no wall -----------------------------------------------------------------------------------------------------


def test_without_a_wall_all_of_this_works(place: Path) -> None:
    """So that an attack which fails above fails because of the wall. This is also what `none` leaks."""
    outside = place / "outside"
    outside.write_text("outside")
    with (
        standing(NoWall(), place, None, None) as bare,
        subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as victim,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as in_file,
        socket.create_server(("127.0.0.1", 0)) as tcp,
    ):
        space = bare.space("own")
        name = f"wall-bare-{os.getpid()}"
        abstract.bind("\0" + name)
        abstract.listen()
        in_file.bind(str(place / "socket"))
        in_file.listen()
        for verb, *arguments in (
            (intruder.read, outside),
            (intruder.write, outside),
            (intruder.listing, place),
            (intruder.hard_link, outside, "hard"),
            (intruder.empty, outside),
            (intruder.memory, victim.pid),
            (intruder.environment, victim.pid),
            (intruder.trace, victim.pid),
            (intruder.read_process, victim.pid),
            (intruder.connect_abstract, name),
            (intruder.connect_file, place / "socket"),
            (intruder.connect_tcp, tcp.getsockname()[1]),
            (intruder.kill, victim.pid),
        ):
            assert "got" in bare.attack(space, verb, *arguments), verb.__name__
        victim.wait()
