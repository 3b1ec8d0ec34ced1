"""Streams of the SDK on a connection that fails, with both twins: every event once, and the end as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any, Final

import pytest

from clawdforge import (
    Forge,
    ForgeAuthError,
    ForgeInterruptedError,
    Session,
)
from clawdforge.client import _retry, _streams
from clawdforge.client.events import Event, TextEvent
from harness.agents import NewGateway
from harness.fault_proxy import Fault, FaultProxy, Request, fault_proxy
from harness.gateway import Gateway, until
from harness.prompts import ended, record
from harness.waited import forge_of

NewForge = Callable[..., Forge]

SHORT: Final = "[[SAY h€llo 🦀]]"
TOLD: Final = '[[THINK hm]][[SAY h€llo ]][[TOOL look {"at": "ü"}]][[PLAN a|b]][[SAY 🦀]]'
SLOWLY: Final = "[[SAY one ]][[SLEEP 0.02]][[SAY t€o ]][[SLEEP 0.02]][[SAY three]]"
UNENDING: Final = "[[SAY begun]][[HANG]]"
ASKING: Final = "[[SAY may I? ]][[ASK edit notes.txt]][[SAY  thanks]]"


def reads(request: Request) -> bool:
    return request.method == "GET"


def streams(request: Request) -> bool:
    return request.streams


def posts(request: Request) -> bool:
    return request.method == "POST"


def numbers(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


def contiguous(events: list[Event]) -> bool:
    return numbers(events) == list(range(events[0].seq, events[0].seq + len(events)))


def text(events: list[Event]) -> str:
    return "".join(event.content for event in events if isinstance(event, TextEvent))


@pytest.mark.guarantee
def test_a_stream_that_is_cut_at_every_byte_tells_each_event_once(
    forge: Forge, proxy: FaultProxy, gateway: Gateway, twin: str
) -> None:
    """In the head, in an event, in a character, in the length of a chunk, before the first event, at the end.

    Of one twin every byte, of the other one every other byte.
    """
    session = forge.create_session(agent="fake")
    stream = session.stream(SHORT, timeout_secs=60, idempotency_key="one")
    whole = list(stream)
    assert contiguous(whole)
    assert {event.turn_index for event in whole} == {stream.turn_index} == {1}
    answer = session.turn(SHORT, timeout_secs=60, idempotency_key="one")
    assert stream.result() == answer
    list(session.stream(SHORT, timeout_secs=60, idempotency_key="one"))
    ways = cycle(("fin", "rst", "rst", "fin"))
    for at in range(0, proxy.answer_bytes + 1, 1 if twin == "sync" else 2):
        again = session.stream(SHORT, timeout_secs=60, idempotency_key="one")
        with proxy.failing(Fault(next(ways), at)):
            assert list(again) == whole
        if at % 50 == 0:
            assert again.result() == answer
    assert len(gateway.agent_log.of(session.session_id, "session/prompt")) == 1
    session.close()


@pytest.mark.guarantee
def test_a_stream_that_goes_on_may_be_cut_again_and_again(forge: Forge, proxy: FaultProxy, app: Forge) -> None:
    session = forge.create_session(agent="fake")
    whole = list(session.stream(TOLD, timeout_secs=60, idempotency_key="one"))
    faults = [Fault(way, number * 7 % 25 * 60) for number in range(25) for way in ("fin", "rst")]

    def decide(request: Request) -> Fault | None:
        if posts(request):
            return Fault("fin", 700)
        return faults.pop() if faults else None

    proxy.decide = decide
    rounds = 0
    while faults:
        assert list(session.stream(TOLD, timeout_secs=60, idempotency_key="one")) == whole
        rounds += 1
    assert rounds < 25
    session.close()


@pytest.mark.guarantee
@pytest.mark.parametrize("way", ["fin", "rst"])
def test_a_turn_that_runs_while_its_stream_is_cut(
    app: Forge, forge: Forge, proxy: FaultProxy, gateway: Gateway, way: Any
) -> None:
    session = forge.create_session(agent="fake")
    for turn_index, at in enumerate(range(0, 900, 60), start=1):
        stream = session.stream(SLOWLY, timeout_secs=60, idempotency_key=str(at))
        with proxy.failing(Fault(way, at), Fault(way, at), of=streams):
            events = list(stream)
        assert contiguous(events)
        assert (events[0].type, events[-1].type) == ("turn_start", "turn_end")
        assert text(events) == "one t€o three"
        assert stream.result() == session.turn(SLOWLY, timeout_secs=60, idempotency_key=str(at))
        assert stream.turn_index == turn_index
    assert len(gateway.agent_log.of(session.session_id, "session/prompt")) == turn_index
    for at in range(0, 900, 150):
        run = forge.stream(SLOWLY, agent="fake", timeout_secs=60, idempotency_key=f"run-{at}")
        with proxy.failing(Fault(way, at), Fault(way, at), of=streams):
            assert text(list(run)) == "one t€o three"
        assert run.result() == forge.run(SLOWLY, agent="fake", timeout_secs=60, idempotency_key=f"run-{at}")
        assert run.session_id == run.result().run_id
    assert len(list(app.runs())) == 6


def test_a_stream_that_falls_silent_goes_on(
    forge: Forge, proxy: FaultProxy, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_streams, "SILENCE_S", 1)
    sessions = {forge.create_session(agent="fake"): at for at in (0, 60, 450, 600)}
    stalls = {session.session_id: Fault("stall", at) for session, at in sessions.items()}

    def decide(request: Request) -> Fault | None:
        return stalls.pop(request.path.split("/")[2], None) if request.streams else None

    def read(session: Session) -> None:
        events = list(session.stream(TOLD))
        assert contiguous(events)
        assert text(events) == "h€llo 🦀"

    proxy.decide = decide
    list(pool.map(read, sessions))
    assert stalls == {}


def test_pages_of_events_that_are_cut_are_read_again(forge: Forge, proxy: FaultProxy) -> None:
    session = forge.create_session(agent="fake")
    session.turn(TOLD)
    whole = list(session.events(follow=False))
    for at in range(0, 1200, 40):
        with proxy.failing(Fault("fin", at)):
            assert list(session.events(follow=False)) == whole


def test_a_session_is_followed_over_cuts_to_its_end(
    app: Forge, forge: Forge, proxy: FaultProxy, pool: ThreadPoolExecutor
) -> None:
    session = forge.create_session(agent="fake")
    proxy.decide = lambda request: Fault("rst", 900) if request.streams else None
    following = pool.submit(lambda: list(session.events()))
    for _ in range(5):
        app.attach_session(session.session_id).turn(TOLD)
    app.attach_session(session.session_id).close()
    events = following.result(30)
    assert numbers(events) == list(range(1, len(events) + 1))
    assert events[-1].type == "session_closed"
    assert [event.turn_index for event in events if event.type == "turn_end"] == [1, 2, 3, 4, 5]
    last = events[-1].seq
    assert list(session.events(after=last)) == []
    assert numbers(list(session.events(after=last - 3))) == [last - 2, last - 1, last]


def test_two_readers_of_one_turn_hear_the_same(
    forge: Forge, proxy: FaultProxy, pool: ThreadPoolExecutor, gateway: Gateway
) -> None:
    with forge.session(agent="fake") as session:
        prompt = f"{SLOWLY}[[SAY {session.session_id}]]"
        stream, twin = [session.stream(prompt, idempotency_key="both") for _ in range(2)]
        other = pool.submit(lambda: list(twin))
        proxy.decide = lambda request: Fault("rst", 600) if request.streams else None
        assert list(stream) == other.result(30)
        assert stream.result() == twin.result()
        assert gateway.heard(session.session_id) == 1


@pytest.mark.guarantee
def test_a_gateway_that_is_killed_and_a_token_that_is_revoked_in_mid_stream(
    new_gateway: NewGateway, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that was killed is there again once the SDK thinks of going on."""
    monkeypatch.setattr(_retry, "FIRST_WAIT_S", 0)
    own = new_gateway(settings={"heartbeat_secs": 0.02, "drain_timeout_secs": 0}).start()
    token = own.app("mine")._config.token

    doomed: list[Gateway] = []

    def jitter() -> float:
        for each in doomed:
            each.kill()
        doomed.clear()
        if not own.running:
            proxy.target = own.start().url
        return 0

    with (
        fault_proxy(own.url) as proxy,
        forge_of(twin, core={"jitter": jitter}, base_url=proxy.url, token=token) as forge,
    ):
        cut_while_nothing_happens(forge, proxy)
        killed_in_mid_stream(forge, own)
        killed_before_the_first_event(forge, own, proxy, doomed)
        revoked_in_mid_stream(forge, own)
        own.stop()  # and with it the turn that nobody may follow any more


def cut_while_nothing_happens(forge: Forge, proxy: FaultProxy) -> None:
    """More often than anything is tried again: but there are signs of life, so the stream is not given up."""
    session = forge.create_session(agent="fake")
    stream = session.stream(UNENDING)
    events = [next(stream), next(stream)]
    cuts = [Fault("rst", 300)] * 10  # each behind some signs of life
    all_cut = threading.Event()

    def decide(request: Request) -> Fault | None:
        if request.streams and not cuts:
            all_cut.set()
        return cuts.pop() if request.streams and cuts else None

    def cancel() -> bool:
        return all_cut.wait(30) and stream.cancel()

    proxy.decide = decide
    proxy.sever()
    with ThreadPoolExecutor(1) as other:
        cancelling = other.submit(cancel)
        events += stream
        assert cancelling.result(30) is True
    assert contiguous(events)
    assert events[-1].data["stop_reason"] == "cancelled"


def killed_in_mid_stream(forge: Forge, own: Gateway) -> None:
    session = forge.create_session(agent="fake")
    streams = [session.stream(UNENDING), forge.stream(UNENDING, agent="fake")]
    seen: list[list[Event]] = [[], []]
    for stream, events in zip(streams, seen, strict=True):
        while text(events) != "begun":
            events.append(next(stream))
    own.kill()
    for stream, events in zip(streams, seen, strict=True):
        events += stream
        assert contiguous(events)
        assert (events[-1].type, events[-1].data["stop_reason"]) == ("turn_end", "interrupted")
        with pytest.raises(ForgeInterruptedError) as caught:
            stream.result()
        assert [event["content"] for event in caught.value.events] == ["begun"]
    assert session.turn("hi").ok


def killed_before_the_first_event(forge: Forge, own: Gateway, proxy: FaultProxy, doomed: list[Gateway]) -> None:
    """The next one knows the prompt by its key, and how it ended."""
    session = forge.create_session(agent="fake")
    stream = session.stream(f"{UNENDING} {session.session_id}")
    proxy.requests.clear()

    def decide(_: Request) -> Fault | None:
        return Fault("rst", 10) if len(proxy.requests) == 1 else None

    proxy.decide = decide
    doomed.append(own)
    events = list(stream)
    assert contiguous(events)
    assert (events[-1].type, events[-1].data["stop_reason"]) == ("turn_end", "interrupted")
    with pytest.raises(ForgeInterruptedError):
        stream.result()
    assert proxy.count("POST", "/turn") == 3
    assert len({request.key for request in proxy.requests}) == 1
    assert own.heard(session.session_id) <= 1
    assert session.state()["turn_count"] == 1


def revoked_in_mid_stream(forge: Forge, own: Gateway) -> None:
    session = forge.create_session(agent="fake")
    stream, events = session.stream(UNENDING), session.events()
    assert next(stream).type == "turn_start"
    assert next(events).seq == 1
    with own.admin() as admin:
        admin.revoke_token("mine")
    for each in (stream, events):
        with pytest.raises(ForgeAuthError):
            list(each)


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_a_session_that_is_closed_in_mid_stream(app: Forge, forge: Forge, proxy: FaultProxy, cut: bool) -> None:
    session = forge.create_session(agent="fake")
    stream = session.stream(UNENDING)
    events = [next(stream), next(stream)]
    if cut:
        proxy.sever()
    app.attach_session(session.session_id).close()
    events += stream
    assert events[-1].type == "turn_end"
    assert events[-1].data["stop_reason"] == "cancelled"
    assert stream.result().stop_reason == "cancelled"


@pytest.mark.guarantee
def test_a_request_is_asked_once_however_often_the_stream_is_cut(forge: Forge, proxy: FaultProxy) -> None:
    session = forge.create_session(agent="fake", permissions="ask")
    asked = []

    def decide(request: Any) -> Any:
        asked.append(request.permission_id)
        return "allow"

    for count, at in enumerate(range(0, 1500, 60), start=1):
        with proxy.failing(Fault("rst", at), Fault("fin", 500), of=streams):
            answer = session.turn(ASKING, on_permission=decide)
        assert '"selected"' in answer.text()
        assert len(asked) == len(set(asked)) == count
    for at in (0, 60, 250):
        with proxy.failing(Fault("rst", at), of=lambda request: "/permissions/" in request.path):
            assert '"selected"' in session.turn(ASKING, on_permission=decide).text()
    assert len(asked) == len(set(asked)) == count + 3


@pytest.mark.parametrize("meanwhile", ["cancelled", "closed"])
def test_a_turn_that_ends_while_its_app_decides(app: Forge, forge: Forge, meanwhile: str) -> None:
    session = forge.create_session(agent="fake", permissions="ask")
    direct = app.attach_session(session.session_id)

    def decide(_: Any) -> Any:
        if meanwhile == "cancelled":
            direct.cancel()
        else:
            direct.close()
        return "allow"

    assert session.turn(ASKING, on_permission=decide).stop_reason == "cancelled"


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_another_thread_cancels_what_is_streamed(
    forge: Forge, proxy: FaultProxy, pool: ThreadPoolExecutor, cut: bool
) -> None:
    session = forge.create_session(agent="fake")
    for stream in (session.stream(UNENDING), forge.stream(UNENDING, agent="fake")):
        begun = threading.Event()

        def read(stream: Any = stream, begun: threading.Event = begun) -> list[Event]:
            events = []
            for event in stream:
                events.append(event)
                begun.set()
            return events

        reading = pool.submit(read)
        assert begun.wait(30)
        with proxy.failing(*[Fault("rst")] * cut, of=posts):
            assert stream.cancel() is True
        events = reading.result(30)
        assert contiguous(events)
        assert events[-1].data["stop_reason"] == "cancelled"
        assert stream.result().stop_reason == "cancelled"
        assert stream.cancel() is False


def test_a_loop_that_is_left_does_not_stop_the_turn(app: Forge, forge: Forge, proxy: FaultProxy) -> None:
    session = forge.create_session(agent="fake")
    with session.stream(SLOWLY) as stream:
        for event in stream:
            if event.type == "text":
                break
    left_at = stream.last_seq
    assert ended(app, session.session_id, 1)["status"] == "done"
    assert [row["stop_reason"] for row in session.turns()] == ["end_turn"]
    rest = list(stream)
    assert numbers(rest) == list(range(left_at + 1, left_at + 1 + len(rest)))
    assert rest[-1].type == "turn_end"
    assert stream.result().text() == "one t€o three"


def test_a_slow_reader_loses_nothing(app: Forge, forge: Forge, proxy: FaultProxy) -> None:
    """It reads no more until the turn has ended, and what was not sent by then is more than any buffer holds."""
    session = forge.create_session(agent="fake")
    seen: list[Event] = []

    def slow(event: Event) -> None:
        seen.append(event)
        if event.type == "text" and len(seen) < 5:
            until(lambda: record(app, session.session_id, 1)["status"] == "done", "the turn to end")

    answer = session.turn("[[BIGTEXT 8000000]]", on_event=slow)
    assert contiguous(seen)
    assert text(seen) == answer.text()
    assert len(answer.text()) == 8_000_000


def test_streams_of_many_sessions_at_once(forge: Forge, proxy: FaultProxy, pool: ThreadPoolExecutor) -> None:
    sessions = [forge.create_session(agent="fake") for _ in range(6)]
    places = cycle(range(640, 1300, 70))
    proxy.decide = lambda request: Fault("rst", next(places)) if request.streams else None

    def read(session: Session) -> None:
        for _ in range(4):
            stream = session.stream(f"[[SAY {session.session_id}]][[SLEEP 0.01]][[SAY !]]")
            events = list(stream)
            assert contiguous(events)
            assert text(events) == f"{session.session_id}!" == stream.result().text()

    list(pool.map(read, sessions))
