"""New databases for tests that need hundreds: one is made, and copied, for to make one is to wait for the disk."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from clawdforge.server.store import migrate


def lay_new(path: Path) -> Path:
    """Puts a database there that is as new as one that the store makes itself. Returns the path."""
    path.write_bytes(_new())
    return path


@cache
def _new() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        migrate.prepare(path)
        return path.read_bytes()
