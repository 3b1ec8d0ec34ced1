"""What every store promises, asked of each kind of store: add a `Place` to `PLACES` and it is asked the same."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawdforge.server.store.base import NameTaken, StorageError, Store
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import AppRow, AuditRow, RunRow, SessionRow, TurnRow, UploadRow
from clawdforge.server.store.writes import (
    AddApp,
    AddAudit,
    AddSession,
    AddUpload,
    AppendEvents,
    Change,
    CloseSession,
    EndTurn,
    NoteAgentSession,
    RemoveSession,
    RemoveUpload,
    RevokeApp,
    StartTurn,
    TouchApp,
)
from clawdforge.wire import codec
from clawdforge.wire.events import Event
from clawdforge.wire.usage import UsageReport, UsageSum

FAR_OFF_S = 3600.0


class Place(Protocol):
    """Where a store keeps its rows: what one store wrote, the next one that is opened here reads."""

    address: str

    async def open(self, *, linger_s: float = 0.025) -> Store: ...


class SqlitePlace:
    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "clawdforge.db")

    async def open(self, *, linger_s: float = 0.025) -> Store:
        return await SqliteStore.open(Path(self.address), durability="process", linger_s=linger_s)


PLACES: dict[str, Callable[[Path], Place]] = {"sqlite": SqlitePlace}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[request.param](tmp_path)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    opened = await place.open()
    yield opened
    await opened.close()


def app_row(app_id: str, name: str) -> AppRow:
    return AppRow(app_id, name, app_id.encode().ljust(32, b"\0"), ("10.0.0.0/8", "::1/128"), created_at=1000)


def session_row(session_id: str = "s", **fields: Any) -> SessionRow:
    row = SessionRow(session_id, "a", "app", "session", "claude", "/w/s", {}, {}, created_at=1000)
    return replace(row, **fields)


def turn_row(session_id: str = "s", turn_index: int = 1) -> TurnRow:
    return TurnRow(session_id, turn_index, "running", started_at_ms=5_000_999)


def event(seq: int, turn_index: int | None = 1, **data: Any) -> Event:
    return Event(seq, "text", turn_index, 1_700_000_000_000 + seq, data or {"content": f"part {seq}"})


def append(first: int, count: int = 1, session_id: str = "s") -> AppendEvents:
    return AppendEvents(session_id, [event(seq) for seq in range(first, first + count)])


def upload_row(token: str, **fields: Any) -> UploadRow:
    return replace(UploadRow(token, "a", "a.txt", 3, "00" * 32, created_at=1000, expires_at=2000), **fields)


def audit_row(turn_index: int, app_id: str = "a", **fields: Any) -> AuditRow:
    row = AuditRow(
        9, app_id, "app", "run", "s", turn_index, "claude", None, 12, "end_turn", True, 3, 4, 0,
        100, 20, 10, 5, 2, 135, cost_usd=0.5, estimated=False, prompt=None,
    )  # fmt: skip
    return replace(row, **fields)


# --- apps ---------------------------------------------------------------------------------------------------


async def test_apps_come_back_as_they_went_in_oldest_first(store: Store) -> None:
    rows = [app_row("app_b", "Zoë's"), app_row("app_a", "other")]
    for row in rows:
        await store.write(AddApp(row))
    await store.write(TouchApp("app_a", 1234))
    assert await store.apps() == [rows[0], replace(rows[1], last_used_at=1234)]


async def test_a_name_is_taken_until_its_app_is_revoked(store: Store) -> None:
    await store.write(AddApp(app_row("app_1", "same")))
    with pytest.raises(NameTaken):
        await store.write(AddApp(app_row("app_2", "same")))
    await store.write(RevokeApp("app_1", 5))
    await store.write(AddApp(app_row("app_2", "same")))
    await store.write(RevokeApp("app_1", 6))
    assert [(row.app_id, row.revoked_at) for row in await store.apps()] == [("app_1", 5), ("app_2", None)]


async def test_a_token_hash_belongs_to_one_app(store: Store) -> None:
    await store.write(AddApp(app_row("app_1", "one")))
    with pytest.raises(StorageError) as caught:
        await store.write(AddApp(replace(app_row("app_2", "two"), token_sha256=app_row("app_1", "").token_sha256)))
    assert not isinstance(caught.value, NameTaken)


# --- sessions -----------------------------------------------------------------------------------------------


async def test_a_session_comes_back_as_it_went_in(store: Store) -> None:
    row = session_row(options={"model": "m", "n": [1, None, {"é": "𝄞"}]}, meta={"who": "Zoë", "big": 10**30})
    await store.write(AddSession(row))
    assert await store.session("s") == row
    assert await store.session("other") is None


async def test_sessions_of_an_app_newest_first(store: Store) -> None:
    old, new, closed = (
        session_row("old"),
        session_row("new", created_at=2000),
        session_row("closed", created_at=1500),
    )
    for row in (new, old, closed, session_row("foreign", app_id="b"), session_row("run", kind="run")):
        await store.write(AddSession(row))
    await store.write(CloseSession("closed", 1700, "closed by the app"))
    closed = replace(closed, closed_at=1700, close_reason="closed by the app")
    assert await store.sessions("a") == [new, closed, old]
    assert await store.sessions("a", include_closed=False) == [new, old]
    assert [row.session_id for row in await store.sessions("a", kind="run")] == ["run"]
    assert await store.sessions("a", limit=1) == [new]
    assert await store.sessions("nobody") == []


async def test_paging_neither_loses_nor_repeats_sessions_of_one_second(store: Store) -> None:
    ids = [f"s{number:02}" for number in range(20)]
    for number, session_id in enumerate(ids):
        await store.write(AddSession(session_row(session_id, created_at=1000 + number // 9)))
    seen: list[str] = []
    before: tuple[int, str] | None = None
    for _ in range(len(ids)):
        page = await store.sessions("a", limit=3, before=before)
        if not page:
            break
        seen += [row.session_id for row in page]
        before = (page[-1].created_at, page[-1].session_id)
        await store.write(AddSession(session_row(f"later{len(seen)}", created_at=2000)))
    assert seen == ids[::-1]


async def test_paging_goes_on_after_the_last_row_of_a_page_was_removed(store: Store) -> None:
    for session_id in ("s1", "s2", "s3"):
        await store.write(AddSession(session_row(session_id)))
    await store.write(RemoveSession("s2"))
    assert "s1" in [row.session_id for row in await store.sessions("a", before=(1000, "s2"))]


async def test_open_and_closed_sessions_of_all_apps(store: Store) -> None:
    for session_id in ("s1", "s2", "s3"):
        await store.write(AddSession(session_row(session_id, app_id=session_id)))
    await store.write(AddSession(session_row("run", kind="run")))
    await store.write(CloseSession("s3", 10, "idle"), CloseSession("s2", 20, "idle"))
    await store.write(CloseSession("s2", 99, "again"))
    assert [row.session_id for row in await store.open_sessions()] == ["s1", "run"]
    assert [row.session_id for row in await store.closed_before(21, 10)] == ["s3", "s2"]
    assert [row.session_id for row in await store.closed_before(20, 10)] == ["s3"]
    assert [row.session_id for row in await store.closed_before(99, 1)] == ["s3"]


async def test_what_the_agent_calls_its_conversation_is_noted_and_forgotten(store: Store) -> None:
    row = replace(session_row(), agent_session_id="a1")
    await store.write(AddSession(row))
    assert await store.session("s") == row
    for noted in ("née/../*\n' --", "x" * 100_000, None):
        await store.write(NoteAgentSession("s", noted))
        assert await store.session("s") == replace(row, agent_session_id=noted)
    await store.write(NoteAgentSession("nobody", "a2"))
    assert await store.session("nobody") is None
    with pytest.raises(StorageError):
        await store.write(NoteAgentSession("s", "half \ud800"))


async def test_a_session_id_is_given_once(store: Store) -> None:
    await store.write(AddSession(session_row()))
    with pytest.raises(StorageError):
        await store.write(AddSession(session_row(app_id="b")))


async def test_a_removed_session_is_gone_with_its_turns_and_events_but_not_its_audit(store: Store) -> None:
    await store.write(AddSession(session_row()), StartTurn(turn_row()), append(1, 5000), AddAudit(audit_row(1)))
    await store.write(RemoveSession("s"))
    assert await store.session("s") is None
    assert await store.turn("s", 1) is None
    assert await store.unfinished_turns() == []
    assert (await store.events("s"), await store.last_seq("s")) == ([], 0)
    assert await store.audit() == [audit_row(1)]
    await store.write(RemoveSession("s"))
    # One that is made under the same id has nothing of it.
    await store.write(AddSession(session_row()), append(1))
    assert await store.events("s") == [event(1)]


# --- turns --------------------------------------------------------------------------------------------------


async def test_a_turn_from_start_to_end(store: Store) -> None:
    await store.write(AddSession(session_row()))
    await store.write(StartTurn(turn_row()))
    assert await store.unfinished_turns() == await store.unfinished_turns("s") == [turn_row()]
    assert await store.unfinished_turns("another") == []
    session = await store.session("s")
    assert session is not None
    assert (session.turn_count, session.last_turn_at) == (1, 5000)
    ended = replace(
        turn_row(), status="failed", stop_reason="timeout", ok=False, duration_ms=7, error="timeout",
        detail="Nothing came.", usage={"tokens": 1},
    )  # fmt: skip
    await store.write(EndTurn(ended))
    assert await store.turn("s", 1) == ended
    assert await store.unfinished_turns() == []
    assert await store.turn("s", 2) is None


@pytest.mark.parametrize(
    "change",
    [StartTurn(turn_row(turn_index=1)), StartTurn(turn_row(turn_index=3)), StartTurn(turn_row("other"))],
    ids=["again", "with a gap", "of no session"],
)
async def test_turns_are_counted_without_a_gap(store: Store, change: Change) -> None:
    await store.write(AddSession(session_row()), StartTurn(turn_row()))
    with pytest.raises(StorageError):
        await store.write(change)


async def test_a_turn_ends_once(store: Store) -> None:
    done = replace(turn_row(), status="done", stop_reason="end_turn", ok=True, duration_ms=1)
    await store.write(AddSession(session_row()))
    with pytest.raises(StorageError):
        await store.write(EndTurn(done))
    await store.write(StartTurn(turn_row()), EndTurn(done))
    with pytest.raises(StorageError):
        await store.write(EndTurn(replace(done, stop_reason="interrupted")))
    assert await store.turn("s", 1) == done


async def test_a_closed_session_starts_no_turn(store: Store) -> None:
    await store.write(AddSession(session_row()), CloseSession("s", 5, "closed"))
    with pytest.raises(StorageError):
        await store.write(StartTurn(turn_row()))


# --- events -------------------------------------------------------------------------------------------------


async def test_events_come_back_in_order_and_in_part(store: Store) -> None:
    events = [
        event(seq, turn_index=None if seq == 1 else seq // 4, content="é\n\u2028𝄞" * seq) for seq in range(1, 10)
    ]
    await store.write(AddSession(session_row()), AppendEvents("s", events[:4]))
    await store.write(AppendEvents("s", events[4:]), AppendEvents("s", []))
    assert await store.events("s") == events
    assert await store.events("s", after=3, limit=2) == events[3:5]
    assert await store.events("s", turn_index=1) == events[3:7]
    assert await store.events("s", after=10**6) == []
    assert await store.last_seq("s") == 9
    assert await store.last_seq("other") == 0


async def test_the_events_of_one_turn_are_found_among_those_of_others(store: Store) -> None:
    """One begins while another waits; one ends before it begins; one has not ended."""
    log = [
        ("turn_start", 1), ("turn_queued", 2), ("text", 1), ("commands", None), ("turn_queued", 3),
        ("turn_end", 3), ("text", 1), ("turn_end", 1), ("mode", None), ("turn_start", 2), ("text", 2),
    ]  # fmt: skip
    events = [Event(seq, type_, turn, 1, {"content": "x"}) for seq, (type_, turn) in enumerate(log, start=1)]
    others = [Event(seq, type_, 2, 1, {"content": "y"}) for seq, (type_, _) in enumerate(log, start=1)]
    await store.write(AddSession(session_row()), AddSession(session_row("other")))
    await store.write(AppendEvents("s", events), AppendEvents("other", others))
    for turn in (1, 2, 3, 4):
        of_turn = [event for event in events if event.turn_index == turn]
        assert await store.events("s", turn_index=turn) == of_turn
        for after in (0, 2, 5, 9, 10, 11):
            rest = [event.seq for event in of_turn if event.seq > after]
            found = await store.encoded_events("s", after=after, turn_index=turn, limit=100, limit_bytes=10**6)
            assert [event.seq for event in found] == rest


async def test_what_became_of_a_permission_request_is_found_by_its_id(store: Store) -> None:
    def told(seq: int, type_: str, **data: Any) -> Event:
        return Event(seq, type_, 1, 1, {"permission_id": "perm_a", **data})

    first, other = told(2, "permission_answer", by="expiry"), told(3, "permission_answer", permission_id="perm_b")
    await store.write(AddSession(session_row()), AddSession(session_row("other")))
    await store.write(AppendEvents("s", [told(1, "permission_request"), first, other]))
    assert await store.permission_answer("s", "perm_a") == first
    assert await store.permission_answer("s", "perm_b") == other
    assert await store.permission_answer("s", "perm_c' OR '1'='1") is None
    assert await store.permission_answer("other", "perm_a") is None
    assert await store.permission_answer("nobody", "perm_a") is None


async def test_encoded_events_are_the_same_bounded_in_number_and_bytes(store: Store) -> None:
    events = [event(seq, content="é" * 50) for seq in range(1, 10)]
    await store.write(AddSession(session_row()), AppendEvents("s", events))
    encoded = [each.encoded() for each in events]
    size = len(encoded[0].data)
    assert await store.encoded_events("s", limit=100, limit_bytes=10**6) == encoded
    assert await store.encoded_events("s", after=3, limit=2, limit_bytes=10**6) == encoded[3:5]
    assert await store.encoded_events("s", after=3, limit=9, limit_bytes=2 * size + 1) == encoded[3:6]
    assert await store.encoded_events("s", limit=9, limit_bytes=1) == encoded[:1]
    assert await store.encoded_events("s", after=10**18 - 1, limit=9, limit_bytes=10**6) == []
    assert await store.encoded_events("other", limit=9, limit_bytes=10**6) == []


async def test_whoever_watches_hears_what_was_stored_in_order_and_nothing_else(store: Store) -> None:
    heard: list[AppendEvents] = []
    store.watch(heard.extend)
    await store.write(AddSession(session_row("s")), AddSession(session_row("t")))
    stored = [append(1, 3), append(1, 1, "t"), append(4, 2), append(2, 1, "t")]
    refused = [append(9), append(1, 1, "nobody")]
    writes = [store.write(each) for each in (*stored[:2], refused[0], stored[2], refused[1], stored[3])]
    await asyncio.gather(*writes, return_exceptions=True)
    assert heard == stored


@pytest.mark.parametrize("seqs", [[2], [4], [3, 5], [4, 3], [3, 3], [0], [-1]])
async def test_a_seq_that_does_not_follow_is_refused(store: Store, seqs: list[int]) -> None:
    await store.write(AddSession(session_row()), append(1, 2))
    with pytest.raises(StorageError):
        await store.write(AppendEvents("s", [event(seq) for seq in seqs]))
    assert await store.last_seq("s") == 2


async def test_events_of_no_session_are_refused(store: Store) -> None:
    with pytest.raises(StorageError):
        await store.write(append(1))


async def test_an_event_of_ten_megabytes(store: Store) -> None:
    big = event(1, content="x" * 10_000_000)
    await store.write(AddSession(session_row()), AppendEvents("s", [big]))
    assert await store.events("s") == [big]


async def test_long_texts_are_encoded_as_short_ones_are(store: Store) -> None:
    every = "".join(map(chr, [*range(1, 0x3000), *range(0xE000, 0x10000), 0x1F600, 0x10FFFF]))
    short, long = ({"before": 1, "prompt": every * times, "files": [every]} for times in (1, 20))
    of_short, of_long = event(1, **short), event(2, **long)
    await store.write(AddSession(session_row()), AppendEvents("s", [of_short, of_long]))
    assert await store.events("s") == [of_short, of_long]
    assert [each.encoded().data for each in (of_short, of_long)] == [codec.text(short), codec.text(long)]


HALF = "\ud83d"


@pytest.mark.parametrize(
    "data",
    [
        {"content": "a\0b"}, {"a\0b": 1}, {"list": [{"deep": "\\\\\0"}]},
        {"content": HALF}, {HALF: 1}, {"number": float("nan")}, {"object": object()},
        {"long": "x" * 100_000 + "\0"}, {"long": "x" * 100_000 + HALF},
    ],
)  # fmt: skip
async def test_what_no_store_can_hold_is_refused(store: Store, data: dict[str, Any]) -> None:
    await store.write(AddSession(session_row()))
    with pytest.raises(StorageError):
        await store.write(AppendEvents("s", [event(1), event(2, **data)]))
    with pytest.raises(StorageError):
        await store.write(AddSession(session_row("t", meta=data)))
    assert await store.last_seq("s") == 0
    assert await store.session("t") is None


@pytest.mark.parametrize("name", ["a\0b", HALF])
async def test_text_that_no_store_can_hold_is_refused(store: Store, name: str) -> None:
    with pytest.raises(StorageError):
        await store.write(AddUpload(upload_row("ff_1", name=name)))


async def test_a_backslash_before_u0000_is_no_nul(store: Store) -> None:
    written = event(1, content="\\u0000 \\\\u0000", more="\\")
    await store.write(AddSession(session_row()), AppendEvents("s", [written]))
    assert await store.events("s") == [written]


# --- uploads and audit --------------------------------------------------------------------------------------


async def test_uploads(store: Store) -> None:
    first = upload_row("ff_1", name="naïve ☃.txt")
    second = upload_row("ff_2", expires_at=1500)
    await store.write(AddUpload(first), AddUpload(second))
    assert await store.upload("ff_1") == first
    assert await store.upload("ff_3") is None
    assert await store.uploads_expired(1499, 10) == []
    assert await store.uploads_expired(2000, 10) == [second, first]
    assert await store.uploads_expired(2000, 1) == [second]
    await store.write(RemoveUpload("ff_1"))
    assert await store.blob_in_use(first.sha256)
    await store.write(RemoveUpload("ff_2"), RemoveUpload("ff_2"))
    assert not await store.blob_in_use(first.sha256)


async def test_the_audit_newest_first(store: Store) -> None:
    for number in range(1, 4):
        await store.write(AddAudit(audit_row(number, app_id="b" if number == 2 else "a")))
    assert await store.audit() == [audit_row(3), audit_row(2, "b"), audit_row(1)]
    assert await store.audit("a") == [audit_row(3), audit_row(1)]
    assert await store.audit(limit=1) == [audit_row(3)]


# --- units --------------------------------------------------------------------------------------------------


async def test_a_unit_is_stored_whole_or_not_at_all(store: Store) -> None:
    await store.write(AddSession(session_row()))
    with pytest.raises(StorageError):
        await store.write(AddUpload(upload_row("ff_1")), StartTurn(turn_row()), append(1, 3), append(9))
    assert await store.upload("ff_1") is None
    assert await store.turn("s", 1) is None
    assert await store.last_seq("s") == 0


async def test_a_unit_that_fails_takes_no_other_with_it(store: Store) -> None:
    good = [store.write(AddSession(session_row(f"s{number}")), flush=number % 2 == 0) for number in range(50)]
    bad = [store.write(AddUpload(upload_row(f"ff_{number}")), append(1)) for number in range(3)]
    good += [store.write(AppendEvents(f"s{number}", [event(1)])) for number in range(50)]
    outcomes = await asyncio.gather(*bad, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageError] * 3
    await asyncio.gather(*good)
    assert len(await store.sessions("a")) == 50
    assert [await store.last_seq(f"s{number}") for number in range(50)] == [1] * 50
    assert not await store.blob_in_use(upload_row("").sha256)


async def test_units_are_stored_in_the_order_they_were_handed_in(store: Store) -> None:
    await store.write(AddSession(session_row()))
    finished: list[int] = []
    for number in range(1, 500):
        done = store.write(append(number), flush=number % 7 == 0)
        done.add_done_callback(partial(_note, finished, number))
    await store.write(append(500))
    assert finished == list(range(1, 500))
    assert [each.seq for each in await store.events("s")] == list(range(1, 501))


def _note(finished: list[int], number: int, _: asyncio.Future[None]) -> None:
    finished.append(number)


async def test_what_is_written_is_seen_by_every_reader_at_once(store: Store) -> None:
    await store.write(AddSession(session_row()))
    for number in range(1, 50):
        await store.write(append(number))
        assert await asyncio.gather(*(store.last_seq("s") for _ in range(5))) == [number] * 5


async def test_units_without_flush_wait_for_one_with(place: Place) -> None:
    store = await place.open(linger_s=FAR_OFF_S)
    waiting = [store.write(AddSession(session_row()), flush=False), store.write(append(1), flush=False)]
    for _ in range(100):  # time enough for a writer that would not wait
        assert await store.session("s") is None
    assert not any(done.done() for done in waiting)
    await store.write(append(2))
    assert all(done.done() for done in waiting)
    assert await store.last_seq("s") == 2
    await store.close()


async def test_a_unit_of_nothing_is_done_when_all_before_it_are(place: Place) -> None:
    store = await place.open(linger_s=FAR_OFF_S)
    waiting = store.write(AddSession(session_row()), flush=False)
    await store.write()
    assert waiting.done()
    await store.close()


async def test_units_without_flush_do_not_wait_for_ever(place: Place) -> None:
    store = await place.open(linger_s=0.001)
    for number in range(3):
        await store.write(AddSession(session_row(f"s{number}")), flush=False)
    assert len(await store.sessions("a")) == 3
    await store.close()


async def test_many_bytes_do_not_wait(place: Place) -> None:
    store = await place.open(linger_s=FAR_OFF_S)
    await store.write(AddSession(session_row()))
    parts = [AppendEvents("s", [event(seq, content="x" * 30_000)]) for seq in range(1, 10)]
    await asyncio.gather(*[store.write(part, flush=False) for part in parts])
    assert await store.last_seq("s") == 9
    await store.close()


async def test_a_cancelled_wait_leaves_the_unit_stored(store: Store) -> None:
    cancelled = store.write(AddSession(session_row()))
    cancelled.cancel()
    await store.write(append(1))
    assert await store.last_seq("s") == 1


async def test_close_writes_what_waits_and_then_refuses(place: Place) -> None:
    store = await place.open(linger_s=FAR_OFF_S)
    waiting = store.write(AddSession(session_row()), flush=False)
    await store.close()
    assert waiting.done()
    await store.close()
    with pytest.raises(StorageError):
        await store.write(append(1))
    with pytest.raises(StorageError):
        await store.session("s")
    again = await place.open()
    assert await again.session("s") == session_row()
    await again.close()


# --- crashes ------------------------------------------------------------------------------------------------

WRITE_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.store.writes import AddSession, AppendEvents
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.wire.events import Event
from clawdforge.wire.usage import UsageReport, UsageSum

async def main(address: str, session_id: str) -> None:
    store = await SqliteStore.open(Path(address), durability="process", linger_s=0.001)
    await store.write(AddSession(SessionRow(session_id, "a", "app", "session", "claude", "/w", {}, {}, 1)))
    def acknowledged(done, seq):
        if done.exception() is None:
            sys.stdout.write(f"{seq}\\n")
            sys.stdout.flush()
    for seq in range(1, 200_000):
        unit = AppendEvents(session_id, [Event(seq, "text", 1, 1, {"content": "x" * (seq % 900)})])
        done = store.write(unit, flush=seq % 3 == 0)
        done.add_done_callback(lambda done, seq=seq: acknowledged(done, seq))
        if seq % 20 == 0:
            await done

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


@pytest.mark.guarantee
async def test_nothing_that_was_acknowledged_is_lost_to_sigkill(place: Place) -> None:
    for kill in range(4):
        session_id = f"s{kill}"
        child = subprocess.Popen(
            [sys.executable, "-c", WRITE_UNTIL_KILLED, place.address, session_id],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        with child.stdout as lines:
            acknowledged = [int(next(lines)) for _ in range(30 + 170 * kill)]
            child.kill()
            acknowledged += [int(line) for line in lines if line.endswith("\n")]
        child.wait()
        store = await place.open()
        stored = [each.seq for each in await store.events(session_id)]
        assert stored == list(range(1, len(stored) + 1))
        assert len(stored) >= acknowledged[-1]
        await store.close()


# --- against a model ----------------------------------------------------------------------------------------


class Model:
    """The same promises, kept by dicts."""

    def __init__(self) -> None:
        self.apps: dict[str, AppRow] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.turns: dict[tuple[str, int], TurnRow] = {}
        self.events: dict[str, list[Event]] = {}
        self.uploads: dict[str, UploadRow] = {}

    def write(self, changes: list[Change]) -> bool:
        """Whether the unit is stored; if not, nothing is changed."""
        tables: list[dict[Any, Any]] = [self.apps, self.sessions, self.turns, self.events, self.uploads]
        before = [dict(table) for table in tables]
        if all(self._apply(change) for change in changes):
            return True
        for table, rows in zip(tables, before, strict=True):
            table.clear()
            table.update(rows)
        return False

    def _apply(self, change: Change) -> bool:
        match change:
            case AddApp(row):
                taken = any(app.name == row.name and app.revoked_at is None for app in self.apps.values())
                return not taken and _add(self.apps, row.app_id, row)
            case RevokeApp(app_id, at):
                app = self.apps.get(app_id)
                if app is not None and app.revoked_at is None:
                    self.apps[app_id] = replace(app, revoked_at=at)
            case AddSession(row):
                return _add(self.sessions, row.session_id, row)
            case CloseSession(session_id, at, reason):
                session = self.sessions.get(session_id)
                if session is not None and session.closed_at is None:
                    self.sessions[session_id] = replace(session, closed_at=at, close_reason=reason)
            case RemoveSession(session_id):
                self.sessions.pop(session_id, None)
                self.events.pop(session_id, None)
                for key in [key for key in self.turns if key[0] == session_id]:
                    del self.turns[key]
            case StartTurn(row):
                session = self.sessions.get(row.session_id)
                if session is None or session.closed_at is not None or session.turn_count != row.turn_index - 1:
                    return False
                at = row.started_at_ms // 1000
                self.sessions[row.session_id] = replace(session, turn_count=row.turn_index, last_turn_at=at)
                self.turns[row.session_id, row.turn_index] = row
            case EndTurn(row):
                key = (row.session_id, row.turn_index)
                if key not in self.turns or self.turns[key].status != "running":
                    return False
                self.turns[key] = row
            case AppendEvents(session_id, events):
                log = self.events.get(session_id, [])
                expected = list(range(len(log) + 1, len(log) + 1 + len(events)))
                if session_id not in self.sessions or [each.seq for each in events] != expected:
                    return False
                self.events[session_id] = [*log, *events]
            case AddUpload(row):
                return _add(self.uploads, row.token, row)
            case RemoveUpload(token):
                self.uploads.pop(token, None)
        return True


def _add(table: dict[str, Any], key: str, row: Any) -> bool:
    if key in table:
        return False
    table[key] = row
    return True


ids = st.sampled_from(["s1", "s2", "s3"])
numbers = st.integers(1, 4)
change_strategy: st.SearchStrategy[Change] = st.one_of(
    st.builds(lambda n, name: AddApp(app_row(f"app_{n}", name)), numbers, st.sampled_from(["x", "y"])),
    st.builds(lambda n: RevokeApp(f"app_{n}", 7), numbers),
    st.builds(lambda session_id: AddSession(session_row(session_id)), ids),
    st.builds(CloseSession, ids, numbers, st.just("idle")),
    st.builds(RemoveSession, ids),
    st.builds(lambda session_id, n: StartTurn(turn_row(session_id, n)), ids, numbers),
    st.builds(
        lambda session_id, n: EndTurn(replace(turn_row(session_id, n), status="done", ok=True)), ids, numbers
    ),
    st.builds(lambda session_id, first, count: append(first, count, session_id), ids, st.integers(1, 7), numbers),
    st.builds(lambda n: AddUpload(upload_row(f"ff_{n}")), numbers),
    st.builds(lambda n: RemoveUpload(f"ff_{n}"), numbers),
)
unit_strategy = st.tuples(st.lists(change_strategy, min_size=1, max_size=3), st.booleans())


@pytest.mark.parametrize("kind", PLACES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(units=st.lists(unit_strategy, max_size=40))
def test_a_store_does_what_a_few_dicts_do(kind: str, units: list[tuple[list[Change], bool]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_compare(PLACES[kind](Path(directory)), units))


async def _compare(place: Place, units: list[tuple[list[Change], bool]]) -> None:
    model = Model()
    store = await place.open(linger_s=0.001)
    outcomes = await asyncio.gather(
        *(store.write(*changes, flush=flush) for changes, flush in units), return_exceptions=True
    )
    for (changes, _), outcome in zip(units, outcomes, strict=True):
        assert (outcome is None) == model.write(changes), (changes, outcome)
    for _ in range(2):
        assert await store.apps() == list(model.apps.values())
        assert await store.sessions("a") == list(reversed(model.sessions.values()))
        for session_id in ("s1", "s2", "s3"):
            assert await store.events(session_id) == model.events.get(session_id, [])
            for turn_index in range(1, 5):
                assert await store.turn(session_id, turn_index) == model.turns.get((session_id, turn_index))
        running = [row for row in model.turns.values() if row.status == "running"]
        assert sorted(await store.unfinished_turns(), key=str) == sorted(running, key=str)
        assert {row.token for row in await store.uploads_expired(10**9, 10)} == set(model.uploads)
        await store.close()
        store = await place.open()
    await store.close()


# --- runs ---------------------------------------------------------------------------------------------------


def run_row(run_id: str, **fields: Any) -> RunRow:
    session = session_row(run_id, kind="run", turn_count=1, last_turn_at=5_000, **fields)
    return RunRow(session, turn_row(run_id))


async def start_run(store: Store, row: RunRow) -> None:
    await store.write(AddSession(replace(row.session, turn_count=0, last_turn_at=None)), StartTurn(row.turn))


async def test_runs_are_an_app_s_own_newest_first_page_by_page(store: Store) -> None:
    rows = [run_row(f"run_{number}", created_at=1000 + number // 2) for number in range(5)]
    for row in rows:
        await start_run(store, row)
    await start_run(store, run_row("run_foreign", app_id="b"))
    await store.write(AddSession(session_row("s")), StartTurn(turn_row("s")))
    newest_first = rows[::-1]
    assert await store.runs("a", limit=10) == newest_first
    seen: list[RunRow] = []
    before = None
    while page := await store.runs("a", limit=2, before=before):
        seen += page
        before = (page[-1].session.created_at, page[-1].session.session_id)
    assert seen == newest_first


async def test_a_run_comes_back_with_how_its_turn_ended(store: Store) -> None:
    row = run_row("run_1")
    await start_run(store, row)
    assert await store.run("run_1") == row
    ended = replace(
        row.turn,
        status="done", stop_reason="end_turn", ok=True, duration_ms=12, usage={"input_tokens": 3}, model="opus",
    )  # fmt: skip
    await store.write(EndTurn(ended), CloseSession("run_1", 6000, "run"))
    found = await store.run("run_1")
    assert found == RunRow(replace(row.session, closed_at=6000, close_reason="run"), ended)
    await store.write(RemoveSession("run_1"))
    assert await store.run("run_1") is None
    assert await store.runs("a", limit=10) == []


async def test_a_session_is_no_run(store: Store) -> None:
    await store.write(AddSession(session_row("s")), StartTurn(turn_row("s")))
    assert await store.run("s") is None
    assert await store.run("never was") is None


# --- usage --------------------------------------------------------------------------------------------------


async def add_audit(store: Store, *rows: AuditRow) -> None:
    await store.write(*(AddAudit(row) for row in rows))


async def test_usage_of_nothing_is_nothing(store: Store) -> None:
    await add_audit(store, audit_row(1, "b"))
    assert await store.usage("a") == UsageReport(True, None, None, None, UsageSum(), [], 0)
    assert (await store.usage("a", by="day")).groups == []


async def test_usage_is_the_sum_of_an_app_s_turns(store: Store) -> None:
    await add_audit(
        store,
        audit_row(1, cost_usd=0.1),
        audit_row(2, cost_usd=0.2),
        audit_row(3, cost_usd=None, estimated=True, total_tokens=7),
        audit_row(4, "b"),
    )
    report = await store.usage("a")
    assert report.total == UsageSum(
        input_tokens=300, output_tokens=60, cached_read_tokens=30, cached_write_tokens=15, thought_tokens=6,
        total_tokens=277, turns=3, duration_ms=36, cost_usd=0.3, estimated_turns=1, estimated_tokens=7,
    )  # fmt: skip
    assert (report.groups, report.left_out) == ([], 0)


async def test_usage_without_any_cost_has_none(store: Store) -> None:
    await add_audit(store, audit_row(1, cost_usd=None))
    assert (await store.usage("a")).total.cost_usd is None
    assert (await store.usage("a", by="agent")).groups[0].cost_usd is None


async def test_usage_counts_turns_that_began_from_since_on_and_before_until(store: Store) -> None:
    for number, at_ms in enumerate((999, 1000, 1999, 2000), start=1):
        await add_audit(store, audit_row(number, at_ms=at_ms))

    async def turns(since: int | None, until: int | None) -> int:
        return (await store.usage("a", since=since, until=until)).total.turns

    assert [await turns(1, 2), await turns(1, None), await turns(None, 1), await turns(0, 3)] == [2, 3, 1, 4]
    assert [await turns(2, 1), await turns(1, 1), await turns(253_402_300_799, None)] == [0, 0, 0]


async def test_usage_by_agent_and_by_model_has_the_most_tokens_first(store: Store) -> None:
    await add_audit(
        store,
        audit_row(1, agent="codex", model="gpt"),
        audit_row(2, agent="claude", model=None),
        audit_row(3, agent="claude", model="opus", total_tokens=1_000),
        audit_row(4, "b", agent="gemini"),
    )
    by_agent = await store.usage("a", by="agent")
    assert [(each.key, each.turns, each.total_tokens) for each in by_agent.groups] == [
        ("claude", 2, 1135),
        ("codex", 1, 135),
    ]
    assert by_agent.total == (await store.usage("a")).total
    by_model = await store.usage("a", by="model")
    assert [(each.key, each.turns) for each in by_model.groups] == [("opus", 1), (None, 1), ("gpt", 1)]


async def test_usage_by_day_is_by_utc_days_newest_first(store: Store) -> None:
    day_ms = 86_400_000
    for number, at_ms in enumerate((0, day_ms - 1, day_ms, 20_000 * day_ms), start=1):
        await add_audit(store, audit_row(number, at_ms=at_ms))
    report = await store.usage("a", by="day")
    assert [(each.key, each.turns) for each in report.groups] == [
        ("2024-10-04", 1),
        ("1970-01-02", 1),
        ("1970-01-01", 2),
    ]


async def test_usage_of_more_groups_than_can_be_told_says_how_many_are_left_out(store: Store) -> None:
    await add_audit(store, *(audit_row(number, model=f"model-{number}") for number in range(1, 1_051)))
    report = await store.usage("a", by="model")
    assert (len(report.groups), report.left_out) == (1_000, 50)
    assert report.total.turns == 1_050


async def test_usage_outlives_the_sessions(store: Store) -> None:
    await store.write(AddSession(session_row()), AddAudit(audit_row(1)))
    await store.write(RemoveSession("s"))
    assert (await store.usage("a")).total.turns == 1
