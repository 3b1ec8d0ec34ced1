"""Calls of the SDK on a connection that fails, with both twins: a prompt runs once, a call gets its own answer."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import pytest

from clawdforge import (
    Forge,
    ForgeAgentError,
    ForgeAPIError,
    ForgeBusyError,
    ForgeError,
    ForgeLimitError,
    ForgeTimeoutError,
    ForgeTransportError,
    ForgeUnavailableError,
    Session,
)
from clawdforge.client import _retry
from harness.fault_proxy import Fault, FaultProxy, Request, fault_proxy, saying
from harness.gateway import Gateway, until
from harness.prompts import ended
from harness.waited import forge_of

NewForge = Callable[..., Forge]

TIMES: Final = 3
"""A call, and two more."""
LENGTH_BYTES: Final = 400
"""Fewer than any answer to a prompt has, with its head."""
FAULTS: Final = {
    "ended unheard": Fault("fin", unheard=True),
    "reset unheard": Fault("rst", unheard=True),
    "ended at once": Fault("fin"),
    "reset at once": Fault("rst"),
    "ended in the head": Fault("fin", 60),
    "reset later": Fault("rst", 190),
}


def heard(gateway: Gateway, session: Session) -> int:
    """How many prompts the agent of a session has got."""
    return len(gateway.agent_log.of(session.session_id, "session/prompt"))


def posts(request: Request) -> bool:
    return request.method == "POST"


def ran_once(app: Forge, gateway: Gateway, session: Session, turns: int) -> None:
    """So many prompts ran, by all that is on record: turns, usage, what the agent got, and what it has counted."""
    rows = list(app.attach_session(session.session_id).turns())
    numbers = range(turns, 0, -1)
    assert [(row["turn_index"], row["stop_reason"]) for row in rows] == [(each, "end_turn") for each in numbers]
    assert heard(gateway, session) == turns
    assert session.turn("the last").text() == f"turn {turns + 1}: the last"


@pytest.mark.guarantee
def test_a_thousand_turns_cut_at_every_byte_run_once_each(
    app: Forge, forge: Forge, proxy: FaultProxy, gateway: Gateway
) -> None:
    """Each byte of the answer, its head and its body: both twins together come to more than a thousand turns."""
    session = forge.create_session(agent="fake")
    session.turn("How long is an answer?")
    turns, ways = 1, cycle(("fin", "rst", "rst", "fin"))
    for at in range(proxy.answer_bytes + 1):
        with proxy.failing(Fault(next(ways), at)):
            answer = session.turn(f"prompt {at}")
        turns += 1
        assert (answer.turn_index, answer.text()) == (turns, f"turn {turns}: prompt {at}")
    assert turns > 500
    assert app.usage()["total"]["turns"] == turns
    ran_once(app, gateway, session, turns)
    sent = Counter(request.key for request in proxy.requests if request.path.endswith("/turn"))
    assert len(sent) == turns + 1
    assert max(sent.values()) == TIMES - 1


@pytest.mark.guarantee
def test_calls_at_the_same_time_get_their_own_answers(
    app: Forge, forge: Forge, proxy: FaultProxy, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    sessions = [forge.create_session(agent="fake") for _ in range(6)]
    seen: Counter[str | None] = Counter()

    def decide(request: Request) -> Fault | None:
        seen[request.key] += 1
        return [*FAULTS.values()][len(seen) % len(FAULTS)] if posts(request) and seen[request.key] == 1 else None

    def talk(session: Session) -> None:
        for number in range(1, 13):
            prompt = f"{session.session_id} {number}"
            assert session.turn(prompt).text() == f"turn {number}: {prompt}"

    proxy.decide, proxy.slice_bytes = decide, 50
    list(pool.map(talk, sessions))
    for session in sessions:
        assert heard(gateway, session) == 12


def test_an_answer_in_slices_is_the_same(forge: Forge, proxy: FaultProxy) -> None:
    proxy.slice_bytes = 1
    assert forge.run("[[SAY h€llo]]", agent="fake").result == "h€llo"
    with forge.session(agent="fake") as session:
        assert session.turn("[[SAY h€llo]]").text() == "h€llo"
        assert "".join(session.stream("[[SAY h€llo]]").text_deltas()) == "h€llo"


@pytest.mark.guarantee
def test_a_call_that_is_not_tried_again_says_so_and_runs_once_at_most(
    app: Forge, new_forge: NewForge, proxy: FaultProxy, gateway: Gateway
) -> None:
    forge = new_forge(retries=0)
    sessions = [forge.create_session(agent="fake") for _ in FAULTS]
    for session, (name, fault) in zip(sessions, FAULTS.items(), strict=True):
        with proxy.failing(fault), pytest.raises(ForgeTransportError):
            session.turn("once?")
        times = 0 if fault.unheard else 1
        # The next prompt comes on another connection, and if let in first, this one would be refused as busy.
        until(lambda: heard(gateway, session) >= times, f"{times} prompts, where it was {name}")  # noqa: B023
        assert session.turn("again", delivery="queue").text() == f"turn {times + 1}: again"
        assert heard(gateway, session) == times + 1


@pytest.mark.guarantee
def test_an_answer_that_stalls_is_no_answer_and_its_turn_runs_once(
    app: Forge, new_forge: NewForge, proxy: FaultProxy, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    forge = new_forge(http_timeout_margin=0.1)
    sessions = [forge.create_session(agent="fake") for _ in range(4)]
    stalls = {f'"stalls {at}"'.encode(): Fault("stall", at) for at in (0, 60, 250, LENGTH_BYTES)}
    proxy.decide = lambda request: next((stall for text, stall in stalls.items() if text in request.body), None)

    def stalled(session: Session, at: int) -> None:
        with pytest.raises(ForgeTimeoutError, match=r"no answer within 2\.1 s"):
            session.turn(f"stalls {at}", timeout_secs=2)

    list(pool.map(stalled, sessions, (0, 60, 250, LENGTH_BYTES)))
    for session in sessions:
        ended(app, session.session_id, 1)  # nobody has heard of its end
        ran_once(app, gateway, session, 1)


def test_an_answer_that_stalls_and_goes_on_is_the_answer(
    forge: Forge, proxy: FaultProxy, pool: ThreadPoolExecutor
) -> None:
    with forge.session(agent="fake") as session, proxy.failing(Fault("stall", 250)):
        waiting = pool.submit(session.turn, "patience")
        assert proxy.stalled.wait(30)
        assert not waiting.done()
        proxy.release()
        assert waiting.result().text() == "turn 1: patience"


@pytest.mark.guarantee
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_whatever_is_made_is_made_once(
    app: Forge, forge: Forge, proxy: FaultProxy, gateway: Gateway, fault: Fault
) -> None:
    forge.healthz()
    with proxy.failing(fault):
        session = forge.create_session(agent="fake", meta={"number": 1})
    with proxy.failing(fault):
        assert forge.run("a run", agent="fake").result == "turn 1: a run"
    with proxy.failing(fault):
        upload = forge.upload_file(__file__)
    with proxy.failing(fault):
        fork = session.fork()
    with proxy.failing(fault):
        assert session.turn("[[BLOCKS]]", files=[upload]).ok
    with proxy.failing(fault):
        session.files.put("notes.txt", b"12345")
    with proxy.failing(fault):
        assert session.files.get("notes.txt") == b"12345"
    with proxy.failing(fault):
        session.close()
    assert {row["session_id"] for row in app.sessions()} == {session.session_id, fork.session_id}
    assert len(list(app.runs())) == 1
    made = Counter((each.path.rpartition("/")[2], each.key) for each in proxy.requests if posts(each))
    assert Counter(name for name, _ in made) == {"sessions": 1, "run": 1, "files": 1, "fork": 1, "turn": 1}
    assert set(made.values()) == {2}


@pytest.mark.guarantee
def test_files_that_break_off_on_their_way_arrive_whole(
    app: Forge, forge: Forge, proxy: FaultProxy, tmp_path: Path
) -> None:
    content = os.urandom(3_000_000)
    file = tmp_path / "big.bin"
    file.write_bytes(content)
    session = forge.create_session(agent="fake")
    for at in (100, 2000, 1_000_000, 2_999_000):
        proxy.break_at = [at, at]
        upload = forge.upload_file(file)
        assert upload.size == len(content)
        proxy.break_at = [at, at]
        assert session.files.put(f"{at}.bin", file).size == len(content)
        assert proxy.break_at == []
        with proxy.failing(Fault("rst", at), Fault("fin", 1000)):
            assert session.files.get(f"{at}.bin") == content
    made = [each.key for each in proxy.requests if each.path == "/files"]
    assert len(made) == len(set(made)) == 4  # of each, one came whole
    session.close()


def everything(forge: Forge, session: Session, other: Session) -> dict[str, Callable[[], Any]]:
    """Every call that makes something, or ends something."""
    return {
        "/sessions": lambda: forge.create_session(agent="fake"),
        "/run": lambda: forge.run("x", agent="fake"),
        "/files": lambda: forge.upload_file(__file__),
        "/streamed": lambda: next(forge.stream("x", agent="fake")),
        "/turn": lambda: session.turn("x"),
        "/fork": other.fork,
        "/cancel": other.cancel,
        "/perm_1": lambda: other.answer("perm_1", "allow"),
    }


@pytest.mark.guarantee
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_to_an_old_gateway_nothing_is_sent_twice(
    app: Forge, forge: Forge, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.hidden = frozenset({"idempotency-supported"})
    session, other = [app.create_session(agent="fake") for _ in range(2)]
    attached = [forge.attach_session(each.session_id) for each in (session, other)]
    for path, call in everything(forge, *attached).items():
        proxy.requests.clear()
        with proxy.failing(fault), pytest.raises(ForgeTransportError):
            call()
        assert len(proxy.requests) == 1, path
    times = 0 if fault.unheard else 1
    until(lambda: len(list(app.sessions())) == 2 + 2 * times, "sessions to be made")
    until(lambda: [row["status"] for row in app.runs()] == ["done"] * 2 * times, "what was heard to be done")
    until(lambda: [row["status"] for row in session.turns()] == ["done"] * times, "what was heard to be done")


@pytest.mark.guarantee
def test_a_stream_of_an_old_gateway_is_not_sent_twice_either(app: Forge, forge: Forge, proxy: FaultProxy) -> None:
    proxy.hidden = frozenset({"idempotency-supported"})
    session = app.create_session(agent="fake")
    stream = forge.attach_session(session.session_id).stream("once")
    with proxy.failing(Fault("rst", 60)), pytest.raises(ForgeTransportError):
        next(stream)
    for again in (lambda: next(stream), stream.result, stream.result):
        with pytest.raises(ForgeError, match="might run twice"):
            again()
    other = forge.attach_session(session.session_id).stream("twice", delivery="queue")
    with proxy.failing(Fault("rst", 600)):
        assert [event.type for event in other][-1] == "turn_end"  # reading on is no sending
    with pytest.raises(ForgeError, match="might run twice"):
        other.result()
    assert proxy.count("POST", "/turn") == 2
    assert session.state()["turn_count"] == 2


def listening(proxy: FaultProxy) -> Callable[[], float]:
    """Has the proxy listen once it is asked how long to wait."""

    def jitter() -> float:
        proxy.listen()
        return 0

    return jitter


@pytest.mark.guarantee
def test_what_was_never_sent_is_sent_once_somebody_listens(
    app: Forge, gateway: Gateway, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_retry, "FIRST_WAIT_S", 0)
    with ExitStack() as made:
        for ask in (
            lambda forge: forge.run("now?", agent="fake").result,
            lambda forge: "".join(forge.stream("now?", agent="fake").text_deltas()),
        ):
            proxy = made.enter_context(fault_proxy(gateway.url, listening=False))
            core = {"jitter": listening(proxy)}
            forge = made.enter_context(forge_of(twin, core=core, base_url=proxy.url, token=app._config.token))
            assert ask(forge) == "turn 1: now?"
            assert proxy.count("POST", "/run") == 1


BUSY: Final = json.dumps({"detail": "not now", "code": "overloaded", "request_id": "req_1"}).encode()
ENDED: Final = json.dumps(
    {"detail": "so it ended", "code": "agent_failed", "stop_reason": "agent_failed"}
).encode()
SPENT: Final = json.dumps(
    {"detail": "no more", "code": "budget_exceeded", "stop_reason": "budget_exceeded"}
).encode()
TAKEN: Final = json.dumps({"detail": "a turn runs", "code": "turn_in_progress"}).encode()
AGAIN: Final = {
    "408": (saying(408, BUSY), ForgeAPIError),
    "429": (saying(429, BUSY, Retry_After="0"), ForgeLimitError),
    "503": (saying(503, BUSY, Retry_After="0"), ForgeUnavailableError),
}
NOT_AGAIN: Final = {
    "a failed turn": (saying(502, ENDED), ForgeAgentError),
    "a turn that ran out of budget": (saying(429, SPENT, Retry_After="0"), ForgeLimitError),
    "a conflict": (saying(409, TAKEN, Retry_After="0"), ForgeBusyError),
    "a proxy's page": (saying(502, b"<html>Bad Gateway</html>", Retry_After="0"), ForgeAPIError),
    "no word of waiting": (saying(503, BUSY), ForgeUnavailableError),
    "a long wait": (saying(503, BUSY, Retry_After="3600"), ForgeUnavailableError),
}


def prompts(forge: Forge, session: Session) -> list[Callable[[], Any]]:
    """The ways to send one."""
    return [
        lambda: session.turn("hi"),
        lambda: session.turn("hi", on_event=print),
        lambda: session.stream("hi").result(),
        lambda: forge.run("hi", agent="fake"),
        lambda: forge.stream("hi", agent="fake").result(),
    ]


@pytest.mark.guarantee
@pytest.mark.parametrize(("fault", "raised"), AGAIN.values(), ids=AGAIN)
def test_a_gateway_that_is_busy_is_asked_twice_more(
    forge: Forge, proxy: FaultProxy, fault: Fault, raised: type[ForgeError]
) -> None:
    with forge.session(agent="fake") as session:
        for ask in prompts(forge, session):
            proxy.requests.clear()
            with proxy.failing(*[fault] * TIMES), pytest.raises(raised):
                ask()
            assert len(proxy.requests) == TIMES
            assert len({request.key for request in proxy.requests}) == 1
            with proxy.failing(*[fault] * (TIMES - 1)):
                assert ask().ok


@pytest.mark.guarantee
@pytest.mark.parametrize(("fault", "raised"), NOT_AGAIN.values(), ids=NOT_AGAIN)
def test_what_was_decided_is_not_asked_again(
    forge: Forge, proxy: FaultProxy, fault: Fault, raised: type[ForgeError]
) -> None:
    with forge.session(agent="fake") as session:
        for ask in prompts(forge, session):
            proxy.requests.clear()
            with proxy.failing(fault), pytest.raises(raised):
                ask()
            assert len(proxy.requests) == 1


@pytest.mark.guarantee
@pytest.mark.parametrize("fault", [AGAIN["503"][0], Fault("rst")], ids=["busy", "reset"])
def test_nothing_is_tried_again_when_the_callers_time_is_over(
    app: Forge, new_forge: NewForge, proxy: FaultProxy, fault: Fault
) -> None:
    now = {"s": 0.0}
    forge = new_forge(core={"clock": lambda: now["s"]}, http_timeout_margin=0)
    session = forge.create_session(agent="fake")

    def decide(_: Request) -> Fault:
        now["s"] += 6
        return fault

    proxy.decide = decide
    for on_event in (None, print):
        proxy.requests.clear()
        with pytest.raises(ForgeError):
            session.turn("hi", timeout_secs=10, on_event=on_event)
        assert len(proxy.requests) == TIMES - 1  # after 12 s there is no third time
    proxy.decide = lambda _: None
    assert app.attach_session(session.session_id).turn("over", delivery="queue").ok


def test_a_cancel_without_a_number_is_not_sent_twice(forge: Forge, proxy: FaultProxy) -> None:
    """The second one might end another turn."""
    with forge.session(agent="fake") as session:
        session.turn("hi")
        for number in (None, 1):
            proxy.requests.clear()
            with proxy.failing(Fault("rst")):
                if number is None:
                    with pytest.raises(ForgeTransportError):
                        session.cancel()
                else:
                    assert session.cancel(number) is False
            assert proxy.count("POST", "/cancel") == (1 if number is None else 2)


def test_the_log_tells_what_is_tried_again_and_no_secret(
    app: Forge, forge: Forge, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upload = forge.upload_file(__file__)
    with forge.session(agent="fake") as session:
        with proxy.failing(Fault("rst", 60)):
            session.turn("my prompt", files=[upload])
        with proxy.failing(AGAIN["503"][0]):
            forge.get_file(upload)
        with proxy.failing(Fault("fin", 700)):
            session.stream("my prompt").result()
    told = [each.getMessage() for each in caplog.records if each.name == "clawdforge"]
    assert any(f"POST /sessions/{session.session_id}/turn is tried again in 0.0 s: " in each for each in told)
    assert any("GET /files/ff_… is tried again in 0.0 s: HTTP 503" in each for each in told)
    went_on = [each for each in caplog.records if "it goes on after event" in each.getMessage()]
    assert [each.levelname for each in went_on] == ["WARNING"]
    assert went_on[0].getMessage().startswith(f"the stream of {session.session_id} was cut (")
    assert went_on[0].getMessage().endswith(" in 0.0 s")
    for secret in (app._config.token, upload.file_token, "my prompt"):
        assert secret
        assert not any(secret in each for each in told)
