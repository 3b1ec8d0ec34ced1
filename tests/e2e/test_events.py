"""A session's log as pages, long polls and streams: complete, in order, resumable, and ended when it is time."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from clawdforge import Forge
from harness import http
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.ledger import Ledger
from harness.streams import Stream, page

NOWHERE = 10**18 - 1
FILES_OF_STORE_READERS = 3 * 3  # each has its files from its first question on
NONSENSE = [
    "",
    "x",
    "-1",
    "+1",
    "1.5",
    "1e3",
    "0x1",
    "1 2",
    "١",
    str(10**18),
    str(10**30),
    "9" * 5000,
    "null",
    "%00",
]


def stored(db: Ledger, session_id: str) -> list[dict[str, Any]]:
    """The log as the wire has it."""
    return [
        {**{name: row[name] for name in ("seq", "type", "turn_index", "ts")}, **row["data"]}
        for row in db.events(session_id)
    ]


def said(events: list[dict[str, Any]]) -> str:
    return "".join(event["content"] for event in events if event["type"] == "text")


# --- streams ------------------------------------------------------------------------------------------------


@pytest.mark.guarantee
def test_a_stream_tells_all_that_is_stored_and_ends_with_the_session(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    with Stream(app, session.session_id) as stream:
        assert stream.response.getheader("content-type") == "text/event-stream"
        assert stream.response.getheader("cache-control") == "no-store"
        session.turn("[[THINK hm]] [[TOOL look {}]] [[PLAN a|b]] [[SAY é 𝄞]]")
        session.turn("[[FLOOD 3000]]")
        session.close()
        seen = [*stream.events()]
    assert seen == stored(db, session.session_id)
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1]["type"] == "session_closed"
    assert said(seen).endswith("".join(f"{number} " for number in range(3000)))


def test_an_event_comes_while_its_turn_still_runs(app: Forge, pool: ThreadPoolExecutor) -> None:
    session = app.create_session(agent="fake")
    with Stream(app, session.session_id) as stream:
        turn = pool.submit(session.turn, "[[SAY soon]] [[ASK read -]] [[HANG]]")
        seen = stream.until("permission_answer")
        assert said(seen) == "soon"
        assert not turn.done()
        session.close()
        assert stream.until("session_closed")[-2]["type"] == "turn_end"
        assert turn.result().stop_reason == "cancelled"


@pytest.mark.guarantee
def test_a_cut_stream_goes_on_where_it_was(app: Forge, db: Ledger, pool: ThreadPoolExecutor) -> None:
    session = app.create_session(agent="fake")
    turn = pool.submit(session.turn, "[[RATE 300 300]]")
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["type"] != "turn_end":
        headers = {"Last-Event-ID": str(seen[-1]["seq"])} if seen else {}
        # What the header says counts: a browser asks again with the address that it was first given.
        with Stream(app, session.session_id, query="?after=0", headers=headers) as stream:
            for _, event in zip(range(25), stream.events(), strict=False):
                seen.append(event)
                if event["type"] == "turn_end":
                    break
    assert turn.result().ok
    assert seen == stored(db, session.session_id)


@pytest.mark.guarantee
def test_readers_that_come_at_any_moment_miss_nothing_and_see_nothing_twice(
    app: Forge, db: Ledger, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")

    def read() -> list[dict[str, Any]]:
        with Stream(app, session.session_id) as stream:
            return [*stream.events()]

    turn = pool.submit(session.turn, "[[FLOOD 20000]] [[RATE 200 400]]")
    readers = []
    while not turn.done():
        readers.append(pool.submit(read))
        wait({turn}, timeout=0.02)  # any moment will do
        if len(readers) == 30:
            break
    turn.result()
    session.close()
    log = stored(db, session.session_id)
    assert len(readers) > 3
    for reader in readers:
        assert reader.result() == log


def test_the_stream_of_a_closed_session_ends_with_what_there_is(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    session.turn("hello")
    session.close()
    log = stored(db, session.session_id)
    for after in (0, 2, len(log), NOWHERE):
        with Stream(app, session.session_id, query=f"?after={after}") as stream:
            assert [*stream.events()] == log[after:]


def test_a_client_that_hangs_up_does_not_stop_the_turn(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")
    turn = pool.submit(session.turn, "[[RATE 50 200]]")
    with Stream(app, session.session_id) as stream:
        stream.until("text")
    assert turn.result().ok
    assert said([dict(event) for event in turn.result().events]).split() == [str(number) for number in range(50)]


def test_head_tells_of_a_stream_and_sends_none(app: Forge) -> None:
    session = app.create_session(agent="fake")
    answer = http.call(
        app.base_url,
        "HEAD",
        f"/sessions/{session.session_id}/events",
        token=app._config.token,
        headers={"Accept": "text/event-stream"},
    )
    assert (answer.status, answer.headers["content-type"], answer.raw) == (200, "text/event-stream", b"")


# --- cursors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", NONSENSE)
def test_a_cursor_that_is_none_is_refused(app: Forge, after: str) -> None:
    session = app.create_session(agent="fake")
    status, code = page(app, session.session_id, f"?after={quote(after)}").problem()
    assert (status, code) in {(422, "invalid"), (400, "bad_request")}
    if after.isascii() and after not in ("", "%00"):
        with Stream(app, session.session_id, headers={"Last-Event-ID": after}) as stream:
            assert stream.refused() == (422, "invalid")


def test_a_future_cursor_waits_for_what_comes_after_it(app: Forge) -> None:
    session = app.create_session(agent="fake")
    with Stream(app, session.session_id, query="?after=4") as stream:
        session.turn("[[SAY a]]")
        session.turn("[[SAY b]]")
        seen = stream.until("turn_end")
    assert [event["seq"] for event in seen] == [5, 6, 7]
    assert page(app, session.session_id, f"?after={NOWHERE}").body == {
        "ok": True,
        "events": [],
        "next_after": NOWHERE,
    }


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "wait=-1", "wait=61", "wait=1.5", "page=1", "after=1&after=2"]
)
def test_a_query_that_is_none_is_refused(app: Forge, query: str) -> None:
    session = app.create_session(agent="fake")
    assert page(app, session.session_id, f"?{query}").problem() == (422, "invalid")


@pytest.mark.parametrize("query", ["limit=5", "wait=5"])
def test_what_is_for_pages_is_refused_for_a_stream(app: Forge, query: str) -> None:
    session = app.create_session(agent="fake")
    with Stream(app, session.session_id, query=f"?{query}") as stream:
        assert stream.refused() == (422, "invalid")


# --- pages and polls ----------------------------------------------------------------------------------------


@pytest.mark.guarantee
def test_pages_lead_through_the_whole_log(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    for number in range(4):
        session.turn(f"[[SAY {number}]]")
    after, seen = 0, []
    while events := (answer := page(app, session.session_id, f"?after={after}&limit=3").body)["events"]:
        assert len(events) <= 3
        assert answer["next_after"] == events[-1]["seq"]
        seen += events
        after = answer["next_after"]
    assert answer == {"ok": True, "events": [], "next_after": after}
    assert seen == stored(db, session.session_id)


def test_a_page_is_bounded_in_bytes_too_and_an_event_may_be_larger(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    session.turn(f"[[BIGTEXT 3000000]] [[BIGLINE 2000000]] [[SAY {'x' * 2_000_000}]]")  # the prompt is one event
    after, sizes, seen = 0, [], []
    while (answer := page(app, session.session_id, f"?after={after}")).body["events"]:
        sizes.append(len(answer.raw))
        seen += answer.body["events"]
        after = answer.body["next_after"]
    assert seen == stored(db, session.session_id)
    *others, largest = sorted(sizes)
    assert others[-1] < 500_000
    assert 2_000_000 <= largest < 2_500_000


def test_a_poll_is_answered_at_once_where_there_is_something(app: Forge) -> None:
    session = app.create_session(agent="fake")
    session.turn("hello")
    events = page(app, session.session_id, "?wait=60").body["events"]
    assert [event["type"] for event in events] == ["agent_start", "turn_start", "text", "turn_end"]


@pytest.mark.guarantee
def test_a_poll_is_answered_as_soon_as_there_is_something(app: Forge, pool: ThreadPoolExecutor) -> None:
    session = app.create_session(agent="fake")
    poll = pool.submit(page, app, session.session_id, "?after=1&wait=60")
    session.turn("[[SAY a]]")
    answer = poll.result().body
    assert answer["events"][0]["seq"] == 2
    assert answer["next_after"] == answer["events"][-1]["seq"]


def test_a_poll_that_is_over_says_where_to_go_on(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert page(app, session.session_id, "?after=1&wait=1").body == {"ok": True, "events": [], "next_after": 1}


def test_nobody_waits_for_a_closed_session(app: Forge) -> None:
    session = app.create_session(agent="fake")
    session.close()
    last = page(app, session.session_id).body["next_after"]
    assert page(app, session.session_id, f"?after={last}&wait=60").body["events"] == []


def test_another_app_s_log_is_not_found(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake")
    with gateway.app(f"stranger-{session.session_id}") as stranger:
        assert page(stranger, session.session_id).problem() == (404, "not_found")
        assert page(stranger, session.session_id, "?wait=60").problem() == (404, "not_found")
        with Stream(stranger, session.session_id) as stream:
            assert stream.refused() == (404, "not_found")


# --- readers that do not read, and ends ---------------------------------------------------------------------


@pytest.mark.guarantee
def test_a_reader_that_does_not_read_costs_the_others_nothing_and_misses_nothing(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        idle = [Stream(app, session.session_id) for _ in range(12)]
        before = gateway.forget_peak()
        with Stream(app, session.session_id) as reader:
            turn = pool.submit(session.turn, "[[BIGTEXT 12000000]]")
            assert len(said(reader.until("turn_end"))) == 12_000_000
        assert len(turn.result().text()) == 12_000_000
        # The answer itself is there some times over while it is made; the twelve readers' would be 144 MB.
        assert gateway.peak_bytes() - before < 100_000_000
        session.close()
        log = stored(Ledger(gateway.data_dir), session.session_id)
        assert [*idle[0].events()] == log
        for stream in idle:
            stream.close()
    assert gateway.stop() == 0


def test_a_quiet_stream_says_that_it_lives(tight_app: Forge) -> None:
    session = tight_app.create_session(agent="fake")
    with Stream(tight_app, session.session_id) as stream:
        stream.until("agent_start")
        assert [stream.more() for _ in range(3)] == [b":\n\n"] * 3
        session.close()
        assert stream.until("session_closed")


@pytest.mark.guarantee
def test_a_revoked_token_ends_its_streams_and_polls_and_no_others(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway().start()
    with gateway.app("one") as one, gateway.app("two") as two, gateway.admin() as admin:
        sessions = [each.create_session(agent="fake") for each in (one, two)]
        with Stream(one, sessions[0].session_id) as ended, Stream(two, sessions[1].session_id) as kept:
            ended.until("agent_start")
            kept.until("agent_start")
            polls = [
                pool.submit(page, app, session.session_id, "?after=1&wait=60")
                for app, session in zip((one, two), sessions, strict=True)
            ]
            until(lambda: _established(gateway) >= 6, "the polls to have begun")
            admin.revoke_token("one")
            assert ended.more() == b""
            assert polls[0].result().body["events"] == []
            assert page(one, sessions[0].session_id).problem() == (401, "unauthorized")
            assert not polls[1].done()
            sessions[1].turn("[[SAY still here]]")
            assert said(kept.until("turn_end")) == "still here"
            assert polls[1].result().body["events"]
    assert gateway.stop() == 0


def _established(gateway: Gateway) -> int:
    connections = psutil.Process(gateway.pid).net_connections(kind="tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in connections)


@pytest.mark.guarantee
def test_a_revoked_token_ends_a_stream_that_nobody_reads(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway().start()
    with gateway.app("one") as one, gateway.admin() as admin:
        session = one.create_session(agent="fake")
        with Stream(one, session.session_id) as stream:
            session.turn("[[BIGTEXT 20000000]]")
            admin.revoke_token("one")
            assert stream.rest_bytes() < 20_000_000
    assert gateway.stop() == 0


@pytest.mark.parametrize("size", [100_000, 20_000_000], ids=["some wait", "much waits"])
def test_a_stream_that_nobody_reads_does_not_hold_up_a_gateway_that_stops(
    new_gateway: NewGateway, size: int
) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        with Stream(app, session.session_id):
            session.turn(f"[[BIGTEXT {size}]]")
            assert gateway.stop() == 0
    assert "broke off" not in gateway.log()
    assert "running task" not in gateway.log()


def test_streams_and_polls_do_not_hold_up_a_gateway_that_stops(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        with Stream(app, session.session_id) as stream:
            stream.until("agent_start")
            poll = pool.submit(page, app, session.session_id, "?after=1&wait=60")
            until(lambda: _established(gateway) >= 3, "the poll to have begun")
            gateway.signal(signal.SIGTERM)
            assert stream.more() == b""
            assert poll.result().body["events"] == []
        assert gateway.wait() == 0


def test_a_stream_sees_its_turn_end_before_the_gateway_does(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings={"drain_timeout_secs": 0}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        with Stream(app, session.session_id) as stream:
            turn = pool.submit(
                http.ask, app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[HANG]]"}
            )
            stream.until("turn_start")
            gateway.signal(signal.SIGTERM)
            assert stream.until("turn_end")[-1]["stop_reason"] == "interrupted"
            assert stream.more() == b""
        assert turn.result().problem() == (502, "interrupted")
        assert gateway.wait() == 0


@pytest.mark.guarantee
def test_what_a_reader_has_seen_is_there_after_the_gateway_was_killed(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway().start()
    app = gateway.app()
    session = app.create_session(agent="fake")
    with Stream(app, session.session_id) as stream:
        turn = pool.submit(
            http.ask, app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[RATE 9999 500]]"}
        )
        seen = [event for _, event in zip(range(60), stream.events(), strict=False)]
        gateway.kill()
    with pytest.raises((http.HTTPException, OSError)):
        turn.result()
    token, app = app._config.token, app.close() or app
    gateway.start()
    log = stored(Ledger(gateway.data_dir), session.session_id)
    assert log[: len(seen)] == seen
    again = Forge(base_url=gateway.url, token=token)
    with Stream(again, session.session_id, headers={"Last-Event-ID": str(seen[-1]["seq"])}) as stream:
        assert seen + stream.until("turn_end") == log
    again.close()
    assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("setting", "refusal", "others"),
    [("max_streams_per_app", (429, "rate_limited"), True), ("max_streams", (503, "overloaded"), False)],
)
def test_so_many_streams_and_no_more(
    new_gateway: NewGateway, setting: str, refusal: tuple[int, str], others: bool
) -> None:
    gateway = new_gateway(settings={setting: 2}).start()
    with gateway.app("one") as app, gateway.app("two") as other:
        session, of_other = app.create_session(agent="fake"), other.create_session(agent="fake")
        with Stream(app, session.session_id), Stream(app, session.session_id) as second:
            refused = Stream(app, session.session_id)
            assert refused.response.getheader("retry-after")
            assert refused.refused() == refusal
            assert page(app, session.session_id, "?after=1&wait=60").problem() == refusal
            assert page(app, session.session_id).status == 200
            assert _opens(other, of_other.session_id) is others
            second.close()
            until(lambda: _opens(app, session.session_id), "the closed stream to be forgotten")
    assert gateway.stop() == 0


def _opens(app: Forge, session_id: str) -> bool:
    with Stream(app, session_id) as stream:
        return stream.response.status == 200


def test_a_thousand_readers_that_come_and_go_leave_nothing(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"max_streams": 50}).start()
    process = psutil.Process(gateway.pid)
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        session.turn("[[FLOOD 500]]")
        _come_and_go(app, session.session_id, 50)
        until(lambda: _established(gateway) <= 1, "the connections to be gone")
        files, memory = process.num_fds(), process.memory_info().rss
        _come_and_go(app, session.session_id, 1000)
        until(lambda: _established(gateway) <= 1, "the connections to be gone")
        assert process.num_fds() <= files + FILES_OF_STORE_READERS
        assert process.memory_info().rss - memory < 10_000_000
        assert [event["seq"] for event in page(app, session.session_id, "?limit=2").body["events"]] == [1, 2]
    assert gateway.stop() == 0


def _come_and_go(app: Forge, session_id: str, times: int) -> None:
    """Some read, some leave in the middle, some at once; no more at a time than a gateway forgets meanwhile."""
    for number in range(times):
        while True:
            with Stream(app, session_id) as stream:
                if stream.response.status != 200:
                    continue
                if number % 3:
                    stream.until(("agent_start", "turn_end")[number % 2])
            break
