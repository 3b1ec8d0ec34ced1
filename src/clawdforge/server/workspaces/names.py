"""File names from outside, made into names that are safe on every file system. Pure."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

LIMIT_BYTES: Final = 255
EXTENSION_LIMIT_BYTES: Final = 32
NAMELESS: Final = "file"

_SEPARATORS: Final = re.compile(r"[/\\]")
_FORBIDDEN: Final = re.compile(r'[<>:"|?*]')
_EDGES: Final = re.compile(r"^[\s.]+|[\s.]+$")
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
# Control, half a surrogate pair, line end, paragraph end; and what turns the direction of the text around it.
_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(name: str) -> str:
    """A name for a file, from whatever somebody called it.

    The result is one component of a path: NFC, 1 to 255 bytes of UTF-8, with no separator, control character,
    or character that some file system forbids; it begins and ends with neither dot nor space, and is no device
    of Windows. A name that is too long keeps its extension. Cleaning a clean name changes nothing.
    """
    parts = [_trim(part) for part in _SEPARATORS.split(_printable(name))]
    last = next((part for part in reversed(parts) if part), NAMELESS)
    if _DEVICES.match(last):
        last = f"_{last}"
    stem, extension = _split(last)
    return _cut(stem, extension) or NAMELESS


def numbered(name: str, number: int) -> str:
    """The `number`th way to write a clean name: `a.txt`, `a (2).txt`, `a (3).txt`, …."""
    if number == 1:
        return name
    stem, extension = _split(name)
    return _cut(stem, f" ({number}){extension}")


def printable(name: str) -> bool:
    """Whether all of a text can be shown, and leaves the text around it as it is."""
    return (name.isascii() and name.isprintable()) or all(map(_is_printable, name))


def _is_printable(each: str) -> bool:
    return unicodedata.category(each) not in _UNPRINTABLE and each not in _TURNING


def _printable(name: str) -> str:
    kept = filter(_is_printable, name)
    return _FORBIDDEN.sub("_", unicodedata.normalize("NFC", "".join(kept)))


def _trim(part: str) -> str:
    return _EDGES.sub("", part)


def _split(name: str) -> tuple[str, str]:
    extension = PurePosixPath(name).suffix
    if len(extension.encode()) > EXTENSION_LIMIT_BYTES:
        extension = ""
    return name[: len(name) - len(extension)], extension


def _cut(stem: str, ending: str) -> str:
    """Stem and ending, the stem cut at a character so that both have room."""
    room = LIMIT_BYTES - len(ending.encode())
    whole = stem.encode()
    if len(whole) <= room:
        return stem + ending
    return _EDGES.sub("", whole[:room].decode("utf-8", "ignore")) + ending
