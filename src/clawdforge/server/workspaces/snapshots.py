"""What each turn of one session changed: by looks at its workspace before and after, told apart by content.

A look that finds nothing new writes nothing but a number. What cannot be looked at or kept is told as such, and no
turn fails by it. Must not know what a turn is but its number. Blocking, and for one thread at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import glance
from clawdforge.server.workspaces.kept import Kept
from clawdforge.server.workspaces.records import Change, Head
from clawdforge.server.workspaces.survey import USUAL, Limits, Manifest, look

_log: Final = logging.getLogger(__name__)

SHOWN_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""So much of what a running turn has written so far is held in memory, for one answer."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two looks.

    Attributes:
        files: each once.
        truncated: a part of the workspace was not looked at, and is left out.
        late: the second look came only when the gateway was there again.
        text: what a text was, by its SHA-256; None where it is not there any more.
    """

    files: list[Change]
    truncated: bool
    late: bool
    text: Callable[[str], str | None]


class Dropped(Exception):
    """What this turn changed was not kept, or is not any more."""


class Snapshots:
    """The snapshots of one session: `load` comes first, then the rest.

    Attributes:
        loaded: whether that was done.

    Args:
        place: its directory for them; made when needed.
        root: its workspace.
        limit_bytes: how much may be kept.
        limits: how much of the workspace is looked at.
    """

    def __init__(self, place: Path, root: Path, limit_bytes: int, limits: Limits = USUAL) -> None:
        self._root = root
        self._limits = limits
        self._kept = Kept(place, limit_bytes)
        self.loaded: bool = False

    def load(self, last_begun: int) -> None:
        """Reads what is kept. A turn whose end nobody saw, which is the last one, ended as it is found now."""
        self._kept.load(last_begun)
        self.loaded = True
        if self._kept.ended < last_begun:
            self.end(last_begun, late=True)

    def unchanged(self) -> bool:
        """Whether a glance shows that the workspace is as it was found last; False says nothing."""
        try:
            return self._kept.made and glance.unchanged(self._root, self._kept.manifest)
        except OSError:
            return False

    def over(self, turn_index: int) -> None:
        """Notes that a turn is over that has changed nothing.

        Until then, or until there is more to be noted, it counts as one whose end nobody saw: that may be left to
        when there is time, or to the turn after it.
        """
        self._kept.over(turn_index)

    def begin(self, turn_index: int) -> None:
        """Looks at the workspace before a turn can change it."""
        self._kept.make()
        before = self._kept.manifest
        if (now := self._look(turn_index)) is not None:
            self._kept.found(now, changed=bool(_differences(before, now)))

    def end(self, turn_index: int, *, late: bool = False) -> None:
        """Looks at the workspace after a turn, and keeps what has changed since its beginning."""
        before = self._kept.manifest
        now = self._look(turn_index)
        if now is None:
            return
        changed = _differences(before, now)
        head = Head(truncated=bool(before.unseen or now.unseen), late=late)
        # Before the manifest: a gateway that is killed between the two finds the same changes again.
        lost = (changed or head.truncated) and not self._kept.add(turn_index, head, changed)
        self._kept.found(now, changed=bool(changed))
        self._kept.over(turn_index, dropped=turn_index if lost else 0)

    def so_far(self, turn_index: int) -> Changes:
        """What the turn that runs, and has begun, has changed by now. Keeps nothing.

        Raises:
            Dropped: it is not known how it began.
            OSError: the workspace cannot be looked into.
        """
        if not self.loaded or turn_index <= self._kept.dropped:
            raise Dropped
        before, shown = self._kept.manifest, _Shown()
        now = look(self._root, before, shown.keep, self._limits)
        return Changes(
            _differences(before, now),
            truncated=bool(before.unseen or now.unseen),
            late=False,
            text=lambda sha256: shown.text(sha256) if sha256 in shown else self._kept.text(sha256),
        )

    def changes(self, turn_index: int) -> Changes:
        """What a turn that is over has changed.

        Raises:
            Dropped: it was not kept, or is not any more.
        """
        if not self.loaded or turn_index <= self._kept.dropped:
            raise Dropped
        try:
            head, files = self._kept.changes(turn_index)
        except (OSError, ValueError) as error:
            _log.error("what turn %d in %s changed cannot be read: %s", turn_index, self._root, error)
            raise Dropped from None
        return Changes(files, head.truncated, head.late, self._kept.text)

    def _look(self, turn_index: int) -> Manifest | None:
        try:
            return look(self._root, self._kept.manifest, self._kept.keep, self._limits)
        except OSError as error:
            _log.error("the workspace %s cannot be looked into: %s", self._root, error)
            self._kept.over(turn_index, dropped=turn_index)
            return None


class _Shown:
    """Texts that are told once, and then forgotten."""

    def __init__(self) -> None:
        self._left = SHOWN_LIMIT_BYTES
        self._texts: dict[str, bytes] = {}

    def keep(self, sha256: str, content: bytes) -> bool:
        if len(content) > self._left:
            return False
        self._left -= len(content)
        self._texts[sha256] = content
        return True

    def text(self, sha256: str) -> str:
        return self._texts[sha256].decode()

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._texts


def _differences(before: Manifest, after: Manifest) -> list[Change]:
    """What was seen in one and would have been seen in the other."""
    found: list[Change] = []
    for path, new in after.entries.items():
        old = before.entries.get(path)
        if old is not new and (before.saw(path) if old is None else old.differs(new)):
            found.append(Change(path, old, new))
    for path, old in before.entries.items():
        if path not in after.entries and after.saw(path):
            found.append(Change(path, old, None))
    return found
