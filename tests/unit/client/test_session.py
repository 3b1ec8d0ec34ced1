from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import requests
import responses

from clawdforge import Forge, ForgeAPIError, ForgeError, ForgeProtocolError, ForgeTransportError

URL = "http://gateway.test:8800"
CREATED = {"ok": True, "session_id": "sess_1", "agent": "claude", "created_at": 5, "cwd": "/w", "agent_cwd": "/x"}
TURN = {
    "ok": True,
    "session_id": "sess_1",
    "turn_index": 1,
    "events": [{"type": "text", "content": "hi"}, {"type": "news"}],
    "stop_reason": "end_turn",
    "duration_ms": 3,
}

Sent = Callable[[], dict[str, Any]]


@pytest.fixture
def gateway(http: responses.RequestsMock) -> responses.RequestsMock:
    """A gateway that makes one session; each test adds what else it needs."""
    http.assert_all_requests_are_fired = False
    http.post(f"{URL}/sessions", json=CREATED)
    http.post(f"{URL}/sessions/sess_1/turn", json=TURN)
    return http


def calls(http: responses.RequestsMock) -> list[str]:
    return [f"{call.request.method} {str(call.request.url).removeprefix(URL)}" for call in http.calls]


def test_a_block_opens_and_closes_its_session(forge: Forge, gateway: responses.RequestsMock, sent: Sent) -> None:
    gateway.delete(f"{URL}/sessions/sess_1", json={"ok": True})

    opening = forge.session(agent="claude", meta={"ticket": 7}, effort="low")
    assert calls(gateway) == []

    with opening as session:
        assert sent() == {"agent": "claude", "meta": {"ticket": 7}, "effort": "low"}
        assert (session.session_id, session.agent, session.cwd, session.created_at) == (
            "sess_1",
            "claude",
            "/w",
            5,
        )
        assert not session.closed
        turn = session.turn("hello")
        assert sent() == {"prompt": "hello", "timeout_secs": 120}
        assert turn.text() == "hi"
        assert turn.events == TURN["events"]

    assert session.closed
    assert calls(gateway) == ["POST /sessions", "POST /sessions/sess_1/turn", "DELETE /sessions/sess_1"]


def test_create_session_creates_at_once_and_sends_only_what_was_given(
    forge: Forge, gateway: responses.RequestsMock, sent: Sent
) -> None:
    session = forge.create_session()

    assert sent() == {}
    assert session.session_id == "sess_1"
    assert gateway.calls[0].request.req_kwargs["timeout"] == 150  # type: ignore[attr-defined]


def test_the_default_model_is_for_runs(http: responses.RequestsMock, sent: Sent) -> None:
    http.post(f"{URL}/sessions", json=CREATED)

    with Forge(base_url=URL, default_model="haiku") as forge:
        forge.create_session(agent="claude", meta={})

    assert sent() == {"agent": "claude", "meta": {}}


def test_a_turn_sends_all_that_was_given(forge: Forge, gateway: responses.RequestsMock, sent: Sent) -> None:
    session = forge.create_session()

    session.turn("hello", files=["ff_1"], timeout_secs=9, schema={"type": "string"})

    assert sent() == {
        "prompt": "hello",
        "files": ["ff_1"],
        "timeout_secs": 9,
        "schema": {"type": "string"},
    }
    assert gateway.calls[-1].request.req_kwargs["timeout"] == 39  # type: ignore[attr-defined]


def test_an_empty_prompt_never_leaves(forge: Forge, gateway: responses.RequestsMock) -> None:
    session = forge.create_session()

    with pytest.raises(ValueError, match="prompt is empty"):
        session.turn("")

    assert calls(gateway) == ["POST /sessions"]


def test_the_state_is_the_gateways_record_as_it_was_sent(forge: Forge, gateway: responses.RequestsMock) -> None:
    record = {**CREATED, "live": True, "news": {"x": 1}}
    gateway.get(f"{URL}/sessions/sess_1", json=record)

    assert forge.create_session().state() == record


def test_closing_twice_tells_the_gateway_once(forge: Forge, gateway: responses.RequestsMock) -> None:
    gateway.delete(f"{URL}/sessions/sess_1", json={"ok": True})
    session = forge.create_session()

    session.close()
    session.close()

    assert calls(gateway) == ["POST /sessions", "DELETE /sessions/sess_1"]


def test_a_closed_session_takes_no_turn_but_tells_its_state(forge: Forge, gateway: responses.RequestsMock) -> None:
    gateway.delete(f"{URL}/sessions/sess_1", json={"ok": True})
    gateway.get(f"{URL}/sessions/sess_1", json={**CREATED, "live": False})
    session = forge.create_session()
    session.close()
    before = len(gateway.calls)

    with pytest.raises(ForgeError, match="sess_1 is closed"):
        session.turn("hello")
    with pytest.raises(ForgeError, match="closed"), session:
        raise AssertionError("the block must not begin")
    assert len(gateway.calls) == before

    assert session.state()["live"] is False


def test_a_session_is_entered_once(forge: Forge, gateway: responses.RequestsMock) -> None:
    gateway.delete(f"{URL}/sessions/sess_1", json={"ok": True})

    with forge.session() as session, pytest.raises(ForgeError, match="entered already"):  # noqa: SIM117
        with session:
            raise AssertionError("the block must not begin")

    assert calls(gateway) == ["POST /sessions", "DELETE /sessions/sess_1"]


def test_a_created_session_may_be_entered_and_is_not_made_again(
    forge: Forge, gateway: responses.RequestsMock
) -> None:
    gateway.delete(f"{URL}/sessions/sess_1", json={"ok": True})

    with forge.create_session() as session, pytest.raises(ForgeError, match="open already"):
        session.open()

    assert calls(gateway) == ["POST /sessions", "DELETE /sessions/sess_1"]


def test_before_it_opens_a_session_has_no_name_and_closing_it_costs_nothing(
    forge: Forge, gateway: responses.RequestsMock
) -> None:
    session = forge.session()

    for use in (lambda: session.session_id, lambda: session.turn("x"), session.state):
        with pytest.raises(ForgeError, match="not open yet"):
            use()
    session.close()
    assert session.closed
    with pytest.raises(ForgeError, match="closed"):
        session.open()

    assert calls(gateway) == []


def test_a_session_that_could_not_be_made_does_not_begin_its_block(
    forge: Forge, http: responses.RequestsMock
) -> None:
    http.post(
        f"{URL}/sessions", status=503, json={"detail": "claude is not installed", "code": "agent_unavailable"}
    )

    with pytest.raises(ForgeAPIError, match="claude is not installed"), forge.session():
        raise AssertionError("the block must not begin")


def test_a_session_without_a_name_is_a_protocol_error(forge: Forge, http: responses.RequestsMock) -> None:
    http.post(f"{URL}/sessions", json={**CREATED, "session_id": ""})

    with pytest.raises(ForgeProtocolError, match="session_id"):
        forge.create_session()


@pytest.mark.parametrize("fault", [requests.ConnectionError("gone"), 500])
def test_a_failing_close_does_not_hide_what_the_block_raised(
    forge: Forge, gateway: responses.RequestsMock, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    close = {"status": fault} if isinstance(fault, int) else {"body": fault}
    gateway.delete(f"{URL}/sessions/sess_1", **close)

    with caplog.at_level(logging.WARNING, "clawdforge"), pytest.raises(KeyError, match="mine"), forge.session():
        raise KeyError("mine")

    assert "could not close session sess_1" in caplog.text


def test_a_failing_close_in_finally_does_not_hide_it_either(
    forge: Forge, gateway: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.delete(f"{URL}/sessions/sess_1", status=500)

    def work() -> None:
        session = forge.create_session()
        try:
            raise KeyError("mine")
        finally:
            session.close()

    with caplog.at_level(logging.WARNING, "clawdforge"), pytest.raises(KeyError, match="mine"):
        work()

    assert "could not close session sess_1" in caplog.text


def test_a_failing_close_is_raised_where_the_block_succeeded_and_may_be_repeated(
    forge: Forge, gateway: responses.RequestsMock
) -> None:
    gateway.delete(f"{URL}/sessions/sess_1", body=requests.ConnectionError("gone"))
    gateway.delete(f"{URL}/sessions/sess_1", json={"ok": True})

    with pytest.raises(ForgeTransportError), forge.session() as session:
        session.turn("hello")

    assert not session.closed
    session.close()
    assert session.closed


def test_a_session_is_found_again_by_its_id(forge: Forge, gateway: responses.RequestsMock) -> None:
    gateway.get(f"{URL}/sessions/sess_1", json={**CREATED, "live": True, "closed_at": None})

    session = forge.attach_session("sess_1")

    assert (session.session_id, session.agent) == ("sess_1", "claude")
    assert (session.cwd, session.agent_cwd) == ("/w", "/x")
    assert session.turn("hello").ok
    assert calls(gateway) == ["GET /sessions/sess_1", "POST /sessions/sess_1/turn"]


def test_an_unknown_session_is_not_found(forge: Forge, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/sessions/sess_9", status=404, json={"detail": "session not found", "code": "not_found"})

    with pytest.raises(ForgeAPIError, match="session not found"):
        forge.attach_session("sess_9")
    with pytest.raises(ValueError, match="session_id is empty"):
        forge.attach_session("")


def test_an_id_from_a_hostile_gateway_stays_in_its_place(forge: Forge, http: responses.RequestsMock) -> None:
    http.post(f"{URL}/sessions", json={**CREATED, "session_id": "../admin/tokens/x"})
    http.delete(f"{URL}/sessions/..%2Fadmin%2Ftokens%2Fx", json={"ok": True})

    forge.create_session().close()


def test_a_repr_tells_where_the_session_stands(forge: Forge, gateway: responses.RequestsMock) -> None:
    gateway.delete(f"{URL}/sessions/sess_1", json={"ok": True})
    session = forge.session()
    shown = [repr(session)]
    with session:
        shown.append(repr(session))
    shown.append(repr(session))

    assert shown == ["<Session, not open yet>", "<Session sess_1 claude open>", "<Session sess_1 claude closed>"]
