"""Looks at workspaces, in their order: before a turn, after it, and before whatever else is done."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clawdforge.server.sessions.changes import AT_ONCE, Lane, SessionChanges, TurnChanges
from clawdforge.server.settings import Settings
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import SessionRow, TurnRow
from clawdforge.server.store.writes import AddSession, BeginTurn, EndTurn, StartTurn
from clawdforge.server.workspaces import paths
from clawdforge.server.workspaces.snapshots import Snapshots
from clawdforge.wire.problems import Problem

MIB = 1024 * 1024
DEADLINE_S = 10


class Gated(Snapshots):
    """Looks that wait until they may, and say which they were."""

    def __init__(self, place: Path, root: Path) -> None:
        super().__init__(place, root, MIB)
        self.may = threading.Event()
        self.may.set()
        self.taken: list[str] = []

    def begin(self, turn_index: int) -> None:
        assert self.may.wait(DEADLINE_S)
        super().begin(turn_index)
        self.taken.append(f"begin {turn_index}")

    def end(self, turn_index: int, *, late: bool = False) -> None:
        assert self.may.wait(DEADLINE_S)
        super().end(turn_index, late=late)
        self.taken.append(f"end {turn_index}")

    def over(self, turn_index: int) -> None:
        super().over(turn_index)
        self.taken.append(f"over {turn_index}")


def row_of(data_dir: Path, kind: str = "session", session_id: str = "sess_1") -> SessionRow:
    cwd = str(paths.workspace_of(data_dir, session_id))
    assert kind in {"session", "run"}
    return SessionRow(session_id, "app", "app", "run" if kind == "run" else "session", "fake", cwd, {}, {}, 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return paths.make_workspace(tmp_path, "sess_1")


@pytest.fixture
def snapshots(tmp_path: Path, root: Path) -> Gated:
    return Gated(paths.snapshots_of(tmp_path, "sess_1"), root)


@pytest.fixture
async def changes(tmp_path: Path, snapshots: Gated) -> AsyncIterator[SessionChanges]:
    async def none_before(_: int | None) -> int:
        return 0

    with ThreadPoolExecutor(4) as threads:
        changes = SessionChanges("sess_1", snapshots, Lane(threads), none_before)
        yield changes
        snapshots.may.set()
        await changes.settled()


async def begun(changes: SessionChanges, turn_index: int) -> None:
    if (look := changes.begin(turn_index)) is not None:
        await look


async def test_an_unchanged_workspace_is_glanced_at(changes: SessionChanges, snapshots: Gated) -> None:
    for index in (1, 2, 3):
        await begun(changes, index)
        changes.end()
    assert changes.begin(4) is None
    changes.end()
    await changes.settled()
    assert snapshots.taken == ["begin 1"]
    await changes.noted()
    assert snapshots.taken == ["begin 1", "over 4"]


async def test_what_is_noted_late_is_not_noted_of_an_earlier_turn(
    changes: SessionChanges, snapshots: Gated, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawdforge.server.sessions.changes.NOTED_S", 0.01)
    await begun(changes, 1)
    changes.end()
    await changes.settled()
    (root / "between").write_text("turns")
    await begun(changes, 2)
    (root / "file").write_text("text")
    changes.end()
    await changes.noted()
    async with asyncio.timeout(DEADLINE_S):
        while (root.parents[1] / "snapshots/sess_1/turns").read_text().split()[0] != "2":
            await asyncio.sleep(0.001)
    assert snapshots.taken == ["begin 1", "begin 2", "end 2"]


async def test_the_look_after_a_turn_comes_before_the_next_one_s(
    changes: SessionChanges, snapshots: Gated, root: Path
) -> None:
    await begun(changes, 1)
    (root / "file").write_text("one")
    changes.end()
    snapshots.may.clear()
    look = changes.begin(2)
    assert look is not None
    assert snapshots.taken == ["begin 1"]
    snapshots.may.set()
    await look
    assert snapshots.taken == ["begin 1", "end 1", "begin 2"]


async def test_whoever_changes_something_next_waits_for_the_look(
    changes: SessionChanges, snapshots: Gated, root: Path
) -> None:
    await begun(changes, 1)
    (root / "file").write_text("one")
    changes.end()
    snapshots.may.clear()
    settled = asyncio.create_task(changes.settled())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not settled.done()
    snapshots.may.set()
    await settled
    (root / "other").write_text("by the app")
    files = (await changes.find(1))().files
    assert [each.path for each in files] == ["file"]


async def test_nobody_has_to_ask_for_the_look_after_a_turn(
    changes: SessionChanges, snapshots: Gated, root: Path
) -> None:
    await begun(changes, 1)
    (root / "file").write_text("text")
    changes.end()
    async with asyncio.timeout(DEADLINE_S):
        while "end 1" not in snapshots.taken:
            await asyncio.sleep(0.001)


async def test_a_turn_that_never_began_is_not_looked_at(changes: SessionChanges, snapshots: Gated) -> None:
    changes.end()
    await changes.settled()
    assert snapshots.taken == []


async def test_a_look_that_fails_is_logged_and_fails_nothing(
    changes: SessionChanges,
    snapshots: Gated,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: int) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "begin", broken)
        await begun(changes, 1)
    assert "a fault of ours" in caplog.text
    changes.end()
    await begun(changes, 2)
    assert snapshots.taken == ["end 1", "begin 2"]


async def test_of_a_session_there_is_one_as_long_as_anybody_needs_it(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    changes = TurnChanges(Settings(data_dir=tmp_path), store)
    row = row_of(tmp_path)
    held = changes.of(row)
    assert held is not None
    assert changes.of(row) is held
    assert changes.of(row_of(tmp_path, session_id="sess_2")) is not held
    assert changes.of(row_of(tmp_path, kind="run", session_id="run_1")) is None
    assert TurnChanges(Settings(data_dir=tmp_path, snapshot_bytes=0), store).of(row) is None
    await changes.close()
    await store.close()


async def test_an_app_whose_workspaces_take_long_to_look_at_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Gated] = []

    def gated(place: Path, root: Path, _: int) -> Gated:
        made.append(Gated(place, root))
        return made[-1]

    monkeypatch.setattr("clawdforge.server.sessions.changes.Snapshots", gated)
    store = await SqliteStore.open(tmp_path / "store.db")
    changes = TurnChanges(Settings(data_dir=tmp_path), store)

    def of(app_id: str, session_id: str) -> SessionChanges:
        paths.make_workspace(tmp_path, session_id)
        held = changes.of(dataclasses.replace(row_of(tmp_path, session_id=session_id), app_id=app_id))
        assert held is not None
        return held

    slow = [of("slow", f"sess_{number}") for number in range(AT_ONCE + 1)]
    other = of("other", "sess_other")
    for each in made[:-1]:
        each.may.clear()
    looks = [asyncio.ensure_future(begun(each, 1)) for each in slow]
    async with asyncio.timeout(DEADLINE_S):
        await begun(other, 1)
    assert not any(look.done() for look in looks)
    for each in made:
        each.may.set()
    await asyncio.gather(*looks)
    assert [each.taken for each in made] == [["begin 1"]] * len(made)
    await changes.close()
    await store.close()


async def test_closing_waits_for_looks_that_nobody_holds_any_more(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    changes = TurnChanges(Settings(data_dir=tmp_path), store)
    held = changes.of(row_of(tmp_path))
    assert held is not None
    await begun(held, 1)
    (root / "file").write_text("text")
    held.end()
    del held
    await changes.close()
    await store.close()
    assert (paths.snapshots_of(tmp_path, "sess_1") / "1").exists()


async def test_what_can_be_asked_for_is_what_has_begun(tmp_path: Path, root: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    changes = TurnChanges(Settings(data_dir=tmp_path), store)
    row = row_of(tmp_path)
    held = changes.of(row)
    assert held is not None

    async def refused(turn_index: int | None, turn_count: int) -> str:
        with pytest.raises(Problem) as raised:
            await changes.find(dataclasses.replace(row, turn_count=turn_count), turn_index)
        assert raised.value.code == "not_found"
        return raised.value.detail

    assert "no turn" in await refused(None, 0)
    await store.write(AddSession(row), StartTurn(TurnRow("sess_1", 1, "queued", 1000)))
    assert "not begun" in await refused(1, 1)
    assert "not begun" in await refused(None, 1)
    assert await refused(2, 1) == "turn not found"
    await store.write(BeginTurn("sess_1", 1, 1000))
    await begun(held, 1)
    (root / "file").write_text("text")
    running = (await changes.find(dataclasses.replace(row, turn_count=1), None))()
    assert (running.turn_index, running.running, [each.path for each in running.files]) == (1, True, ["file"])
    held.end()
    await store.write(EndTurn(TurnRow("sess_1", 1, "done", 1000, "end_turn", True, 1)))
    over = (await changes.find(dataclasses.replace(row, turn_count=1), 1))()
    assert (over.running, over.late, [each.path for each in over.files]) == (False, False, ["file"])
    await changes.close()
    await store.close()
