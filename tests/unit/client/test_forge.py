"""The calls of a Forge as they go over the wire; HTTP is intercepted the way apps' own tests do it."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import responses.matchers
import urllib3

from clawdforge import (
    AppToken,
    FileToken,
    Forge,
    ForgeAPIError,
    ForgeAuthError,
    ForgeError,
    ForgeProtocolError,
    ForgeTransportError,
    RunResult,
)

URL = "http://gateway.test:8800"
TOKEN = "cf_unit-test-token-0123456789"
RUN = {"ok": True, "result": {"a": 1}, "duration_ms": 12, "stop_reason": "end_turn"}
UPLOAD = {"ok": True, "file_token": "ff_1", "ttl_secs": 3600, "size": 5}

Sent = Callable[[], dict[str, Any]]


def test_a_run_is_one_post_with_the_token(forge: Forge, http: responses.RequestsMock, sent: Sent) -> None:
    http.post(f"{URL}/run", json=RUN)

    result = forge.run("hello")

    assert result == RunResult(ok=True, result={"a": 1}, duration_ms=12, stop_reason="end_turn")
    assert sent() == {"prompt": "hello", "timeout_secs": 120}
    request = http.calls[0].request
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["Content-Type"] == "application/json"


def test_a_run_sends_all_that_was_given(forge: Forge, http: responses.RequestsMock, sent: Sent) -> None:
    http.post(f"{URL}/run", json=RUN)

    forge.run(
        "hello",
        agent="codex",
        model="m",
        system="s",
        system_mode="replace",
        effort="high",
        files=["ff_1"],
        timeout_secs=9,
        schema={"type": "object"},
        permissions="deny",
        mode="plan",
    )

    assert sent() == {
        "prompt": "hello",
        "agent": "codex",
        "model": "m",
        "system": "s",
        "system_mode": "replace",
        "effort": "high",
        "files": ["ff_1"],
        "timeout_secs": 9,
        "schema": {"type": "object"},
        "permissions": "deny",
        "mode": "plan",
    }


def test_the_defaults_are_the_forges_own(http: responses.RequestsMock, sent: Sent) -> None:
    http.post(f"{URL}/run", json=RUN)

    with Forge(base_url=URL, default_model="haiku", default_timeout_secs=5) as forge:
        forge.run("hello")
        assert sent() == {"prompt": "hello", "model": "haiku", "timeout_secs": 5}
        forge.run("hello", model="opus", timeout_secs=6)
        assert sent() == {"prompt": "hello", "model": "opus", "timeout_secs": 6}


def test_the_http_deadline_is_the_turns_deadline_and_the_margin(http: responses.RequestsMock) -> None:
    http.post(f"{URL}/run", json=RUN)

    with Forge(base_url=URL, default_timeout_secs=60, http_timeout_margin=7) as forge:
        forge.run("a")
        forge.run("b", timeout_secs=1000)

    assert [call.request.req_kwargs["timeout"] for call in http.calls] == [67, 1007]  # type: ignore[attr-defined]


@pytest.mark.parametrize("prompt", ["", "  "])
def test_an_empty_prompt_never_leaves(forge: Forge, http: responses.RequestsMock, prompt: str) -> None:
    with pytest.raises(ValueError, match="prompt"):
        forge.run(prompt)

    assert len(http.calls) == 0


@pytest.mark.parametrize(
    "settings",
    [{"default_timeout_secs": 0}, {"http_timeout_margin": -1}, {"base_url": "nowhere"}, {"token": "cf_\n1"}],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Forge(**settings)


def test_url_and_token_come_from_the_environment(
    http: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAWDFORGE_URL", "http://elsewhere.test/")
    monkeypatch.setenv("CLAWDFORGE_TOKEN", "cf_from_env")
    http.get("http://elsewhere.test/agents", json={"ok": True, "agents": []})

    with Forge() as forge:
        assert forge.base_url == "http://elsewhere.test"
        assert forge.agents() == {"ok": True, "agents": []}

    assert http.calls[0].request.headers["Authorization"] == "Bearer cf_from_env"


def test_the_health_check_goes_without_the_token(forge: Forge, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/healthz", json={"ok": False, "version": "9", "news": [1]})

    assert forge.healthz() == {"ok": False, "version": "9", "news": [1]}
    assert "Authorization" not in http.calls[0].request.headers


def test_runs_and_usage_come_back_as_they_were_sent(forge: Forge, http: responses.RequestsMock) -> None:
    page = {"ok": True, "runs": [{"run_id": "run_1", "news": 1}], "count": 1, "next_cursor": None}
    record = {"run_id": "run_1", "ok": False, "status": "failed", "result": None}
    report = {"ok": True, "total": {"turns": 3, "news": 1}, "groups": []}
    http.get(f"{URL}/runs", json=page)
    http.get(f"{URL}/runs/run_1", json=record)
    http.get(f"{URL}/usage", json=report)

    assert list(forge.runs()) == page["runs"]
    assert forge.get_run("run_1") == record
    assert forge.usage(since=5, by="model") == report

    assert [call.request.url for call in http.calls] == [
        f"{URL}/runs",
        f"{URL}/runs/run_1",
        f"{URL}/usage?since=5&by=model",
    ]


def test_an_upload_is_looked_at_and_dropped_by_its_token(forge: Forge, http: responses.RequestsMock) -> None:
    known = {"ok": True, "file_token": "ff_1", "name": "a.txt", "size": 5, "news": 1}
    http.get(f"{URL}/files/ff_1", json=known)
    http.delete(f"{URL}/files/ff_1", json={"ok": True, "file_token": "ff_1"})
    http.get(f"{URL}/files/a%2Fb", status=404, json={"detail": "file not found", "code": "not_found"})
    token = FileToken(ok=True, file_token="ff_1", ttl_secs=60, size=5)

    assert forge.get_file("ff_1") == forge.get_file(token) == known
    assert forge.delete_file(token) == {"ok": True, "file_token": "ff_1"}
    with pytest.raises(ForgeAPIError, match="file not found"):
        forge.get_file("a/b")
    for wrong in ("", ".."):
        with pytest.raises(ValueError, match="a file token"):
            forge.delete_file(wrong)


def test_session_lists_and_records_come_back_as_they_were_sent(forge: Forge, http: responses.RequestsMock) -> None:
    rows = {"ok": True, "sessions": [{"session_id": "sess_1", "news": 1}], "count": 1, "next_cursor": None}
    http.get(f"{URL}/sessions", json=rows)
    http.get(f"{URL}/sessions/sess_1", json={"ok": True, "session_id": "sess_1", "live": False})

    assert forge.list_sessions() == rows
    assert forge.list_sessions(include_closed=False) == rows
    assert forge.get_session("sess_1") == {"ok": True, "session_id": "sess_1", "live": False}

    assert [call.request.url for call in http.calls] == [
        f"{URL}/sessions",
        f"{URL}/sessions?include_closed=false",
        f"{URL}/sessions/sess_1",
    ]


def test_tokens_are_minted_listed_and_revoked(forge: Forge, http: responses.RequestsMock, sent: Sent) -> None:
    minted = {"ok": True, "name": "app", "token": "cf_new", "ip_cidrs": ["10.0.0.0/8"], "created_at": 5}
    rows = [{"name": "app", "ip_cidrs": [], "created_at": 5, "last_used_at": None, "revoked_at": None}]
    http.post(f"{URL}/admin/tokens", json=minted)
    http.get(f"{URL}/admin/tokens", json={"ok": True, "tokens": rows, "count": 1})
    http.delete(f"{URL}/admin/tokens/my%20app%2F1", json={"ok": True, "name": "my app/1"})

    assert forge.mint_token("app", ["10.0.0.0/8"]) == AppToken(
        ok=True, name="app", token="cf_new", ip_cidrs=["10.0.0.0/8"], created_at=5
    )
    assert sent() == {"name": "app", "ip_cidrs": ["10.0.0.0/8"]}
    forge.mint_token("app")
    assert sent() == {"name": "app"}
    assert forge.list_tokens() == rows
    assert forge.revoke_token("my app/1") == {"ok": True, "name": "my app/1"}


def test_an_upload_by_path_and_one_by_file_object(
    forge: Forge, http: responses.RequestsMock, tmp_path: Path
) -> None:
    http.post(f"{URL}/files", json={**UPLOAD, "name": "notes.txt"})
    path = tmp_path / "notes.txt"
    path.write_bytes(b"hello")

    token = forge.upload_file(path, ttl_secs=60)
    assert token == FileToken(ok=True, file_token="ff_1", ttl_secs=3600, size=5, name="notes.txt")
    body = http.calls[0].request.body
    assert isinstance(body, bytes)
    assert b'name="ttl_secs"\r\n\r\n60\r\n' in body
    assert b'name="file"; filename="notes.txt"' in body
    assert b"\r\n\r\nhello\r\n--" in body

    with path.open("rb") as file:
        file.seek(2)
        forge.upload_file(file)
        assert not file.closed
    body = http.calls[1].request.body
    assert isinstance(body, bytes)
    assert b"ttl_secs" not in body
    assert b'filename="notes.txt"' in body
    assert b"\r\n\r\nllo\r\n--" in body

    forge.upload_file(io.BytesIO(b""))
    body = http.calls[2].request.body
    assert isinstance(body, bytes)
    assert b'filename="upload"' in body


def test_a_small_upload_is_what_requests_itself_would_send(
    forge: Forge, http: responses.RequestsMock, tmp_path: Path
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"hello\r\n\x00")
    same = responses.matchers.multipart_matcher(
        {"file": ("notes.txt", path.read_bytes())}, data={"ttl_secs": "60"}
    )
    http.post(f"{URL}/files", json=UPLOAD, match=[same])

    assert forge.upload_file(path, 60).file_token == "ff_1"


def test_uploads_that_cannot_be_read_never_leave(
    forge: Forge, http: responses.RequestsMock, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        forge.upload_file(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        forge.upload_file(tmp_path)
    with pytest.raises(TypeError, match="binary mode"):
        forge.upload_file(io.StringIO("text"))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match="BytesIO"):
        forge.upload_file(b"text")  # type: ignore[arg-type]  # wrong on purpose

    assert len(http.calls) == 0


@pytest.mark.parametrize(("status", "error"), [(401, ForgeAuthError), (403, ForgeAuthError), (410, ForgeAPIError)])
def test_an_error_answer_is_an_api_error(
    forge: Forge, http: responses.RequestsMock, status: int, error: type[ForgeAPIError]
) -> None:
    http.post(f"{URL}/run", status=status, json={"detail": "no", "code": "c", "request_id": "req_1"})

    with pytest.raises(error) as caught:
        forge.run("hello")

    assert (caught.value.status_code, caught.value.detail, caught.value.code) == (status, "no", "c")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(forge: Forge, http: responses.RequestsMock, status: int) -> None:
    http.post(f"{URL}/run", status=status, headers={"Location": "http://elsewhere.test/run"})

    with pytest.raises(ForgeAPIError, match=r"elsewhere\.test"):
        forge.run("hello")

    assert len(http.calls) == 1


def test_a_success_that_is_no_json_is_a_protocol_error(forge: Forge, http: responses.RequestsMock) -> None:
    http.post(f"{URL}/run", body="<html>welcome</html>")

    with pytest.raises(ForgeProtocolError, match="welcome"):
        forge.run("hello")


@pytest.mark.parametrize(
    "cause",
    [
        requests.ConnectionError("no"),
        requests.ConnectTimeout("no"),
        requests.ReadTimeout("no"),
        requests.exceptions.ChunkedEncodingError("no"),
        requests.exceptions.ContentDecodingError("no"),
        requests.exceptions.InvalidURL("no"),
        requests.exceptions.InvalidHeader("no"),
        requests.exceptions.SSLError("no"),
        requests.exceptions.ProxyError("no"),
        urllib3.exceptions.LocationParseError("no"),
        ConnectionResetError(104, "no"),
        UnicodeError("no"),
    ],
)
def test_nothing_of_the_libraries_below_leaks(
    forge: Forge, http: responses.RequestsMock, cause: Exception
) -> None:
    http.post(f"{URL}/run", body=cause)

    with pytest.raises(ForgeTransportError, match=r"POST http://gateway\.test:8800/run: ") as caught:
        forge.run("hello")

    assert caught.value.__cause__ is cause


def test_what_the_app_was_handling_is_not_taken_for_the_reason(forge: Forge, http: responses.RequestsMock) -> None:
    http.post(f"{URL}/run", body=requests.ConnectionError("the real reason"))

    try:
        raise KeyError("something of the app")
    except KeyError:
        with pytest.raises(ForgeTransportError, match=r"run: the real reason$"):
            forge.run("hello")


def test_a_given_session_is_used_but_neither_changed_nor_closed(http: responses.RequestsMock, sent: Sent) -> None:
    http.post(f"{URL}/run", json=RUN)
    closed = threading.Event()

    class Own(requests.Session):
        def close(self) -> None:
            closed.set()
            super().close()

    own = Own()
    own.headers["X-Mine"] = "1"
    own.auth = ("somebody", "else")
    before = {name: repr(value) for name, value in vars(own).items()}

    with Forge(base_url=URL, token=TOKEN, session=own) as forge:
        forge.run("hello")

    request = http.calls[0].request
    assert request.headers["X-Mine"] == "1"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert {name: repr(value) for name, value in vars(own).items()} == before
    assert not closed.is_set()


def test_netrc_does_not_replace_the_token(
    http: responses.RequestsMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine gateway.test login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    http.get(f"{URL}/agents", json={})
    http.get(f"{URL}/healthz", json={})
    assert requests.utils.get_netrc_auth(URL) == ("me", "mine")

    with Forge(base_url=URL, token=TOKEN) as forge:
        forge.agents()
        forge.healthz()

    assert http.calls[0].request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Authorization" not in http.calls[1].request.headers


def test_the_token_is_in_nothing_that_is_shown(http: responses.RequestsMock) -> None:
    http.post(f"{URL}/run", status=401, json={"detail": f"bad token {TOKEN}"})
    forge = Forge(base_url=URL, token=TOKEN)

    with pytest.raises(ForgeAuthError) as caught:
        forge.run("hello")

    shown = [forge, forge.session(), caught.value, caught.value.detail, *vars(forge).values()]
    assert TOKEN not in "".join(f"{each!r}{each!s}" for each in shown)
    forge.close()


def test_cookies_are_not_kept(forge: Forge, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/healthz", json={}, headers={"Set-Cookie": "track=1"})

    forge.healthz()
    forge.healthz()

    assert "Cookie" not in http.calls[1].request.headers


def test_a_closed_forge_says_so(http: responses.RequestsMock) -> None:
    forge = Forge(base_url=URL)
    forge.close()
    forge.close()

    with pytest.raises(ForgeError, match="this Forge is closed"):
        forge.healthz()

    assert len(http.calls) == 0


def test_an_upload_from_a_pipe_has_no_length(forge: Forge, http: responses.RequestsMock) -> None:
    http.post(f"{URL}/files", json=UPLOAD)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as sink:
        sink.write(b"through a pipe")

    with os.fdopen(reader, "rb") as source:
        forge.upload_file(source)

    headers = http.calls[0].request.headers
    assert headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in headers
