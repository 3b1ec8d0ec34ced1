"""`clawdforge token`: where the admin token comes from, and what is done with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import responses
from click.testing import Result

URL = "http://gateway.test:8800"
ROWS = [
    {"name": "app", "ip_cidrs": ["10.0.0.0/8", "::1/128"], "created_at": 60, "last_used_at": None},
    {"name": "old", "ip_cidrs": [], "created_at": 0, "last_used_at": 3600, "revoked_at": 7200},
]

Invoke = Callable[..., Result]


def asked_with(http: responses.RequestsMock) -> str:
    return str(http.calls[-1].request.headers["Authorization"]).removeprefix("Bearer ")


def test_the_admin_token_comes_from_the_first_place_that_has_one(
    invoke: Invoke, http: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    http.get(f"{URL}/admin/tokens", json={"ok": True, "tokens": [], "count": 0})
    kept = tmp_path / "share" / "clawdforge" / "admin-token"
    kept.parent.mkdir(parents=True)
    kept.write_text("from-the-data-directory\n")
    named = tmp_path / "named"
    named.write_text("from-the-named-file\n")

    invoke("token", "list")
    assert asked_with(http) == "from-the-data-directory"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "admin-token").write_text("from-another-directory")
    monkeypatch.setenv("CLAWDFORGE_DATA_DIR", str(elsewhere))
    invoke("token", "list")
    assert asked_with(http) == "from-another-directory"

    monkeypatch.setenv("CLAWDFORGE_ADMIN_TOKEN", "from-the-variable")
    invoke("token", "list")
    assert asked_with(http) == "from-the-variable"

    invoke("token", "--admin-token-file", named, "list")
    assert asked_with(http) == "from-the-named-file"

    invoke("token", "list", "--token", "from-the-command-line")
    assert asked_with(http) == "from-the-command-line"


def test_without_any_admin_token_nothing_is_asked(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("token", "list")

    assert (result.exit_code, result.stdout) == (3, "")
    assert str(tmp_path / "share" / "clawdforge" / "admin-token") in result.stderr
    assert "CLAWDFORGE_ADMIN_TOKEN" in result.stderr


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_token_is_said_to_be_so(invoke: Invoke, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)

    result = invoke("token", "--admin-token-file", file, "list")

    assert result.exit_code == 3
    assert str(file) in result.stderr


def test_a_minted_token_is_all_that_stands_on_stdout(
    invoke: Invoke,
    http: responses.RequestsMock,
    monkeypatch: pytest.MonkeyPatch,
    sent: Callable[[], dict[str, Any]],
) -> None:
    monkeypatch.setenv("CLAWDFORGE_ADMIN_TOKEN", "admin")
    http.post(f"{URL}/admin/tokens", json={"ok": True, "name": "app", "token": "cf_new"})

    result = invoke("token", "mint", "app", "--cidr", "10.0.0.0/8", "--cidr", "::1/128")

    assert (result.exit_code, result.stdout) == (0, "cf_new\n")
    assert "shown this once" in result.stderr
    assert sent() == {"name": "app", "ip_cidrs": ["10.0.0.0/8", "::1/128"]}


def test_tokens_are_listed_and_revoked(
    invoke: Invoke, http: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAWDFORGE_ADMIN_TOKEN", "admin")
    http.get(f"{URL}/admin/tokens", json={"ok": True, "tokens": ROWS, "count": 2})
    http.delete(f"{URL}/admin/tokens/app", json={"ok": True, "name": "app"})

    lines = [line.split("\t") for line in invoke("token", "list").stdout.splitlines()]
    revoked = invoke("token", "revoke", "app")

    assert lines[1:] == [
        ["app", "10.0.0.0/8, ::1/128", "1970-01-01 00:01:00Z", "-", "-"],
        ["old", "any", "1970-01-01 00:00:00Z", "1970-01-01 01:00:00Z", "1970-01-01 02:00:00Z"],
    ]
    assert (revoked.exit_code, revoked.stdout, revoked.stderr) == (0, "", "Revoked app.\n")
