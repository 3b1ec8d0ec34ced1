from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from clawdforge import ForgeAPIError, ForgeAuthError, ForgeProtocolError
from clawdforge.client import _api
from clawdforge.client._api import Reply

pytestmark = pytest.mark.usefixtures("no_collection")


def reply(status: int, body: Any = b"", **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(
        status, CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()}), raw
    )


def problem(status: int, body: Any = b"", token: str | None = None, **headers: str) -> ForgeAPIError:
    with pytest.raises(ForgeAPIError) as caught:
        _api.read(reply(status, body, **headers), token=token)
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_success_is_its_object_exactly_as_it_was_sent(status: int) -> None:
    body = {"ok": True, "later": {"a": [1, None, "ü"]}}

    assert _api.read(reply(status, body)) == body


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>hello</html>",
        b"[1]",
        b'"text"',
        b"null",
        b"{",
        b'{"a": NaN}',
        b"\xff\xfe\xff",
        b'{"n": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"a":' * 100_000,
    ],
)
def test_a_success_that_is_no_json_object_is_a_protocol_error(raw: bytes) -> None:
    with pytest.raises(ForgeProtocolError) as caught:
        _api.read(reply(200, raw))

    assert len(str(caught.value)) < 400


def test_an_error_of_the_contract_keeps_all_its_fields() -> None:
    body = {
        "detail": "the agent took too long",
        "code": "timeout",
        "request_id": "req_1",
        "session_id": "sess_1",
        "turn_index": 3,
        "stop_reason": "timeout",
        "phase": "idle",
    }

    error = problem(504, body, Retry_After="12")

    assert (error.status_code, error.detail, error.code, error.request_id) == (
        504,
        "the agent took too long",
        "timeout",
        "req_1",
    )
    assert (error.session_id, error.turn_index, error.stop_reason) == ("sess_1", 3, "timeout")
    assert error.retry_after == 12
    assert error.body["phase"] == "idle"
    assert error.limit is None
    assert error.reason == "HTTP 504 timeout: the agent took too long (req_1)"
    assert str(error) == f"{error.reason}. Give it more time (idle_timeout_secs=); what was seen is in .events."


@pytest.mark.parametrize(("told", "read"), [("memory", "memory"), (7, None), (None, None)])
def test_the_limit_that_an_agent_ended_for_is_read(told: object, read: str | None) -> None:
    body = {"detail": "too much", "code": "agent_failed", "limit": told}
    assert problem(502, body).limit == read


@pytest.mark.parametrize("status", [401, 403])
def test_who_asked_is_an_error_of_its_own(status: int) -> None:
    assert isinstance(problem(status, {"detail": "no"}), ForgeAuthError)


@pytest.mark.parametrize("status", [400, 404, 409, 410, 422, 429, 500, 502, 503, 504, 302, 100])
def test_other_errors_are_not_about_who_asked(status: int) -> None:
    assert not isinstance(problem(status, {"detail": "no"}), ForgeAuthError)


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("a sentence", "a sentence"),
        ([{"loc": ["body", "prompt"], "msg": "Field required"}], "body.prompt: Field required"),
        ([{"loc": ["a"], "message": "one"}, "two"], "a: one; two"),
        ({"message": "inside"}, "inside"),
        ({"why": 7}, '{"why":7}'),
        ([], "no reason given"),
        ("", "no reason given"),
        (17, "17"),
    ],
)
def test_detail_is_kept_as_it_came_and_said_as_a_sentence(detail: Any, said: str) -> None:
    error = problem(422, {"detail": detail})

    assert error.detail == detail
    assert str(error) == f"HTTP 422: {said}"


def test_a_page_of_a_proxy_is_an_api_error_with_an_excerpt() -> None:
    error = problem(502, b"<html>\r\n<h1>Bad Gateway</h1>" + b"x" * 100_000)

    assert str(error).startswith("HTTP 502: <html> <h1>Bad Gateway</h1>")
    assert len(str(error)) < 300
    assert error.body == {}


@pytest.mark.parametrize(
    ("raw", "said"), [(b"", "an empty body"), (b"\xff\xff", "��"), (b'{"error": "nope"}', "nope"), (b"[1]", "[1]")]
)
def test_an_error_body_of_any_kind_is_an_api_error(raw: bytes, said: str) -> None:
    assert str(problem(500, raw)) == f"HTTP 500: {said}"


def test_a_redirect_says_where_it_points() -> None:
    error = problem(307, b"", Location="https://elsewhere.test/run")

    assert str(error) == "HTTP 307: redirected to https://elsewhere.test/run, which is not followed"


def test_the_request_id_is_taken_from_the_header_where_the_body_has_none() -> None:
    assert problem(500, b"oops", X_Request_Id="req_9").request_id == "req_9"


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0), ("30", 30), ("-1", None), ("soon", None), ("9" * 400, None), ("²", None)]
)
def test_only_a_sane_retry_after_is_believed(value: str, seconds: int | None) -> None:
    assert problem(429, {"detail": "slow down"}, Retry_After=value).retry_after == seconds


def test_fields_of_wrong_types_are_not_passed_on() -> None:
    error = problem(500, {"detail": "x", "code": 5, "request_id": [], "session_id": 1, "turn_index": "1"})

    assert (error.code, error.request_id, error.session_id, error.turn_index) == (None, None, None, None)


@pytest.mark.parametrize("body", [b"<p>Authorization: Bearer cf_mine</p>", {"detail": "unknown: cf_mine"}])
def test_an_error_that_repeats_the_token_does_not_get_it_into_the_message(body: Any) -> None:
    error = problem(500, body, token="cf_mine")

    assert "cf_mine" not in str(error) + repr(error) + repr(error.detail) + repr(error.body)
    assert "[token]" in str(error)


def test_control_characters_do_not_reach_the_message() -> None:
    assert str(problem(500, {"detail": "a\nb\x1b[31mc\x9bd"})) == "HTTP 500: a b [31mc d"


def test_values_are_read_with_what_a_newer_gateway_adds() -> None:
    run = _api.run_result(
        {"ok": True, "result": {"a": 1}, "duration_ms": 5, "stop_reason": "end_turn", "from_the_future": 1}
    )

    assert (run.ok, run.result, run.duration_ms, run.stop_reason) == (True, {"a": 1}, 5, "end_turn")


def test_an_older_gateway_may_leave_out_what_is_not_the_point() -> None:
    assert _api.run_result({"ok": True, "result": "x"}).stop_reason == ""
    assert _api.turn_result({"ok": True, "events": []}).turn_index == 0
    assert _api.file_token({"file_token": "ff_1"}).size == 0
    assert _api.app_token({"token": "cf_1"}).ip_cidrs == []
    assert _api.session_created({"session_id": "sess_1"}).cwd == ""


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (_api.run_result, {"ok": "yes"}),
        (_api.run_result, {"duration_ms": True}),
        (_api.turn_result, {"events": {}}),
        (_api.file_token, {}),
        (_api.file_token, {"file_token": 7}),
        (_api.app_token, {"name": "x"}),
        (_api.session_created, {"session_id": None}),
        (lambda body: _api.rows(body, "tokens"), {"tokens": {}}),
        (lambda body: _api.rows(body, "tokens"), {}),
    ],
)
def test_a_value_without_its_point_or_of_a_wrong_type_is_a_protocol_error(
    read: Callable[[dict[str, Any]], Any], body: dict[str, Any]
) -> None:
    with pytest.raises(ForgeProtocolError):
        read(body)


def test_an_app_token_is_in_no_repr() -> None:
    assert "cf_shown_once" not in repr(_api.app_token({"token": "cf_shown_once"}))


def test_the_text_of_a_turn_survives_whatever_stands_among_its_events() -> None:
    events = [
        {"type": "text", "content": "a"},
        "text",
        None,
        17,
        {"type": "text"},
        {"type": "text", "content": 5},
        {"type": ["text"], "content": "x"},
        {"content": "y"},
        {"type": "thinking", "content": "hm"},
        {"type": "text", "content": "b"},
    ]

    turn = _api.turn_result({"ok": True, "events": events})

    assert turn.text() == "ab"
    assert turn.events == events
