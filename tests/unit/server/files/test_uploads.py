from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clawdforge.server.files.uploads import Uploads
from clawdforge.server.store.base import Store
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import UploadRow
from clawdforge.server.workspaces import paths
from clawdforge.server.workspaces.contents import Text
from clawdforge.wire.problems import Problem

LIMIT_BYTES = 10_000_000
TTL_S = 600


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(tmp_path / "clawdforge.db", durability="process", linger_s=0.001)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def uploads(store: Store, tmp_path: Path, clock: Clock) -> Uploads:
    return await Uploads.open(store, tmp_path, LIMIT_BYTES, clock=clock)


async def upload(
    uploads: Uploads, content: bytes = b"content", name: str | None = "a.txt", app: str = "app_1"
) -> UploadRow:
    async with uploads.receive(app) as receiving:
        for start in range(0, len(content), 100_000):
            await receiving.write(content[start : start + 100_000])
        return await receiving.finish(await receiving.complete(), name, TTL_S)


def lay(uploads: Uploads, row: UploadRow, workspace: Path) -> Path:
    path, _ = uploads.lay(row, workspace, 0, lambda: None)
    return path


def files_below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@contextmanager
def no_file_larger_than(limit_bytes: int) -> Iterator[None]:
    """What a full disk does to a write, done by the kernel."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_an_upload_lies_under_its_hash_and_is_found_by_its_token(
    uploads: Uploads, store: Store, tmp_path: Path
) -> None:
    content = os.urandom(3_333_333)
    row = await upload(uploads, content, "../dir/ré\r\nport.pdf")
    sha256 = hashlib.sha256(content).hexdigest()
    assert row == UploadRow(row.token, "app_1", "réport.pdf", len(content), sha256, 1000, 1600)
    assert row.token.startswith("ff_")
    assert len(row.token) == 3 + 32
    blob = tmp_path / "blobs" / sha256[:2] / sha256
    assert blob.read_bytes() == content
    assert files_below(tmp_path / "blobs") == [f"{sha256[:2]}/{sha256}"]
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (blob, blob.parent, blob.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]
    assert await uploads.resolve("app_1", [row.token]) == [row]
    assert await store.upload(row.token) == row


async def test_an_empty_upload_without_a_name(uploads: Uploads) -> None:
    row = await upload(uploads, b"", None)
    assert (row.size, row.name, row.sha256) == (0, "file", hashlib.sha256(b"").hexdigest())


async def test_foreign_expired_and_unknown_tokens_are_all_the_same(uploads: Uploads, clock: Clock) -> None:
    mine, foreign = await upload(uploads), await upload(uploads, app="app_2")
    answers = []
    for token in (foreign.token, "ff_unknown", "", "x" * 1_000_000, mine.token):
        clock.now = 1600.0 if token == mine.token else 1599.9
        with pytest.raises(Problem) as caught:
            await uploads.resolve("app_1", [token])
        answers.append((caught.value.code, caught.value.detail, caught.value.extra))
    assert answers == [("not_found", "file not found", {})] * 5


async def test_all_tokens_must_be_good(uploads: Uploads) -> None:
    first, second = await upload(uploads, b"1"), await upload(uploads, b"2")
    assert await uploads.resolve("app_1", [second.token, first.token]) == [second, first]
    with pytest.raises(Problem, match="file not found"):
        await uploads.resolve("app_1", [first.token, "ff_other"])


async def test_equal_bytes_lie_there_once_and_stay_until_nobody_names_them(
    uploads: Uploads, tmp_path: Path, clock: Clock
) -> None:
    first = await upload(uploads)
    clock.now = 1100.0
    second = await upload(uploads, app="app_2")
    assert (first.sha256, len(files_below(tmp_path / "blobs"))) == (second.sha256, 1)
    assert await uploads.sweep(1599) == 0
    assert await uploads.sweep(1600) == 1
    assert len(files_below(tmp_path / "blobs")) == 1
    await uploads.remove("app_2", second.token)
    assert files_below(tmp_path / "blobs") == []
    with pytest.raises(Problem, match="file not found"):
        await uploads.resolve("app_2", [second.token])


async def test_another_app_cannot_remove_an_upload(uploads: Uploads) -> None:
    row = await upload(uploads)
    with pytest.raises(Problem, match="file not found"):
        await uploads.remove("app_2", row.token)
    assert await uploads.resolve("app_1", [row.token]) == [row]


async def test_uploads_and_sweeps_of_the_same_bytes_at_once(uploads: Uploads, tmp_path: Path) -> None:
    async def churn() -> None:
        for _ in range(10):
            row = await upload(uploads)
            assert (tmp_path / "blobs" / row.sha256[:2] / row.sha256).read_bytes() == b"content"
            await uploads.remove("app_1", row.token)

    await asyncio.gather(*(churn() for _ in range(6)))
    assert files_below(tmp_path / "blobs") == []


async def test_one_byte_too_many_is_refused_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    uploads = await Uploads.open(store, tmp_path, 2_000_000)
    await upload(uploads, b"x" * 2_000_000)
    with pytest.raises(Problem) as caught:
        await upload(uploads, b"y" * 2_000_001)
    assert (caught.value.code, caught.value.extra) == ("too_large", {"limit_bytes": 2_000_000})
    assert len(files_below(tmp_path / "blobs")) == 1


async def test_an_upload_that_breaks_off_leaves_nothing(uploads: Uploads, tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        async with uploads.receive("app_1") as receiving:
            await receiving.write(b"x" * 2_000_000)
            assert len(files_below(tmp_path / "blobs" / "tmp")) == 1
            raise ConnectionResetError
    assert files_below(tmp_path / "blobs") == []
    await receiving.abort()


async def test_an_upload_cancelled_while_the_disk_works_leaves_nothing(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    real_write = os.write

    def slow_write(fd: int, data: memoryview) -> int:
        writing.set()
        assert go_on.wait(20)
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", slow_write)
    task = asyncio.ensure_future(upload(uploads, b"x" * 5_000_000))
    assert await asyncio.to_thread(writing.wait, 20)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_below(tmp_path / "blobs") == []


async def test_a_full_disk_is_told_and_leaves_nothing(uploads: Uploads, tmp_path: Path) -> None:
    with no_file_larger_than(1_500_000), pytest.raises(Problem) as caught:
        await upload(uploads, b"x" * 4_000_000)
    assert caught.value.code == "storage_full"
    assert files_below(tmp_path / "blobs") == []
    await upload(uploads, b"x" * 4_000_000)


async def test_a_row_that_cannot_be_stored_leaves_no_bytes(uploads: Uploads, store: Store, tmp_path: Path) -> None:
    await upload(uploads, b"first")
    random = uploads._random
    uploads._random = lambda count: b"\0" * count
    await upload(uploads, b"second")
    with pytest.raises(Exception, match="UNIQUE"):
        await upload(uploads, b"third")
    uploads._random = random
    assert len(files_below(tmp_path / "blobs")) == 2


async def test_what_a_crash_left_is_removed_at_the_start(uploads: Uploads, store: Store, tmp_path: Path) -> None:
    kept = await upload(uploads)
    orphan = tmp_path / "blobs" / "ab" / ("ab" * 32)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"named by nobody")
    (tmp_path / "blobs" / "tmp" / "unfinished").write_bytes(b"half")
    again = await Uploads.open(store, tmp_path, LIMIT_BYTES)
    assert files_below(tmp_path / "blobs") == [f"{kept.sha256[:2]}/{kept.sha256}"]
    row = await upload(again)
    assert row.sha256 == kept.sha256


async def test_an_upload_is_laid_into_a_workspace_under_its_own_name(uploads: Uploads, tmp_path: Path) -> None:
    workspace = paths.make_workspace(tmp_path, "sess_1")
    row = await upload(uploads)
    laid = [await asyncio.to_thread(lay, uploads, row, workspace) for _ in range(2)]
    assert [path.name for path in laid] == ["a.txt", "a (2).txt"]
    assert [path.read_bytes() for path in laid] == [b"content"] * 2


async def test_an_upload_that_expired_before_it_was_laid(uploads: Uploads, tmp_path: Path) -> None:
    workspace = paths.make_workspace(tmp_path, "sess_1")
    row = await upload(uploads)
    await uploads.sweep(10_000)
    with pytest.raises(Problem, match="file not found"):
        lay(uploads, row, workspace)
    assert os.listdir(workspace) == []


async def test_an_upload_that_is_removed_while_it_is_laid_is_laid_whole(uploads: Uploads, tmp_path: Path) -> None:
    workspace = paths.make_workspace(tmp_path, "sess_1")
    row = await upload(uploads, b"picture", "a.txt")
    loop = asyncio.get_running_loop()

    def remove_now() -> None:
        if files_below(tmp_path / "blobs"):
            asyncio.run_coroutine_threadsafe(uploads.remove("app_1", row.token), loop).result(20)

    path, shown = await asyncio.to_thread(uploads.lay, row, workspace, 100, remove_now)
    assert (path.read_bytes(), shown) == (b"picture", Text("picture", 9))
    assert files_below(tmp_path / "blobs") == []
    with pytest.raises(Problem, match="file not found"):
        lay(uploads, row, workspace)


async def test_an_upload_is_removed_once(uploads: Uploads) -> None:
    row = await upload(uploads)
    answers = await asyncio.gather(*(uploads.remove("app_1", row.token) for _ in range(5)), return_exceptions=True)
    assert all(each is None or isinstance(each, Problem) for each in answers)
    with pytest.raises(Problem, match="file not found"):
        await uploads.remove("app_1", row.token)


async def test_a_workspace_that_is_gone_is_no_missing_file(uploads: Uploads, tmp_path: Path) -> None:
    row = await upload(uploads)
    with pytest.raises(FileNotFoundError):
        lay(uploads, row, tmp_path / "gone")


async def test_a_workspace_without_room_is_told(uploads: Uploads, tmp_path: Path) -> None:
    workspace = paths.make_workspace(tmp_path, "sess_1")
    row = await upload(uploads, b"x" * 2_000_000)
    with no_file_larger_than(1_000_000), pytest.raises(Problem) as caught:
        lay(uploads, row, workspace)
    assert caught.value.code == "storage_full"
    assert os.listdir(workspace) == []
