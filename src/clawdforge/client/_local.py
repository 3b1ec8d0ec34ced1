"""The app's own files on their way to the gateway and back: opened, named, measured, written whole or not."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from clawdforge.client._bodies import OnProgress, Source

FileLike = str | os.PathLike[str] | BinaryIO


@contextmanager
def source(given: FileLike, on_progress: OnProgress | None) -> Iterator[tuple[Source, str]]:
    """The file to read, and its name. Only what was opened here is closed.

    Raises:
        OSError: the path cannot be opened.
        TypeError: it is neither, or the file object gives text.
    """
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        with path.open("rb") as file:
            yield _measured(file, on_progress), path.name
        return
    if not hasattr(given, "read"):
        raise TypeError(
            f"a path or a binary file is wanted, not {type(given).__name__}; io.BytesIO makes one of bytes"
        )
    if not isinstance(given.read(0), bytes):
        raise TypeError("the file object gives text: open it in binary mode")
    name = getattr(given, "name", None)
    yield _measured(given, on_progress), (Path(name).name if isinstance(name, str) else "") or "upload"


def _measured(file: BinaryIO, on_progress: OnProgress | None) -> Source:
    """Its size is the bytes from where it stands to its end; None where it cannot seek."""
    if not file.seekable():
        return Source(file, None, None, on_progress)
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return Source(file, here, max(0, end - here), on_progress)


@contextmanager
def target(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes this path at the end of the block, whole; where the block fails nothing has changed."""
    place = Path(path)
    part = place.with_name(f".{secrets.token_hex(8)}.part")  # its own name may be as long as names can be
    try:
        with part.open("xb") as file:
            yield file
        part.replace(place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
