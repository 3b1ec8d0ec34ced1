from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clawdforge import FileToken
from clawdforge.client import _call, _calls
from clawdforge.client._call import Call


def body(call: Call) -> dict[str, Any]:
    assert isinstance(call.body, bytes)
    return dict(json.loads(call.body))


def test_a_run_carries_its_prompt_its_deadline_and_nothing_that_was_not_given() -> None:
    call = _calls.run("hello", timeout_secs=7, agent=None, model=None, schema=None)

    assert (call.method, call.path, call.patience_s) == ("POST", "/run", 7)
    assert body(call) == {"prompt": "hello", "timeout_secs": 7}


def test_files_are_given_as_tokens_or_as_what_an_upload_returned() -> None:
    upload = FileToken(ok=True, file_token="ff_two", ttl_secs=60, size=1)

    call = _calls.turn("sess_1", "look", timeout_secs=1, files=["ff_one", upload])

    assert body(call)["files"] == ["ff_one", "ff_two"]


def test_no_files_at_all_differ_from_files_that_were_not_given() -> None:
    assert body(_calls.run("x", timeout_secs=1, files=[]))["files"] == []


@pytest.mark.parametrize("prompt", ["", "   \n", None])
def test_an_empty_prompt_is_a_value_error(prompt: Any) -> None:
    with pytest.raises(ValueError, match="prompt is empty"):
        _calls.run(prompt, timeout_secs=1)


@pytest.mark.parametrize("session_id", ["", "  ", None])
def test_an_empty_id_is_a_value_error(session_id: Any) -> None:
    for make in (_calls.get_session, _calls.close_session, lambda sid: _calls.turn(sid, "x", timeout_secs=1)):
        with pytest.raises(ValueError, match="session_id is empty"):
            make(session_id)


def test_empty_names_and_tokens_are_value_errors() -> None:
    for make in (
        lambda: _calls.run("x", timeout_secs=1, files=[""]),
        lambda: _calls.run("x", timeout_secs=1, agent=""),
        lambda: _calls.create_session(patience_s=1, model=""),
        lambda: _calls.mint_token("", None),
        lambda: _calls.revoke_token(""),
    ):
        with pytest.raises(ValueError, match="is empty"):
            make()


def test_things_of_a_wrong_type_are_type_errors() -> None:
    for make in (
        lambda: _calls.run(7, timeout_secs=1),  # type: ignore[arg-type]  # wrong on purpose
        lambda: _calls.run("x", timeout_secs="1"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: _calls.run("x", timeout_secs=True),
        lambda: _calls.run("x", timeout_secs=1, files="ff_one"),
        lambda: _calls.run("x", timeout_secs=1, files=[Path("report.csv")]),  # type: ignore[list-item]  # the same
        lambda: _calls.mint_token("app", "10.0.0.0/8"),
        lambda: _calls.create_session(patience_s=1, modle="x"),  # type: ignore[call-arg]  # wrong on purpose
    ):
        with pytest.raises(TypeError):
            make()


def test_an_option_that_there_is_not_is_told_with_those_that_there_are() -> None:
    for what, make in {
        "run": lambda: _calls.run("x", timeout=3),  # type: ignore[call-arg]  # wrong on purpose
        "turn": lambda: _calls.turn("sess_1", "x", timeout=3),  # type: ignore[call-arg]  # wrong on purpose
        "session": lambda: _calls.create_session(patience_s=1, timeout=3),  # type: ignore[call-arg]  # the same
    }.items():
        with pytest.raises(
            TypeError, match=f"a {what} has no option 'timeout'; its options are .*schema.* timeout_secs"
        ):
            make()


def test_a_path_among_the_files_is_told_from_a_token() -> None:
    for path in ("report.csv", "./report", "/etc/hosts"):
        with pytest.raises(ValueError, match="upload_file"):
            _calls.run("x", files=[path])


def test_a_path_that_leads_nowhere_is_named() -> None:
    for path in ("../secret", "/etc/hosts", "data/", "a//b"):
        with pytest.raises(ValueError, match=f"a step of '{path}'"):
            _calls.fetch_file("sess_1", path)


@pytest.mark.parametrize(("seconds", "sent"), [(30.0, 30), (0.2, 1), (1.01, 2)])
def test_a_part_of_a_second_counts_as_one(seconds: float, sent: int) -> None:
    assert _call.checked_timeout(seconds) == sent


@pytest.mark.parametrize("seconds", [0, -1, 0.0, float("inf"), float("nan")])
def test_a_deadline_in_the_past_is_a_value_error(seconds: int) -> None:
    with pytest.raises(ValueError, match="timeout_secs"):
        _calls.run("x", timeout_secs=seconds)


def test_what_json_or_utf8_cannot_say_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        _calls.run("half \ud800 pair", timeout_secs=1)
    with pytest.raises(ValueError, match="surrogate"):
        _calls.get_session("sess_\ud800")
    with pytest.raises(ValueError, match="JSON compliant"):
        _calls.create_session(patience_s=1, meta={"x": float("nan")})


@pytest.mark.parametrize(
    ("name", "segment"),
    [("a/b", "a%2Fb"), ("../../healthz", "..%2F..%2Fhealthz"), ("a?b#c%", "a%3Fb%23c%25"), ("ü\n", "%C3%BC%0A")],
)
def test_an_id_stays_within_its_segment_of_the_path(name: str, segment: str) -> None:
    assert _calls.revoke_token(name).path == f"/admin/tokens/{segment}"
    assert _calls.get_session(name).path == f"/sessions/{segment}"


@pytest.mark.parametrize("name", [".", ".."])
def test_an_id_that_every_url_library_resolves_away_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must not be"):
        _calls.get_session(name)


def test_a_session_is_made_of_what_was_given_only() -> None:
    assert body(_calls.create_session(patience_s=1)) == {}
    assert body(_calls.create_session(patience_s=1, agent="codex", meta={})) == {"agent": "codex", "meta": {}}


def test_only_a_false_is_said_of_closed_sessions() -> None:
    assert _calls.list_sessions(include_closed=True).params == {}
    assert _calls.list_sessions(include_closed=False).params == {"include_closed": "false"}


def test_of_runs_and_usage_only_what_was_given_is_asked() -> None:
    assert _calls.list_runs().params == {}
    assert _calls.list_runs().at("abc").params == {"cursor": "abc"}
    assert _calls.list_sessions(include_closed=False, limit=5).params == {"include_closed": "false", "limit": "5"}
    assert _calls.usage(since=None, until=None, by=None).params == {}
    asked = _calls.usage(since=0, until=1_700_000_000.9, by="day").params
    assert asked == {"since": "0", "until": "1700000000", "by": "day"}
    assert _calls.get_run("run_1/../x").path == "/runs/run_1%2F..%2Fx"


def test_text_travels_as_utf8() -> None:
    call = _calls.run("grüße 🚲", timeout_secs=1)

    assert isinstance(call.body, bytes)
    assert "grüße 🚲".encode() in call.body


def test_only_the_health_check_goes_without_a_token() -> None:
    assert not _calls.healthz().authorized
    assert all(
        call.authorized for call in (_calls.agents(), _calls.list_tokens(), _calls.run("x", timeout_secs=1))
    )


def test_a_prompt_is_in_no_repr() -> None:
    assert "geheim" not in repr(_calls.run("geheim", timeout_secs=1))
