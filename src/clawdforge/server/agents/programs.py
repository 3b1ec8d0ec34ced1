"""What an agent's program consists of: what of this machine must be in its sight, so that it can run.

Looks at files only, and shows too little rather than too much: what it cannot know of is named in the settings
(`[agents.NAME] readable`). Must not start anything, nor ask who runs the agent.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from clawdforge.server.sandbox.shown import BESIDE_USR

PROGRAM_DIRS: Final = ("agents", "models")
"""What of the data directory is programs, and nobody's secret."""

_SHOWN: Final = ("/usr", *BESIDE_USR)
_MADE_ANEW: Final = ("/dev", "/etc", "/proc", "/run", "/sys")
_PATH: Final = ("/usr/local/bin", "/usr/bin", "/bin")
_HEAD_BYTES: Final = 256
_SCRIPTS_DEEP: Final = 4
"""As far as Linux follows scripts that are run by scripts."""
_PYTHON: Final = re.compile(r"(python|pypy)[0-9.]*")
_WITH_A_PREFIX: Final = re.compile(r"node|perl|ruby|" + _PYTHON.pattern)
"""Interpreters that find what they need beside the directory in which they lie."""


class CannotBeShown(Exception):
    """An agent's program cannot be where the agent is; the message says what is in the way, and what mends it."""


def consists_of(
    argv: Sequence[str], readable: Sequence[str] = (), data_dir: Path | None = None
) -> tuple[Path, ...]:
    """The files and directories that a command line needs to be seen behind a wall, at the same paths as here.

    What every agent sees anyway (/usr and its like) is left out, and what lies below something else of these.

    Args:
        argv: the command line, its program as an absolute path.
        readable: what the settings name besides: absolute paths, or below `~`.
        data_dir: the gateway's data directory, of which nothing but programs is shown.

    Raises:
        CannotBeShown: a path of these is, or holds, the user's home or the data directory, or is not there.
    """
    return _consists_of(tuple(argv), tuple(readable), data_dir, found_now(argv))


def found_now(argv: Sequence[str]) -> tuple[str | int | None, ...]:
    """What changes where an agent is installed anew: where it really lies, or when it was written."""
    real = os.path.realpath(argv[0])
    with suppress(OSError):
        return real, os.stat(real).st_mtime_ns, os.environ.get("PATH")  # noqa: PTH116 - at every start
    return real, None, os.environ.get("PATH")


@lru_cache(maxsize=64)
def _consists_of(
    argv: tuple[str, ...], readable: tuple[str, ...], data_dir: Path | None, _now: tuple[str | int | None, ...]
) -> tuple[Path, ...]:
    bounds = _Bounds(data_dir)
    wanted: list[Path] = []
    for word in argv:
        if word.startswith("/") and os.path.lexists(word) and not below(Path(word), _MADE_ANEW):
            bounds.check(Path(word), "command line")
            wanted += _file(Path(word), bounds)
    for program in run_by(Path(argv[0])):
        wanted += _file(program, bounds)
        wanted += _interpreter(program, bounds)
        wanted += _versions(program, bounds)
    for name in readable:
        path = Path(name).expanduser()
        if not path.is_absolute() or not path.exists():
            raise CannotBeShown(f"{name} is named in its settings (readable), and is not there")
        if below(path, _MADE_ANEW):
            raise CannotBeShown(
                f"{name} is named in its settings (readable), and agents get a /{path.parts[1]} of their own: "
                "put a copy elsewhere"
            )
        bounds.check(path, "settings (readable)")
        wanted += [path, Path(os.path.realpath(path))]
    return _outermost(each for each in wanted if not below(each, _SHOWN))


def path_inside(path_variable: str, programs: Sequence[Path]) -> str:
    """A PATH without what is not seen behind a wall: what is left, in its order, then the usual directories.

    Args:
        path_variable: the PATH here.
        programs: what `consists_of` tells.
    """
    shown = (*_SHOWN, *map(str, programs))
    holding = {str(each.parent) for each in programs if not each.is_dir()}
    here = [each for each in path_variable.split(os.pathsep) if each.startswith("/")]
    kept = [each for each in here if each in holding or below(Path(each), shown)]
    return os.pathsep.join(dict.fromkeys((*kept, *_PATH)))


class _Bounds:
    """What is never shown as a whole, whoever asks."""

    def __init__(self, data_dir: Path | None) -> None:
        self._data_dir = None if data_dir is None else Path(os.path.realpath(data_dir))
        self._home = Path(os.path.realpath(os.path.expanduser("~")))  # noqa: PTH111 - never raises
        self._of_many = {self._home / name for name in (".local", ".local/share", ".config", ".cache")}

    def check(self, path: Path, where: str) -> None:
        """Raises CannotBeShown for what holds more than any agent may see."""
        if any(self._holds_too_much(each) for each in (path, Path(os.path.realpath(path)))):
            raise CannotBeShown(
                f"{path} is named in its {where}, and no agent may see all of that: it is, or holds, the home of "
                "the gateway's user or the data directory. Name what the agent needs of it"
            )

    def are_its_own(self, directory: Path) -> bool:
        """Whether a directory is likely to be one program's, so that it can be shown with all that is in it."""
        real = Path(os.path.realpath(directory))
        return len(real.parts) > 2 and real not in self._of_many and not self._holds_too_much(real)

    def _holds_too_much(self, path: Path) -> bool:
        if path == Path("/") or self._home.is_relative_to(path):
            return True
        if self._data_dir is None:
            return False
        if path.is_relative_to(self._data_dir):
            return not any(path.is_relative_to(self._data_dir / name) for name in PROGRAM_DIRS)
        return self._data_dir.is_relative_to(path)


def run_by(program: Path) -> Iterator[Path]:
    """A program, the interpreter that its first line names, and so on."""
    for _ in range(_SCRIPTS_DEEP):
        yield program
        found = _first_line(program)
        if found is None:
            return
        program = found


def _first_line(script: Path) -> Path | None:
    """The interpreter of a script; None for what is none."""
    try:
        with script.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if not head.startswith(b"#!"):
        return None
    words = os.fsdecode(head.partition(b"\n")[0][2:]).split()
    if words and Path(words[0]).name == "env":
        name = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), None)
        found = None if name is None else shutil.which(name)
        return None if found is None else Path(found).absolute()
    return Path(words[0]) if words and words[0].startswith("/") else None


def _file(path: Path, bounds: _Bounds) -> Iterator[Path]:
    """A file or a directory, and every link on the way to it: each with what it is nothing without."""
    places = places_of(path)
    for place in places:
        modules = _node_modules(place)
        if modules is not None:
            yield modules
        elif place.is_symlink() and not place.is_dir() and bounds.are_its_own(place.parent):
            yield place.parent  # so that it stays a link: programs look beside what it leads to
        elif place != path and _alone(place, bounds):
            yield place.parent  # an installer has put it there, and a link to it elsewhere
        else:
            yield place


def places_of(path: Path) -> list[Path]:
    """The path, and where it leads, link by link; the last one is the real one."""
    places = [path]
    real = Path(os.path.realpath(path))
    while places[-1].is_symlink() and places[-1] != real:
        link = places[-1]
        target = Path(os.path.normpath(link.parent / link.readlink()))
        if target in places:
            break
        places.append(target)
    return places if places[-1] == real else [*places, real]


def _node_modules(path: Path) -> Path | None:
    """The outermost such directory that a path lies in: packages there look for each other."""
    if "node_modules" not in path.parts[:-1]:
        return None
    return Path(*path.parts[: path.parts.index("node_modules") + 1])


def _alone(program: Path, bounds: _Bounds) -> bool:
    return program.is_file() and program.parent.name not in ("bin", "sbin") and bounds.are_its_own(program.parent)


def _interpreter(program: Path, bounds: _Bounds) -> Iterator[Path]:
    """What belongs to an interpreter besides itself."""
    places = places_of(program)
    if not any(_WITH_A_PREFIX.fullmatch(each.name) for each in places):
        return
    is_python = any(_PYTHON.fullmatch(each.name) for each in places)
    roots = _environments(places) if is_python else []
    if places[-1].parent.name == "bin":
        roots.append(places[-1].parent.parent)
    for root in roots:
        if bounds.are_its_own(root):
            yield root
        elif is_python:
            yield from root.glob("lib/python3*")
    if is_python and roots:
        yield from (each for each in _named_by_pth(roots[0]) if bounds.are_its_own(each))


def _versions(program: Path, bounds: _Bounds) -> Iterator[Path]:
    """Where a shim looks for the program itself: pyenv, rbenv and nodenv keep the versions beside their shims."""
    root = program.parent.parent
    if program.parent.name == "shims" and (root / "versions").is_dir() and bounds.are_its_own(root):
        yield root


def _environments(places: Sequence[Path]) -> list[Path]:
    """The virtual environment that a Python belongs to, and the Python that this was made with; or nothing."""
    for root in (each.parent.parent for each in places):
        try:
            config = (root / "pyvenv.cfg").read_text()
        except OSError:
            continue
        home = re.search(r"^home\s*=\s*(.+?)\s*$", config, re.MULTILINE)
        return [root, *([Path(home[1]).parent] if home else [])]
    return []


def _named_by_pth(root: Path) -> Iterator[Path]:
    """Directories outside of a Python's own that are on its path all the same: packages installed as editable."""
    for file in root.glob("lib/python3*/site-packages/*.pth"):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("/") and Path(line).is_dir():
                yield Path(line)


def _outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    found: list[Path] = []
    for path in sorted(set(paths)):
        if not below(path, map(str, found)):
            found.append(path)
    return tuple(found)


def below(path: Path, folders: Iterable[str]) -> bool:
    """Whether a path is one of these, or lies below one. As text: it is asked often, and paths are slow."""
    text = str(path)
    return any(text == folder or text.startswith(f"{folder}/") for folder in folders)
