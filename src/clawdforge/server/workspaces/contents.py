"""What of a file a model can be shown at once: a picture or a short text, known by its bytes, never by its name.

Blocking: call it from a thread.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from typing import Final

from clawdforge.wire import codec

TEXT_LIMIT_BYTES: Final = 128 * 1024
IMAGE_LIMIT_BYTES: Final = 3_932_160
"""5 MiB as base64: what Anthropic's API takes of one image, the least of the vendors."""

_HEAD_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Text:
    """A text, whole. `sent_bytes` is its size in a message."""

    text: str
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Image:
    """A picture, whole. `sent_bytes` is its size in a message."""

    media_type: str
    base64: str

    @property
    def sent_bytes(self) -> int:
        """Base64 stands in a message as it is."""
        return len(self.base64)


Contents = Text | Image


def read(file: int, size: int, room_bytes: int) -> Contents | None:
    """What an open file of this size holds, if that can be shown and takes no more than `room_bytes` in a message.

    A text is UTF-8 without NUL, of 1 to 128 KiB; a picture is PNG, JPEG, GIF or WebP, of at most 3.75 MiB. Where
    the file stands is neither used nor changed.
    """
    if not 0 < size <= min(IMAGE_LIMIT_BYTES, room_bytes):
        return None
    media_type = _image_type(os.pread(file, _HEAD_BYTES, 0))
    contents = _text(file, size) if media_type is None else _image(file, size, media_type)
    return None if contents is None or contents.sent_bytes > room_bytes else contents


def _text(file: int, size: int) -> Text | None:
    if size > TEXT_LIMIT_BYTES:
        return None
    whole = os.pread(file, size, 0)
    try:
        text = whole.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else Text(text, len(codec.dumps(text)))


def _image(file: int, size: int, media_type: str) -> Image:
    return Image(media_type, base64.b64encode(os.pread(file, size, 0)).decode())


def _image_type(head: bytes) -> str | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return None
