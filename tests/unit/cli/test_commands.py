"""What each command sends, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from click.testing import Result

URL = "http://gateway.test:8800"
RUN = {"ok": True, "result": "hello", "duration_ms": 12, "stop_reason": "end_turn"}
CREATED = {"ok": True, "session_id": "sess_1", "agent": "claude", "created_at": 5, "cwd": "/w", "agent_cwd": "/x"}
RECORD = {**CREATED, "live": True, "turn_count": 2, "meta": {"a": "ü"}}
TURN = {
    "ok": True,
    "session_id": "sess_1",
    "turn_index": 1,
    "events": [{"type": "text", "content": "hi "}, {"type": "text", "content": "there"}],
    "stop_reason": "end_turn",
    "duration_ms": 3,
}
FILE = {"ok": True, "file_token": "ff_1", "name": "a.txt", "size": 5, "sha256": "ab"}
UPLOAD = {"ok": True, "file_token": "ff_1", "ttl_secs": 3600, "size": 5}

Invoke = Callable[..., Result]
Sent = Callable[[], dict[str, Any]]


def test_run_prints_the_text_of_the_result_and_nothing_else(
    invoke: Invoke, http: responses.RequestsMock, sent: Sent
) -> None:
    http.post(f"{URL}/run", json=RUN)

    result = invoke("run", "say hello")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "hello\n", "")
    assert sent() == {"prompt": "say hello", "timeout_secs": 120}
    assert http.calls[0].request.headers["Authorization"] == "Bearer cf_test"


def test_run_passes_on_all_that_was_given(
    invoke: Invoke, http: responses.RequestsMock, sent: Sent, tmp_path: Path
) -> None:
    http.post(f"{URL}/files", json=UPLOAD)
    http.post(f"{URL}/files", json={**UPLOAD, "file_token": "ff_2"})
    http.post(f"{URL}/run", json={**RUN, "result": {"n": 1}, "schema_valid": True})
    for name, content in {"a.txt": "a", "b.txt": "b", "s.json": '{"type": "object"}'}.items():
        (tmp_path / name).write_text(content)

    options = ["--agent", "codex", "--model", "m", "--system", "s", "--effort", "low", "--permissions", "deny"]
    files = ["--file", tmp_path / "a.txt", "--file", tmp_path / "b.txt"]
    result = invoke("run", "p", *options, *files, "--timeout", "9", "--schema", tmp_path / "s.json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"n": 1}
    assert sent() == {
        "prompt": "p",
        "agent": "codex",
        "model": "m",
        "system": "s",
        "effort": "low",
        "permissions": "deny",
        "files": ["ff_1", "ff_2"],
        "timeout_secs": 9,
        "schema": {"type": "object"},
    }


def test_run_reads_its_prompt_from_stdin(invoke: Invoke, http: responses.RequestsMock, sent: Sent) -> None:
    http.post(f"{URL}/run", json=RUN)

    invoke("run", "-", stdin="grüße\nvon stdin\n")

    assert sent()["prompt"] == "grüße\nvon stdin\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (["run", ""], None, "empty"),
        (["run", "-"], b"", "empty"),
        (["run", "-"], b"\xff\xfe", "not UTF-8"),
        (["run", "x", "--timeout", "0"], None, "range"),
        (["run", "x", "--timeout", "soon"], None, "integer"),
        (["run", "x", "--effort", "extreme"], None, "extreme"),
        (["run", "x", "--permissions", "all"], None, "all"),
        (["run", "x", "--file", "missing.txt"], None, "missing.txt"),
        (["run", "x", "--schema", "missing.json"], None, "missing.json"),
        (["session", "new", "--meta", "[1]"], None, "not a JSON object"),
        (["session", "new", "--meta", "{"], None, "Expecting"),
        (["session", "new", "--meta", "[" * 100_000], None, "too deep"),
        (["upload", "missing.bin"], None, "missing.bin"),
        (["--url", "nowhere", "run", "x"], None, "the gateway's URL"),
        (["--token", "cf_\nx", "run", "x"], None, "the token holds"),
        (["session", "get", ""], None, "session_id is empty"),
        (["token", "mint", ""], None, "name is empty"),
    ],
)
def test_what_cannot_be_right_is_said_before_anything_is_sent(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, arguments: list[str], stdin: bytes | None, says: str
) -> None:
    monkeypatch.setenv("CLAWDFORGE_ADMIN_TOKEN", "admin")
    result = invoke(*arguments, stdin=stdin)

    assert (result.exit_code, result.stdout) == (2, "")
    assert says in " ".join(result.stderr.split())


def test_a_schema_that_is_none_is_wrong_usage(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    for content in (b"[]", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        result = invoke("run", "x", "--schema", path)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "schema.json" in result.stderr


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        ({"ok": False, "result": "", "stop_reason": "refusal"}, ""),
        ({"ok": False, "result": "I will not", "stop_reason": "refusal"}, "I will not\n"),
        ({"ok": False, "result": None, "stop_reason": "end_turn", "empty": True}, ""),
        ({"ok": True, "result": "x", "schema_valid": False, "schema_errors": ["no object"]}, "x\n"),
    ],
)
def test_an_answer_that_answers_nothing_exits_with_6(
    invoke: Invoke, http: responses.RequestsMock, answer: dict[str, Any], printed: str
) -> None:
    http.post(f"{URL}/run", json={**RUN, **answer})

    result = invoke("run", "x")

    assert (result.exit_code, result.stdout) == (6, printed)
    assert result.stderr.startswith("Error: the ")


def test_a_result_that_is_falsy_is_printed_all_the_same(invoke: Invoke, http: responses.RequestsMock) -> None:
    for value in (0, False, [], {}):
        http.post(f"{URL}/run", json={**RUN, "result": value})

    assert [invoke("run", "x").stdout for _ in range(4)] == ["0\n", "false\n", "[]\n", "{}\n"]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_answer_too_deep_to_print_is_no_traceback(
    invoke: Invoke, http: responses.RequestsMock, flags: list[str]
) -> None:
    exit_codes = set()
    # How deep Python itself can go: about 1000 in 3.11, several thousands since.
    for depth in (*range(500, 1000, 20), *range(1000, 20_000, 1000)):
        body = '{"ok": true, "stop_reason": "end_turn", "result": ' + "[" * depth + "]" * depth + "}"
        http.post(f"{URL}/run", body=body)
        exit_codes.add(invoke("run", "x", *flags).exit_code)

    assert 5 in exit_codes
    assert exit_codes <= {0, 5}


def test_a_session_from_new_to_close(invoke: Invoke, http: responses.RequestsMock, sent: Sent) -> None:
    http.post(f"{URL}/sessions", json=CREATED)
    http.get(f"{URL}/sessions/sess_1", json=RECORD)
    http.post(f"{URL}/sessions/sess_1/turn", json=TURN)
    http.delete(f"{URL}/sessions/sess_1", json={"ok": True})

    assert invoke("session", "new", "--agent", "claude", "--meta", '{"t": 1}').stdout == "sess_1\n"
    assert sent() == {"agent": "claude", "meta": {"t": 1}}
    assert invoke("session", "turn", "sess_1", "hello", "--timeout", "7").stdout == "hi there\n"
    assert sent() == {"prompt": "hello", "timeout_secs": 7}
    record = invoke("session", "get", "sess_1").stdout
    assert "session_id: sess_1\n" in record
    assert 'meta: {"a": "ü"}\n' in record
    closed = invoke("session", "close", "sess_1")
    assert (closed.exit_code, closed.stdout, closed.stderr) == (0, "", "Closed sess_1.\n")


def test_a_turn_with_a_result_prints_the_result(invoke: Invoke, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/sessions/sess_1", json=RECORD)
    http.post(f"{URL}/sessions/sess_1/turn", json={**TURN, "result": {"n": 1}, "schema_valid": True})

    assert json.loads(invoke("session", "turn", "sess_1", "x").stdout) == {"n": 1}


def test_a_turn_that_was_refused_exits_with_6(invoke: Invoke, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/sessions/sess_1", json=RECORD)
    http.post(f"{URL}/sessions/sess_1/turn", json={**TURN, "ok": False, "events": [], "stop_reason": "refusal"})

    result = invoke("session", "turn", "sess_1", "x")

    assert (result.exit_code, result.stdout) == (6, "")
    assert "refusal" in result.stderr


def test_sessions_are_listed_as_lines_that_scripts_can_cut(invoke: Invoke, http: responses.RequestsMock) -> None:
    rows = [
        {"session_id": "sess_2", "agent": "cl\taude\n", "turn_count": 3, "created_at": 0, "last_turn_at": None},
        {"session_id": "sess_1", "agent": "codex", "turn_count": 0, "created_at": 10**30, "closed_at": True},
        "nonsense",
    ]
    http.get(f"{URL}/sessions", json={"ok": True, "sessions": rows, "count": 2})

    lines = invoke("session", "list", "--open").stdout.splitlines()

    assert lines[0].split("\t") == ["SESSION", "AGENT", "TURNS", "CREATED", "LAST TURN", "CLOSED"]
    assert lines[1].split("\t") == ["sess_2", "cl aude", "3", "1970-01-01 00:00:00Z", "-", "-"]
    assert lines[2].split("\t") == ["sess_1", "codex", "0", str(10**30), "-", "-"]
    assert len(lines) == 3
    assert str(http.calls[0].request.url).endswith("?include_closed=false")


def test_an_upload_prints_its_token(invoke: Invoke, http: responses.RequestsMock, tmp_path: Path) -> None:
    http.post(f"{URL}/files", json=UPLOAD)
    path = tmp_path / "notes.txt"
    path.write_text("hello")

    assert invoke("upload", path, "--ttl", "60").stdout == "ff_1\n"
    body = http.calls[0].request.body
    assert isinstance(body, bytes)
    assert b"hello" in body
    assert b'name="ttl_secs"\r\n\r\n60\r\n' in body


def test_an_upload_is_shown_and_dropped(invoke: Invoke, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/files/ff_1", json=FILE)
    http.delete(f"{URL}/files/ff_1", json={"ok": True, "file_token": "ff_1"})

    assert "name: a.txt\n" in invoke("file", "get", "ff_1").stdout
    assert invoke("file", "delete", "ff_1").stderr == "Deleted ff_1.\n"
    assert [call.request.method for call in http.calls] == ["GET", "DELETE"]


def test_the_global_options_stand_before_or_after_the_command(
    invoke: Invoke, http: responses.RequestsMock
) -> None:
    http.post("http://other.test/run", json=RUN)

    here = ["--url", "http://other.test", "--token", "cf_other", "--json"]
    before, after = invoke(*here, "run", "x"), invoke("run", "x", *here)

    assert json.loads(before.stdout) == json.loads(after.stdout)
    assert {call.request.headers["Authorization"] for call in http.calls} == {"Bearer cf_other"}


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["run", "x"], "result"),
        (["session", "new"], "live"),
        (["session", "turn", "sess_1", "x"], "events"),
        (["session", "get", "sess_1"], "live"),
        (["session", "list"], "sessions"),
        (["session", "close", "sess_1"], "session_id"),
        (["upload", __file__], "file_token"),
        (["file", "get", "ff_1"], "sha256"),
        (["file", "delete", "ff_1"], "file_token"),
        (["token", "mint", "app"], "token"),
        (["token", "list"], "tokens"),
        (["token", "revoke", "app"], "name"),
    ],
)
def test_json_is_exactly_one_document(
    invoke: Invoke,
    http: responses.RequestsMock,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    key: str,
) -> None:
    monkeypatch.setenv("CLAWDFORGE_ADMIN_TOKEN", "admin")
    http.assert_all_requests_are_fired = False
    http.get(f"{URL}/files/ff_1", json=FILE)
    http.delete(f"{URL}/files/ff_1", json={"ok": True, "file_token": "ff_1"})
    http.post(f"{URL}/run", json=RUN)
    http.post(f"{URL}/files", json=UPLOAD)
    http.post(f"{URL}/sessions", json=CREATED)
    http.get(f"{URL}/sessions", json={"ok": True, "sessions": [], "count": 0})
    http.get(f"{URL}/sessions/sess_1", json=RECORD)
    http.post(f"{URL}/sessions/sess_1/turn", json=TURN)
    http.delete(f"{URL}/sessions/sess_1", json={"ok": True})
    http.post(f"{URL}/admin/tokens", json={"ok": True, "name": "app", "token": "cf_new"})
    http.get(f"{URL}/admin/tokens", json={"ok": True, "tokens": [], "count": 0})
    http.delete(f"{URL}/admin/tokens/app", json={"ok": True, "name": "app"})

    result = invoke("--json", *arguments)

    assert (result.exit_code, result.stderr) == (0, "")
    assert key in json.loads(result.stdout)
    assert result.stdout.isascii()


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "next_step"),
    [
        (401, "unauthorized", 3, "clawdforge token mint"),
        (403, "ip_not_allowed", 3, "CLAWDFORGE_ALLOW_CIDRS"),
        (404, "not_found", 4, "clawdforge session list"),
        (409, "turn_in_progress", 4, "Wait"),
        (410, "session_closed", 4, "clawdforge session new"),
        (422, "invalid", 4, ""),
        (429, "too_many_turns", 4, "Wait 7 s"),
        (500, "internal", 5, ""),
        (502, "agent_failed", 5, "log"),
        (503, "agent_unavailable", 5, "clawdforge agents"),
        (504, "timeout", 5, "--timeout"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_refusal_says_what_why_and_what_next(
    invoke: Invoke,
    http: responses.RequestsMock,
    status: int,
    code: str,
    exit_code: int,
    next_step: str,
    as_json: bool,
) -> None:
    headers = {"Retry-After": "7"} if status == 429 else {}
    http.post(f"{URL}/run", status=status, json={"detail": "the reason", "code": code}, headers=headers)

    result = invoke("run", "x", *(["--json"] if as_json else []))

    assert result.exit_code == exit_code
    assert result.stderr.startswith(f"Error: HTTP {status}")
    assert "the reason" in result.stderr
    assert next_step in result.stderr
    assert ("Next:" in result.stderr) == bool(next_step)
    if as_json:
        document = json.loads(result.stdout)
        assert document["ok"] is False
        assert (document["error"]["status_code"], document["error"]["exit_code"]) == (status, exit_code)
    else:
        assert result.stdout == ""


def test_the_last_words_of_an_agent_are_told(invoke: Invoke, http: responses.RequestsMock) -> None:
    body = {"detail": "the agent crashed", "code": "agent_failed", "stderr_tail": "panic: \x1b[31mno disk\n"}
    http.post(f"{URL}/run", status=502, json=body)

    result = invoke("run", "x")

    assert result.exit_code == 5
    assert "panic: ␛[31mno disk\n" in result.stderr


def test_no_gateway_is_1_and_something_else_there_is_5(invoke: Invoke, http: responses.RequestsMock) -> None:
    http.post(f"{URL}/run", body=requests.ConnectionError("refused"))
    http.post(f"{URL}/run", body="<html>")

    gone, other = invoke("run", "x"), invoke("run", "x")

    assert (gone.exit_code, other.exit_code) == (1, 5)
    assert "clawdforge serve" in gone.stderr
    assert "not as a gateway" in other.stderr


def test_a_turn_of_a_session_list_that_is_none_is_no_gateway(invoke: Invoke, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/sessions", json={"ok": True})

    assert invoke("session", "list").exit_code == 5
