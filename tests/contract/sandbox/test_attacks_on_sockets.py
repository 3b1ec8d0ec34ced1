"""Networks, sockets, and what the kernel keeps for a user by number or by name."""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawdforge.server.sandbox import restrict
from harness import intruder, intruder_calls
from harness.stand import AS_ROOT, EVERYWHERE, Stand

SCOPED = restrict.abi() >= restrict.SCOPES_SINCE
"""Whether the kernel can keep a process from abstract sockets; a namespace does where it holds the network."""


@pytest.fixture
def port() -> Iterator[int]:
    """At which this machine listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def names(place: Path) -> Iterator[dict[str, str]]:
    """At which this machine listens: for streams and for datagrams, in files and in no file."""
    token = secrets.token_hex(8)
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    sockets = [socket.socket(socket.AF_UNIX, kind) for kind in kinds * 2]
    found = {
        "stream": str(place / "stream"),
        "datagram": str(place / "datagram"),
        "abstract-stream": f"@{token}-stream",
        "abstract-datagram": f"@{token}-datagram",
    }
    for each, name in zip(sockets, found.values(), strict=True):
        each.bind(name.replace("@", "\0"))
        if each.type == socket.SOCK_STREAM:
            each.listen()
        if not name.startswith("@"):
            os.chmod(name, 0o666)
    yield found
    for each in sockets:
        each.close()


def test_without_network_nothing_is_there_to_connect_to(stand: Stand, port: int) -> None:
    closed, open_ = stand.space("closed", network="none"), stand.space("open")
    assert stand.attack(open_, intruder.connect_tcp, port) == {"got": str(port)}
    stand.shuts_out(closed, (intruder.connect_tcp, port))


def test_without_network_no_datagram_arrives(stand: Stand) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        port = server.getsockname()[1]
        stand.attack(stand.space("open"), intruder.send_udp, port)
        assert server.recv(100) == b"intruded"
        server.setblocking(False)
        stand.attack(stand.space("closed", network="none"), intruder.send_udp, port)
        with pytest.raises(BlockingIOError):
            server.recv(100)


@EVERYWHERE
def test_sockets_in_files_are_out_of_reach(stand: Stand, names: dict[str, str]) -> None:
    stand.shuts_out(
        stand.space("own"),
        (intruder.connect_unix, names["stream"]),
        (intruder.send_unix, names["datagram"]),
        (intruder.send_by_pair, names["datagram"]),
    )


@EVERYWHERE
@pytest.mark.parametrize("network", ["open", "none"])
def test_sockets_in_no_file_are_out_of_reach(stand: Stand, names: dict[str, str], network: str) -> None:
    leaks_at = [] if SCOPED or network == "none" else ["bwrap"]
    stand.shuts_out(
        stand.space("own", network=network),
        (intruder.connect_unix, names["abstract-stream"]),
        (intruder.send_unix, names["abstract-datagram"]),
        (intruder.send_by_pair, names["abstract-datagram"]),
        leaks_at=leaks_at,
    )


def test_a_socket_that_it_was_given_is_in_reach(stand: Stand, names: dict[str, str]) -> None:
    there = "/run/model" if stand.wall.level == "bwrap" else names["stream"]
    space = stand.space("own", sockets={there: Path(names["stream"])}, network="none")
    assert stand.attack(space, intruder.connect_unix, there) == {"got": there}


@AS_ROOT
def test_packets_and_raw_sockets_are_out_of_reach(stand: Stand) -> None:
    stand.shuts_out(
        stand.space("own"),
        (intruder.speak, int(socket.AF_PACKET), int(socket.SOCK_RAW)),
        (intruder.speak, int(socket.AF_INET), int(socket.SOCK_RAW), socket.IPPROTO_RAW),
        (intruder.change_network,),
    )


OTHER_NETWORKS = {"vsock": 40, "alg": 38, "bluetooth": 31, "tipc": 30, "rds": 21, "can": 29, "kcm": 41, "xdp": 44}


def test_networks_that_no_namespace_holds_are_not_spoken(stand: Stand) -> None:
    space = stand.space("own")
    kinds = (int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET))
    spoken = [(intruder.speak, family, kind) for family in OTHER_NETWORKS.values() for kind in kinds]
    stand.shuts_out(space, *spoken, (intruder.pair, OTHER_NETWORKS["tipc"]), by="EAFNOSUPPORT")


# --- what the kernel keeps for all of a user ---------------------------------------------------------------------

CREATE = 0o1000
REMOVE = 0


@pytest.fixture
def kept() -> Iterator[dict[str, int | str]]:
    """What only a wall keeps others from: memory, messages and semaphores by number, a queue by name."""
    libc = ctypes.CDLL(None, use_errno=True)
    memory = libc.shmget(0, 4096, CREATE | 0o666)
    messages, semaphores = libc.msgget(0, CREATE | 0o666), libc.semget(0, 1, CREATE | 0o666)
    libc.shmat.restype = ctypes.c_void_p
    at = libc.shmat(memory, None, 0)
    ctypes.memmove(at, b"secret", 7)
    libc.shmdt(ctypes.c_void_p(at))
    name = f"/wall-{os.getpid()}"
    umask = os.umask(0)
    queue = libc.mq_open(name.encode(), os.O_CREAT | os.O_RDWR, 0o666, None)
    os.umask(umask)
    assert -1 not in (memory, messages, semaphores, queue), os.strerror(ctypes.get_errno())
    os.close(queue)
    yield {"memory": memory, "messages": messages, "semaphores": semaphores, "queue": name}
    libc.shmctl(memory, REMOVE, None)
    libc.msgctl(messages, REMOVE, None)
    libc.semctl(semaphores, 0, REMOVE)
    libc.mq_unlink(name.encode())


@EVERYWHERE
def test_what_processes_share_by_number_or_name_is_out_of_reach(stand: Stand, kept: dict[str, int | str]) -> None:
    stand.shuts_out(
        stand.space("own"),
        (intruder_calls.attach_memory, kept["memory"]),
        (intruder_calls.send_message, kept["messages"]),
        (intruder_calls.take_semaphore, kept["semaphores"]),
        (intruder_calls.open_queue, kept["queue"]),
    )
