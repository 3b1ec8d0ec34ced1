"""The /etc of a root directory that is built from nothing: made once, because each mount costs every start.

What is in it is as old as the gateway; names are looked up by the machine's own, younger `LIVE` files.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from clawdforge.server.sandbox.base import AGENT_HOME, AGENT_ID, AGENT_NAME
from clawdforge.server.sandbox.shown import ETC

LIVE: Final = ("/etc/resolv.conf",)
"""Shown as they are at each start: a machine that moves to another network gets other ones."""
_MADE: Final = {
    "passwd": f"{AGENT_NAME}:x:{AGENT_ID}:{AGENT_ID}:agent:{AGENT_HOME}:/bin/sh\n",
    "group": f"{AGENT_NAME}:x:{AGENT_ID}:\n",
}


def make(directory: Path) -> Path:
    """Makes it anew below a directory, readable for all. Returns its path.

    Raises:
        OSError: it cannot be written.
    """
    made = directory / "etc"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o755, parents=True)
    for name in ETC:
        _copy(Path(name), made / Path(name).relative_to("/etc"))
    for name in LIVE:
        (made / Path(name).name).write_bytes(b"")  # somewhere to mount it on
    for name, text in _MADE.items():
        (made / name).write_text(text)
    for path in (made, *made.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    return made


def _copy(source: Path, target: Path) -> None:
    """What is not there, or not for everybody to read, is left out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError, shutil.Error):
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        elif source.stat().st_mode & 0o004:
            shutil.copyfile(source, target)
