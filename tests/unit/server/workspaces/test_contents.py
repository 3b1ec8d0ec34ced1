from __future__ import annotations

import base64
from pathlib import Path

import pytest

from clawdforge.server.workspaces import contents
from clawdforge.server.workspaces.contents import Contents, Image, Text
from clawdforge.wire import codec

ROOM_BYTES = 12 * 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def read(path: Path, content: bytes, room_bytes: int = ROOM_BYTES) -> Contents | None:
    path.write_bytes(content)
    with path.open("rb") as file:
        file.seek(0, 2)
        return contents.read(file.fileno(), len(content), room_bytes)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"GIF87a\x01\0", "image/gif"),
        (b"GIF89a\x01\0", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_a_picture_is_known_by_its_bytes(tmp_path: Path, content: bytes, media_type: str) -> None:
    shown = read(tmp_path / "called.txt", content)
    assert isinstance(shown, Image)
    assert (shown.media_type, base64.b64decode(shown.base64)) == (media_type, content)
    assert shown.sent_bytes == len(shown.base64)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"half a character \xe2\x82",
        b"with \0 in it",
        b"\xed\xa0\x80",
        b"\xff\xd8",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"<svg>\0</svg>",
    ],
)
def test_what_is_neither_is_not_shown(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path / "called.png", content) is None


@pytest.mark.parametrize("text", ["hi", "€ 𝄞\r\n\t", "\ufeffmark", "\x1b[31m", 'a "quoted" \\ word', "GIF8"])
def test_a_text_is_shown_as_it_is(tmp_path: Path, text: str) -> None:
    assert read(tmp_path / "called.png", text.encode()) == Text(text, len(codec.dumps(text)))


def test_the_largest_that_is_shown(tmp_path: Path) -> None:
    text = b"x" * contents.TEXT_LIMIT_BYTES
    assert isinstance(read(tmp_path / "a", text), Text)
    assert read(tmp_path / "a", text + b"x") is None
    image = PNG.ljust(contents.IMAGE_LIMIT_BYTES, b"\0")
    shown = read(tmp_path / "a", image)
    assert shown is not None
    assert shown.sent_bytes == 5 * 1024 * 1024
    assert read(tmp_path / "a", image + b"\0") is None


@pytest.mark.parametrize("content", [b"\x01" * 1000, PNG * 100])
def test_the_room_in_the_message_counts_and_not_the_size_of_the_file(tmp_path: Path, content: bytes) -> None:
    shown = read(tmp_path / "a", content)
    assert shown is not None
    assert shown.sent_bytes > len(content)
    assert read(tmp_path / "a", content, shown.sent_bytes) == shown
    assert read(tmp_path / "a", content, shown.sent_bytes - 1) is None
    assert read(tmp_path / "a", content, -5) is None
