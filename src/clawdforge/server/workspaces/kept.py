"""The directory of one session's snapshots, bounded: the changes of the oldest turns are dropped first. In it lie

turns      the last turn that was looked at after its end, and the last one whose changes were dropped
manifest   what lay in the workspace at the last look that found it changed
objects/   texts, by their SHA-256
N          what turn N changed, where it changed anything

An error of the disk costs what it hits, and is logged. Must not look into a workspace. Blocking.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import records, removal
from clawdforge.server.workspaces.records import Change, Head
from clawdforge.server.workspaces.survey import Manifest

_log: Final = logging.getLogger(__name__)

_BLOCK_BYTES: Final = 4096
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Kept:
    """What is kept of one session, in memory only what has to be.

    Attributes:
        manifest: the last one that was found.
        ended: the last turn that was looked at after its end.
        dropped: what turns up to this one have changed is not there.
        made: whether there is a directory.
    """

    def __init__(self, place: Path, limit_bytes: int) -> None:
        self.manifest: Manifest = Manifest()
        self.ended: int = 0
        self.dropped: int = 0
        self._place = place
        self._objects = f"{place}/objects"
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._fresh: set[str] = set()  # texts that were kept since the last manifest
        self._full = False
        self.made: bool = False

    def load(self, last_index: int) -> None:
        """Reads what lies there; where nothing does, what turns up to the last have changed is not known."""
        try:
            ended, dropped = (self._place / "turns").read_text("ascii").split()
            with suppress(FileNotFoundError), (self._place / "manifest").open("rb") as file:
                self.manifest = records.read_manifest(file)
            self.ended, self.dropped = int(ended), int(dropped)
            self._bytes = sum(self._texts().values()) + sum(self._turns().values())
            self.made = True
        except (OSError, ValueError) as error:
            if not isinstance(error, FileNotFoundError):
                _log.error("the snapshots in %s begin anew: %s", self._place, error)
            self.manifest, self.ended, self.dropped = Manifest(), last_index, last_index

    def make(self) -> None:
        """Makes the directory, unless there is one that could be read."""
        if self.made:
            return
        try:
            removal.remove(self._place)
            self._place.parent.mkdir(mode=0o700, exist_ok=True)
            self._place.mkdir(mode=0o700)
            os.mkdir(self._objects, mode=0o700)  # noqa: PTH102
        except OSError as error:
            _log.error("there can be no snapshots in %s: %s", self._place, error)
        self._bytes, self.made = 0, True
        self.over(self.ended)

    def over(self, turn_index: int, dropped: int = 0) -> None:
        """A turn was looked at after its end."""
        self.ended = turn_index
        self.dropped = max(self.dropped, dropped)
        # In place and always as long: it is written after each turn, and whole at any moment.
        text = f"{self.ended:>20} {self.dropped:>20}\n"
        try:
            file = os.open(f"{self._place}/turns", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(file, text.encode(), 0)
            finally:
                os.close(file)
        except OSError as error:
            _log.error("snapshots cannot be noted in %s: %s", self._place, error)

    def found(self, manifest: Manifest, *, changed: bool) -> None:
        """This lies in the workspace now; where nothing has changed, the manifest on the disk tells of it too."""
        self.manifest, self._fresh, self._full = manifest, set(), False
        if changed:
            self._save("manifest", records.manifest_lines(manifest))

    def add(self, turn_index: int, head: Head, changed: list[Change]) -> bool:
        """Keeps what a turn has changed; whether it is there."""
        size = self._save(str(turn_index), records.change_lines(head, changed))
        if size is None:
            return False
        self._bytes += _room(size)
        if self._bytes > self._limit_bytes:
            self._make_room(0)
        return turn_index > self.dropped

    def changes(self, turn_index: int) -> tuple[Head, list[Change]]:
        """What a turn has changed, where it was not dropped.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        try:
            with (self._place / str(turn_index)).open("rb") as file:
                return records.read_changes(file)
        except FileNotFoundError:
            return Head(truncated=False, late=False), []

    def keep(self, sha256: str, content: bytes) -> bool:
        """Keeps a text; False where there is no room for it."""
        path = f"{self._objects}/{sha256}"
        room = _room(len(content))
        try:
            if os.stat(path).st_size == len(content):  # noqa: PTH116
                self._fresh.add(sha256)
                return True
            os.unlink(path)  # noqa: PTH108 - half of it, by a gateway that was killed
        except FileNotFoundError:
            pass
        except OSError:
            return False
        if self._bytes + room > self._limit_bytes and not self._make_room(room):
            return False
        try:
            with os.fdopen(os.open(path, _NEW, 0o600), "wb", buffering=0) as file:
                file.write(content)
        except OSError:
            return False  # what there is of it is not taken for the whole
        self._bytes += room
        self._fresh.add(sha256)
        return True

    def text(self, sha256: str) -> str | None:
        """A text that was kept; None where it is not there any more."""
        try:
            content = Path(f"{self._objects}/{sha256}").read_bytes()
        except OSError:
            return None
        return content.decode() if hashlib.sha256(content).hexdigest() == sha256 else None

    def _save(self, name: str, lines: Iterator[bytes]) -> int | None:
        """Puts a file in place, whole or not at all; its size where that was done."""
        new = self._place / f"{name}.new"
        try:
            with new.open("wb", buffering=0) as file:
                for each in lines:
                    file.write(each)
                size = file.tell()
            new.replace(self._place / name)
        except OSError as error:
            _log.error("a snapshot cannot be stored in %s: %s", self._place, error)
            with suppress(OSError):
                new.unlink(missing_ok=True)
            return None
        return size

    # --- room ----------------------------------------------------------------------------------------------

    def _make_room(self, needed: int) -> bool:
        """Removes texts that nothing tells of, and turns, the oldest first. Whether there is room then."""
        if self._full:
            return False
        try:
            self._drop(self._limit_bytes * 3 // 4 - needed)
        except (OSError, ValueError) as error:
            _log.error("the snapshots in %s cannot be cleared: %s", self._place, error)
        self._full = self._bytes + needed > self._limit_bytes
        return not self._full

    def _drop(self, goal_bytes: int) -> None:
        texts, turns = self._texts(), self._turns()
        told = {index: self._told(index) for index in turns}
        wanted = Counter(self._fresh)
        wanted.update(each.sha256 for each in self.manifest.entries.values() if each.sha256 is not None)
        for those in told.values():
            wanted.update(those)
        self._remove([each for each in texts if not wanted[each]], texts)
        for index in sorted(turns):
            if self._bytes <= goal_bytes:
                break
            self.over(self.ended, dropped=index)
            (self._place / str(index)).unlink()
            self._bytes -= turns[index]
            wanted.subtract(told[index])
            self._remove([each for each in told[index] if each in texts and not wanted[each]], texts)

    def _texts(self) -> dict[str, int]:
        """The texts, and what each takes."""
        with os.scandir(self._objects) as found:
            return {each.name: _room(each.stat().st_size) for each in found}

    def _turns(self) -> dict[int, int]:
        """The turns, and what each takes, its texts left out."""
        with os.scandir(self._place) as found:
            return {int(each.name): _room(each.stat().st_size) for each in found if each.name.isdecimal()}

    def _told(self, turn_index: int) -> set[str]:
        """The texts that a turn tells of."""
        _, changed = self.changes(turn_index)
        sides = (side for each in changed for side in (each.old, each.new) if side is not None)
        return {side.sha256 for side in sides if side.sha256 is not None}

    def _remove(self, names: list[str], texts: dict[str, int]) -> None:
        for name in names:
            Path(f"{self._objects}/{name}").unlink(missing_ok=True)
            self._bytes -= texts.pop(name)


def _room(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
