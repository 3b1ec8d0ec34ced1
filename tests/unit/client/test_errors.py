from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

import clawdforge
from clawdforge import (
    ForgeAgentError,
    ForgeAPIError,
    ForgeAuthError,
    ForgeError,
    ForgeProtocolError,
    ForgeSchemaError,
    ForgeTimeoutError,
    ForgeTransportError,
    ForgeTurnTimeoutError,
    RunResult,
)
from clawdforge.errors import class_for


def test_one_except_clause_catches_them_all() -> None:
    for error in (ForgeTransportError, ForgeProtocolError, ForgeAPIError, ForgeAuthError):
        assert issubclass(error, ForgeError)
    assert issubclass(ForgeAuthError, ForgeAPIError)


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("cls", [ForgeAPIError, ForgeAuthError])
def test_an_api_error_survives_pickling_and_copying(again: object, cls: type[ForgeAPIError]) -> None:
    error = cls(429, [{"msg": "slow"}], "rate_limited", "req_1", retry_after=5, body={"session_id": "sess_1"})

    same = again(error)  # type: ignore[operator]  # one of the three above

    assert type(same) is cls
    assert vars(same) == vars(error)
    assert str(same) == str(error)
    assert same.session_id == "sess_1"


@pytest.mark.parametrize("cls", [ForgeError, ForgeTransportError, ForgeProtocolError])
def test_the_others_survive_pickling(cls: type[ForgeError]) -> None:
    same = pickle.loads(pickle.dumps(cls("what happened")))

    assert (type(same), same.reason) == (cls, "what happened")


ANSWER = RunResult(ok=True, result="red", duration_ms=1, stop_reason="end_turn", schema_errors=["no"])


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "error",
    [
        ForgeTransportError("cut", session_id="sess_1", turn_index=3),
        ForgeTransportError("refused", sent=False),
        ForgeTimeoutError("late", session_id="sess_1"),
        ForgeSchemaError("the answer is no Colours", ANSWER),
        ForgeSchemaError("the answer is no Colours"),
        ForgeTurnTimeoutError(504, "late", "timeout", body={"phase": "idle", "events": [{"type": "text"}]}),
        ForgeAgentError(502, "gone", "agent_failed", body={"stderr_tail": "ouch", "turn_index": 2}),
        ForgeError("closed"),
    ],
    ids=repr,
)
def test_all_that_an_error_tells_survives(again: Callable[[ForgeError], ForgeError], error: ForgeError) -> None:
    same = again(error)
    assert (type(same), str(same), same.args, vars(same)) == (type(error), str(error), error.args, vars(error))


def test_every_error_has_its_place_among_them() -> None:
    for status, code, cls in (
        (401, None, ForgeAuthError),
        (409, "turn_in_progress", clawdforge.ForgeBusyError),
        (409, "name_taken", clawdforge.ForgeConflictError),
        (500, "internal", ForgeAPIError),
        (504, "timeout", ForgeTurnTimeoutError),
        (504, None, ForgeAPIError),
    ):
        assert class_for(status, code) is cls


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("no", "HTTP 422 invalid: no"),
        ([{"loc": ["a", 1], "message": "bad"}, "worse"], "HTTP 422 invalid: a.1: bad; worse"),
        ({"error": "no"}, "HTTP 422 invalid: no"),
        ({"loc": "a", "msg": "no"}, "HTTP 422 invalid: no"),
        ({"why": object}, 'HTTP 422 invalid: {"why":"<class \'object\'>"}'),
        (None, "HTTP 422 invalid: no reason given"),
        (7, "HTTP 422 invalid: 7"),
        ("x" * 1000, "HTTP 422 invalid: " + "x" * 481 + "…"),
    ],
)
def test_a_reason_is_one_line_whatever_was_told(detail: object, told: str) -> None:
    assert ForgeAPIError(422, detail, "invalid").reason == told


def test_what_to_do_next_is_told() -> None:
    assert str(ForgeAPIError(429, "slow.", "rate_limited", retry_after=3)).endswith(
        "slow. Wait 3 s and try again."
    )
    assert str(ForgeTransportError("refused", sent=False)).startswith("refused. Does a gateway listen there?")
    assert str(ForgeTransportError("cut", turn_index=3)) == "cut. The turn may go on: session.get_turn(3) tells."
    of_turn = ForgeTransportError("cut", session_id="sess_1")
    assert of_turn.next_step == "The turn may go on: session.turns() tells."
    of_run = ForgeTransportError("cut", session_id="run_1", turn_index=1)
    assert of_run.next_step == "The run may go on: forge.get_run('run_1') tells."
    assert str(ForgeTransportError("cut")) == "cut"
    assert str(ForgeSchemaError("no City", ANSWER)) == "no City. What came is in .answer."
    assert str(ForgeProtocolError("a page.")).startswith("a page. Is this a gateway?")
    assert (str(ForgeError("closed")), str(ForgeError())) == ("closed", "")
    bare = ForgeAgentError(502, "gone", "agent_failed", body={"session_id": 7, "turn_index": "x", "events": {}})
    assert (bare.session_id, bare.turn_index, bare.events, bare.stop_reason) == (None, None, [], None)
    assert (bare.stderr_tail, bare.limit) == (None, None)
    assert bare.next_step == "What was seen is in .events."
    said = ForgeAgentError(502, "gone", "agent_failed", body={"stderr_tail": "ouch"})
    assert said.next_step == "What was seen is in .events, the agent's last words in .stderr_tail."
    assert ForgeTurnTimeoutError(504, "late", "timeout").phase is None
    for phase, option in (("total", "timeout_secs"), ("idle", "idle_timeout_secs"), ("new", "timeout_secs")):
        late = ForgeTurnTimeoutError(504, "late", "timeout", body={"phase": phase})
        assert f"more time ({option}=)" in str(late)


def test_an_app_can_make_one_for_its_own_tests() -> None:
    error = ForgeAPIError(404, "session not found")

    assert (error.code, error.request_id, error.retry_after, error.body) == (None, None, None, {})
    assert str(error) == "HTTP 404: session not found"


@pytest.mark.usefixtures("no_collection")
def test_a_detail_as_deep_as_python_allows_still_has_a_message() -> None:
    detail: list[object] = []
    for _ in range(100_000):
        detail = [detail]

    assert "HTTP 500" in str(clawdforge.ForgeAPIError(500, {"why": detail}))
