from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clawdforge.server.files.uploads import LAID_AT_ONCE, Uploads
from clawdforge.server.sessions import laying
from clawdforge.server.sessions.laying import Laying
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import UploadRow
from clawdforge.server.workspaces import paths
from clawdforge.server.workspaces.contents import Image, Text
from clawdforge.wire.problems import Problem

PICTURE = b"\x89PNG\r\n\x1a\n".ljust(3_000_000, b"\0")  # 4 MB in a message


@pytest.fixture
async def uploads(tmp_path: Path) -> AsyncIterator[Uploads]:
    store = await SqliteStore.open(tmp_path / "clawdforge.db", durability="process", linger_s=0.001)
    yield await Uploads.open(store, tmp_path, 10_000_000)
    await store.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return paths.make_workspace(tmp_path, "sess_1")


async def upload(uploads: Uploads, content: bytes, name: str = "a") -> UploadRow:
    async with uploads.receive("app_1") as receiving:
        await receiving.write(content)
        return await receiving.finish(await receiving.complete(), name, 600)


async def test_files_are_laid_in_their_order_with_what_can_be_shown(uploads: Uploads, workspace: Path) -> None:
    rows = [await upload(uploads, content, "a.txt") for content in (b"text", PICTURE, b"\0")]
    laid = await Laying(uploads, rows, workspace, "prompt").run()
    assert [each.path.name for each in laid] == ["a.txt", "a (2).txt", "a (3).txt"]
    assert [each.size for each in laid] == [4, 3_000_000, 1]
    assert [type(each.contents) for each in laid] == [Text, Image, type(None)]


async def test_only_so_much_is_shown_with_one_prompt(uploads: Uploads, workspace: Path) -> None:
    picture, text = await upload(uploads, PICTURE), await upload(uploads, b"text")
    laid = await Laying(uploads, [picture] * 5 + [text], workspace, "").run()
    assert [type(each.contents) for each in laid] == [Image, Image, Image, type(None), type(None), Text]
    shown = [each.contents.sent_bytes for each in laid if each.contents is not None]
    assert sum(shown) <= laying.SHOWN_LIMIT_BYTES
    long = "€" * (laying.SHOWN_LIMIT_BYTES // 3)
    laid = await Laying(uploads, [picture, text], workspace, long).run()
    assert [each.contents for each in laid] == [None, None]


async def test_one_file_that_is_gone_leaves_none(uploads: Uploads, workspace: Path) -> None:
    first, gone = await upload(uploads, b"first"), await upload(uploads, b"gone")
    await uploads.remove("app_1", gone.token)
    with pytest.raises(Problem, match="file not found"):
        await Laying(uploads, [first, gone], workspace, "").run()
    assert os.listdir(workspace) == []


async def test_when_nobody_waits_any_more_none_is_left_and_the_next_has_its_turn(
    uploads: Uploads, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await upload(uploads, b"content")
    entered, go_on = threading.Semaphore(0), threading.Event()
    real = os.copy_file_range

    def slow(source: int, target: int, size: int) -> int:
        entered.release()
        assert go_on.wait(20)
        return real(source, target, size)

    monkeypatch.setattr(os, "copy_file_range", slow)
    running = [asyncio.ensure_future(Laying(uploads, [row, row], workspace, "").run()) for _ in range(5)]
    for _ in range(LAID_AT_ONCE):
        assert await asyncio.to_thread(entered.acquire, timeout=20)
    assert not entered.acquire(blocking=False), "more are laid at once than may be"
    for task in running[1:]:
        task.cancel()
    go_on.set()
    ends = await asyncio.gather(*running, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ends] == [False, True, True, True, True]
    assert not isinstance(ends[0], BaseException)
    assert sorted(workspace.iterdir()) == sorted(each.path for each in ends[0])
    assert await Laying(uploads, [row], workspace, "").run()
