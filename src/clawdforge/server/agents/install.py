"""Puts an agent of the catalog on this machine: npm packages and the embedded model's weights.

What is installed stands below the data directory, complete or not at all. Must not start an agent, and must not
let a package run anything of its own while it is installed.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from clawdforge.local_agent import weights
from clawdforge.server.agents.available import installed_dir, version_of, weights_dir
from clawdforge.server.agents.entry import AgentEntry

Progress = Callable[[str, int, int | None], None]

_NPM_DEADLINE_S: Final = 1800
_NPM_ENDS_S: Final = 5
_QUOTED_LINES: Final = 6
_QUOTED_LIMIT_CHARS: Final = 1000

# npm's own codes, and the system's that it passes on. What to do about all others npm's own words must tell.
_OFFLINE: Final = "The package registry could not be reached: look at the network, or at npm's proxy setting"
_ADVICE: Final = {
    **dict.fromkeys(
        ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ETIMEDOUT", "ERR_SOCKET_TIMEOUT"),
        _OFFLINE,
    ),
    **dict.fromkeys(("ENOSPC", "EDQUOT"), "The disk is full: make room"),
    **dict.fromkeys(("E404", "ETARGET"), "The package registry that npm uses does not have this release"),
    "EINTEGRITY": "What came is not what was published: empty npm's cache with `npm cache clean --force`",
}
_FOR_ALL_TO_READ: Final = 0o022
"""Programs are nobody's secret, and the agents of a gateway that is root are another user."""
_NOISE: Final = re.compile(r"(code|errno|syscall|path|dest)\s|\s|\}|$")
_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s@]+@")


class InstallError(Exception):
    """An agent was not installed, and what was there before still is; the message says why, and what to do."""


def install(entry: AgentEntry, data_dir: Path, progress: Progress) -> str:
    """Installs an agent below the data directory, in place of an older one.

    Args:
        entry: of the catalog.
        data_dir: the gateway's data directory; made if need be.
        progress: is told what is fetched, the bytes done, and all bytes (None where nobody knows).

    Returns:
        A sentence: what is there now.

    Raises:
        InstallError: there is nothing to install by that name, or it did not work.
    """
    usual = os.umask(_FOR_ALL_TO_READ)
    try:
        if entry.name == "local":
            path = weights.install(
                weights_dir(data_dir), lambda done, total: progress("the model's weights", done, total)
            )
            return f"The weights of the embedded model are in {path}."
        if entry.package is None:
            how = "" if entry.by_hand is None else f" ({entry.by_hand})"
            raise InstallError(
                f"clawdforge does not install {entry.title}: install it as its makers say{how}, so that "
                f"{entry.argv[0]!r} is on the PATH, or name its command in the settings: "
                f'[agents.{entry.name}] argv = ["…"]'
            )
        return _install_package(entry, entry.package, installed_dir(data_dir, entry.name), progress)
    except weights.WeightsError as error:
        raise InstallError(str(error)) from error
    except OSError as error:
        raise InstallError(f"{entry.title} could not be installed below {data_dir}: {error}") from error
    finally:
        os.umask(usual)


def _install_package(entry: AgentEntry, package: str, place: Path, progress: Progress) -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise InstallError(
            f"{entry.title} is an npm package, and npm was not found. Install Node 20 or newer with npm, "
            f"then run: clawdforge agents install {entry.name}"
        )
    with _only_installer(place):
        _remove_all_but(place, place.resolve())
        staging = place.with_name(f".{place.name}-{secrets.token_hex(8)}")
        staging.mkdir()
        try:
            progress(package, 0, None)
            _run_npm(npm, package, staging)
            _check(entry, package, staging)
            _point(place, staging)
        finally:
            _remove_all_but(place, place.resolve())
    return f"{entry.title} is installed: {package}, below {place}."


@contextmanager
def _only_installer(place: Path) -> Iterator[None]:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f".{place.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InstallError(
                f"{place.name} is being installed by another process: wait for that one."
            ) from error
        yield


def _run_npm(npm: str, package: str, staging: Path) -> None:
    """Runs npm to its end; however this ends, npm has ended too."""
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    with subprocess.Popen(
        [*command, "--prefix", str(staging), package],
        cwd=staging,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Its own group: Ctrl-C reaches us alone, and we end all that npm started.
        process_group=0,
    ) as process:
        try:
            output, _ = process.communicate(timeout=_NPM_DEADLINE_S)
        except subprocess.TimeoutExpired as error:
            raise InstallError(f"npm did not end within {_NPM_DEADLINE_S // 60} minutes. {_OFFLINE}.") from error
        finally:
            _end(process)
    if process.returncode != 0:
        raise InstallError(_reason(process.returncode, output.decode(errors="replace")))


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_NPM_ENDS_S)


def _reason(code: int, output: str) -> str:
    """npm's failure, as sentences: what we make of it, then its own last lines."""
    lines = [re.sub(r"^npm (error|ERR!) ?", "", line) for line in _CONTROL.sub("", output).splitlines()]
    codes = [line.split()[1] for line in lines if re.match(r"code \S", line)]
    advice = _ADVICE.get(codes[0]) if codes else None
    said = [_CREDENTIALS.sub("…@", line) for line in lines if not _NOISE.match(line)]
    quote = " | ".join(said[-_QUOTED_LINES:])[:_QUOTED_LIMIT_CHARS]
    return f"npm failed with exit code {code}. {advice + '. ' if advice else ''}npm said: {quote or 'nothing'}"


def _check(entry: AgentEntry, package: str, staging: Path) -> None:
    pinned = package.rpartition("@")[2]
    program = staging / "node_modules" / ".bin" / entry.argv[0]
    if not os.access(program, os.X_OK):
        raise InstallError(
            f"the package {package} has no program {entry.argv[0]!r}: did a setting change its argv?"
        )
    version = version_of(program)
    if version != pinned:
        raise InstallError(
            f"npm installed {version} of {entry.title} where {pinned} is meant: look at npm's registry setting"
        )


def _point(place: Path, staging: Path) -> None:
    """Makes `place` a link to what was staged, in one step for whoever starts the agent meanwhile."""
    link = staging.with_suffix(".link")
    link.symlink_to(staging.name)
    link.replace(place)


def _remove_all_but(place: Path, kept: Path) -> None:
    """Removes what failed, interrupted and older installations left."""
    for path in place.parent.glob(f".{place.name}-*"):
        if path.is_symlink():
            path.unlink()
        elif path.resolve() != kept:
            shutil.rmtree(path, ignore_errors=True)
