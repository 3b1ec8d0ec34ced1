"""Manifests and changes as lines of JSON, a few at a time: nobody waits while many are written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, Final

from clawdforge.server.workspaces.survey import Entry, Manifest

_LINES_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Change:
    """A file that differs; None where there is none."""

    path: str
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class Head:
    """What there is to know of a turn's changes (see `snapshots.Changes`)."""

    truncated: bool
    late: bool


def manifest_lines(manifest: Manifest) -> Iterator[bytes]:
    """A manifest in pieces of some lines."""
    return _pieces(sorted(manifest.unseen), ([path, _fields(each)] for path, each in manifest.entries.items()))


def read_manifest(file: BinaryIO) -> Manifest:
    """What `manifest_lines` has written.

    Raises:
        ValueError: something else.
    """
    try:
        unseen = frozenset(json.loads(file.readline()))
        return Manifest({path: _entry(fields) for path, fields in _rows(file)}, unseen)
    except TypeError as error:
        raise ValueError(str(error)) from error


def change_lines(head: Head, changed: Iterable[Change]) -> Iterator[bytes]:
    """A turn's changes in pieces of some lines."""
    rows = ([each.path, each.old and _fields(each.old), each.new and _fields(each.new)] for each in changed)
    return _pieces([head.truncated, head.late], rows)


def read_changes(file: BinaryIO) -> tuple[Head, list[Change]]:
    """What `change_lines` has written.

    Raises:
        ValueError: something else.
    """
    try:
        truncated, late = json.loads(file.readline())
        changed = [Change(path, old and _entry(old), new and _entry(new)) for path, old, new in _rows(file)]
    except TypeError as error:
        raise ValueError(str(error)) from error
    return Head(truncated, late), changed


def _pieces(head: Any, rows: Iterator[list[Any]]) -> Iterator[bytes]:
    # Plain ASCII, in which bytes of a name that are no UTF-8 are escaped like any other.
    yield f"{json.dumps(head)}\n".encode()
    while some := list(islice(rows, _LINES_AT_ONCE)):
        yield "".join([f"{json.dumps(each)}\n" for each in some]).encode()


def _rows(file: BinaryIO) -> Iterator[Any]:
    while lines := list(islice(file, _LINES_AT_ONCE)):
        yield from map(json.loads, lines)
        time.sleep(0)  # lets go of the interpreter: others, who have less to do, come first


def _fields(entry: Entry) -> list[Any]:
    return [entry.mode, entry.size, entry.stamp, entry.content, entry.sha256, entry.sure]


def _entry(fields: list[Any]) -> Entry:
    mode, size, stamp, content, sha256, sure = fields
    return Entry(mode, size, tuple(stamp), content, sha256, sure)
