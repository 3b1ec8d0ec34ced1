"""How a command fails: each of the SDK's exceptions has its exit code, and advice in the words of a shell."""

from __future__ import annotations

import pytest

from clawdforge import errors
from clawdforge.cli.failures import Exit, Failure, NoAnswer, from_error
from clawdforge.errors import ForgeAPIError, ForgeError


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (401, "unauthorized", Exit.AUTH),
        (403, "ip_not_allowed", Exit.AUTH),
        (404, "not_found", Exit.REFUSED),
        (409, "turn_in_progress", Exit.REFUSED),
        (409, "name_taken", Exit.REFUSED),
        (410, "session_closed", Exit.REFUSED),
        (422, "invalid", Exit.REFUSED),
        (429, "budget_exceeded", Exit.REFUSED),
        (502, "agent_failed", Exit.GATEWAY),
        (502, "interrupted", Exit.GATEWAY),
        (503, "agent_unavailable", Exit.GATEWAY),
        (504, "timeout", Exit.GATEWAY),
        (507, "storage_full", Exit.GATEWAY),
    ],
)
def test_what_the_gateway_says_has_an_exit_code_and_its_own_advice(
    status: int, code: str, exit_code: Exit
) -> None:
    error = errors.class_for(status, code)(status, "the reason", code, body={"detail": "the reason", "code": code})
    failure = from_error(error, "http://x")

    assert failure.exit_code == exit_code
    assert failure.message == f"HTTP {status} {code}: the reason"
    # The SDK's advice is for programs: nobody can type `forge.session()` in a shell.
    assert "forge." not in failure.hint
    assert "=" not in failure.hint


@pytest.mark.parametrize(
    ("error", "exit_code", "hint"),
    [
        (errors.ForgeTransportError("refused"), Exit.TRANSPORT, "clawdforge serve"),
        (errors.ForgeTimeoutError("silence"), Exit.TRANSPORT, "clawdforge serve"),
        (errors.ForgeProtocolError("no JSON"), Exit.GATEWAY, "--url"),
        (errors.ForgeSchemaError("no such type"), Exit.NO_ANSWER, "another way"),
        (ForgeError("closed"), Exit.REFUSED, ""),
        (ValueError("empty"), Exit.USAGE, "--help"),
        (TypeError("no option"), Exit.USAGE, "--help"),
    ],
)
def test_every_other_exception_has_one_too(error: Exception, exit_code: Exit, hint: str) -> None:
    failure = from_error(error, "http://x")

    assert failure.exit_code == exit_code
    assert hint in failure.hint
    assert bool(hint) == bool(failure.hint)


def test_no_class_of_the_sdk_is_forgotten() -> None:
    known = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ForgeError)]

    assert len(known) > 15
    for each in known:
        made = each(500, "x") if issubclass(each, ForgeAPIError) else each("x")
        assert isinstance(from_error(made, "http://x"), Failure)


def test_the_agents_last_words_are_told() -> None:
    error = errors.ForgeAgentError(502, "it crashed", "agent_failed", body={"stderr_tail": "boom\n"})

    assert from_error(error, "").message.endswith("\nThe agent's last words:\nboom")


def test_of_an_answer_that_is_none_stdout_gets_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    NoAnswer("none").show(as_json=True)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: none\nNext:  ")


@pytest.mark.parametrize(
    ("session_id", "hint"),
    [("run_1", "\n       What it said before: clawdforge logs run_1"), ("sess_1", "clawdforge logs sess_1#3")],
)
def test_where_that_is_which_was_seen_of_a_turn_is_told(session_id: str, hint: str) -> None:
    seen = {"session_id": session_id, "turn_index": 3, "events": [{"type": "text", "content": "so far"}]}
    error = errors.class_for(502, "agent_failed")(502, "it crashed", "agent_failed", body=seen)

    assert from_error(error, "http://x").hint.endswith(hint)


@pytest.mark.parametrize(("status", "exit_code"), [(404, Exit.REFUSED), (501, Exit.GATEWAY), (502, Exit.GATEWAY)])
def test_another_servers_page_is_not_shown_as_a_gateways_answer(status: int, exit_code: Exit) -> None:
    failure = from_error(errors.class_for(status, None)(status, "<html><p>a page</html>"), "http://x")

    assert (failure.exit_code, failure.message) == (
        exit_code,
        f"http://x answers, but not as a gateway: HTTP {status}",
    )
    assert "--url" in failure.hint
