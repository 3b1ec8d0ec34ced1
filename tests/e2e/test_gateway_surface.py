"""The frozen surface beside sessions and runs: health, agents, the admin's tokens, and who is let in."""

from __future__ import annotations

import re
import time

import pytest

from clawdforge import Forge
from harness.gateway import Gateway
from harness.http import ask, call
from harness.shapes import INT_OR_NULL, STR_OR_NULL, fits

HEALTH = {
    "ok": bool,
    "version": str,
    "claude_present": bool,
    "claude_version": STR_OR_NULL,
    "acpx_present": bool,
    "acpx_version": STR_OR_NULL,
    "open_sessions": int,
}
AGENT = {"name": str, "title": str, "available": bool, "reason": STR_OR_NULL, "version": STR_OR_NULL}
TOKEN = {"ok": bool, "name": str, "token": str, "ip_cidrs": list, "created_at": int}
TOKEN_ROW = {
    "name": str,
    "ip_cidrs": list,
    "created_at": int,
    "last_used_at": INT_OR_NULL,
    "revoked_at": INT_OR_NULL,
}


def admin_token(gateway: Gateway) -> str:
    return (gateway.data_dir / "admin-token").read_text().strip()


def test_health_needs_no_token_and_tells_no_secret_and_no_path(gateway: Gateway, app: Forge) -> None:
    answer = call(gateway.url, "GET", "/healthz")
    assert answer.status == 200
    fits(answer.body, HEALTH)
    assert answer.body["ok"] is True
    text = answer.raw.decode()
    assert str(gateway.root) not in text
    assert admin_token(gateway) not in text


def test_every_agent_of_the_catalog_is_told_with_why_not(app: Forge) -> None:
    answer = ask(app, "GET", "/agents").body
    assert (answer["ok"], answer["count"]) == (True, len(answer["agents"]))
    by_name = {each["name"]: each for each in answer["agents"]}
    assert {"claude", "codex", "gemini", "local", "opencode", "fake", "absent"} <= set(by_name)
    for each in answer["agents"]:
        fits(each, AGENT)
        assert (each["reason"] is None) is each["available"]
    assert by_name["fake"]["available"] is True
    assert "no-program-has-this-name" in by_name["absent"]["reason"]


def test_one_agent_is_told_as_it_stands_in_the_list(app: Forge) -> None:
    listed = {each["name"]: each for each in app.agents()["agents"]}
    assert ask(app, "GET", "/agents/absent").body == {"ok": True, **listed["absent"]}
    assert ask(app, "GET", "/agents/nobody").problem() == (404, "not_found")


def test_a_minted_token_is_shown_once_and_works(gateway: Gateway) -> None:
    name = f"minted-{time.monotonic_ns()}"
    admin = admin_token(gateway)
    before = int(time.time())
    answer = call(gateway.url, "POST", "/admin/tokens", token=admin, body={"name": name})
    assert answer.status == 200
    fits(answer.body, TOKEN)
    assert answer.body["name"] == name
    assert answer.body["ip_cidrs"] == []
    assert before <= answer.body["created_at"] <= time.time()
    token = answer.body["token"]
    assert token.startswith("cf_")
    assert call(gateway.url, "GET", "/sessions", token=token).status == 200
    listed = call(gateway.url, "GET", "/admin/tokens", token=admin)
    assert token not in listed.raw.decode()
    assert token not in gateway.log()
    assert not any(token.encode() in file.read_bytes() for file in gateway.data_dir.glob("clawdforge.db*"))


def test_a_name_in_use_is_refused_until_its_token_is_revoked(gateway: Gateway) -> None:
    name = f"taken-{time.monotonic_ns()}"
    admin = admin_token(gateway)
    assert call(gateway.url, "POST", "/admin/tokens", token=admin, body={"name": name}).status == 200
    again = call(gateway.url, "POST", "/admin/tokens", token=admin, body={"name": name})
    assert again.problem() == (409, "name_taken")
    revoked = call(gateway.url, "DELETE", f"/admin/tokens/{name}", token=admin)
    assert revoked.body == {"ok": True, "name": name}
    assert call(gateway.url, "POST", "/admin/tokens", token=admin, body={"name": name}).status == 200


def test_the_list_of_tokens_tells_when_each_was_used_and_revoked(gateway: Gateway) -> None:
    name = f"listed-{time.monotonic_ns()}"
    with gateway.admin() as admin:
        minted = admin.mint_token(name, ip_cidrs=["127.0.0.0/8"])
        unused = next(row for row in admin.list_tokens() if row["name"] == name)
        assert call(gateway.url, "GET", "/sessions", token=minted.token).status == 200
        used = next(row for row in admin.list_tokens() if row["name"] == name)
        admin.revoke_token(name)
        rows = admin.list_tokens()
    for row in rows:
        fits(row, TOKEN_ROW)
    revoked = next(row for row in rows if row["name"] == name)
    assert (unused["ip_cidrs"], unused["last_used_at"], unused["revoked_at"]) == (["127.0.0.0/8"], None, None)
    assert used["last_used_at"] >= minted.created_at
    assert revoked["revoked_at"] >= minted.created_at


def test_a_revoked_token_opens_nothing_any_more(gateway: Gateway) -> None:
    name = f"revoked-{time.monotonic_ns()}"
    with gateway.admin() as admin, gateway.app(name) as app:
        assert app.list_sessions()["count"] == 0
        admin.revoke_token(name)
        assert ask(app, "GET", "/sessions").problem() == (401, "unauthorized")


def test_without_a_token_there_is_nothing_but_healthz(gateway: Gateway, app: Forge) -> None:
    paths = ask(app, "GET", "/openapi.json").body["paths"]
    for path, operations in paths.items():
        for method in set(operations) & {"get", "put", "post", "patch", "delete"}:
            answer = call(gateway.url, method.upper(), re.sub(r"\{[^}]+\}", "x", path))
            assert answer.status == (200 if path == "/healthz" else 401), f"{method} {path}"
    assert {"/healthz", "/run", "/admin/tokens"} < set(paths)


def test_every_wrong_token_gets_the_same_answer(gateway: Gateway) -> None:
    with gateway.admin() as admin:
        name = f"gone-{time.monotonic_ns()}"
        revoked = admin.mint_token(name).token
        admin.revoke_token(name)
    tries = [None, "", "cf_unknown", "x" * 1000, "' OR '1'='1", revoked]
    answers = [call(gateway.url, "GET", "/sessions", token=token) for token in tries]
    answers.append(call(gateway.url, "GET", "/sessions", headers={"Authorization": "Basic eDp5"}))
    assert {answer.problem() for answer in answers} == {(401, "unauthorized")}
    assert len({answer.body["detail"] for answer in answers}) == 1


def test_the_admin_s_token_and_an_app_s_open_different_doors(gateway: Gateway, app: Forge) -> None:
    assert ask(app, "GET", "/admin/tokens").problem() == (403, "forbidden")
    answer = call(gateway.url, "GET", "/sessions", token=admin_token(gateway))
    assert answer.problem() == (403, "forbidden")
    assert call(gateway.url, "GET", "/admin/tokens").problem() == (401, "unauthorized")


def test_a_token_for_other_networks_is_not_let_in(gateway: Gateway) -> None:
    with gateway.admin() as admin:
        elsewhere = admin.mint_token(f"elsewhere-{time.monotonic_ns()}", ip_cidrs=["10.0.0.0/8"])
        here = admin.mint_token(f"here-{time.monotonic_ns()}", ip_cidrs=["10.0.0.0/8", "127.0.0.1/32"])
    assert elsewhere.ip_cidrs == ["10.0.0.0/8"]
    refused = call(gateway.url, "GET", "/sessions", token=elsewhere.token)
    assert refused.problem() == (403, "ip_not_allowed")
    assert call(gateway.url, "GET", "/sessions", token=here.token).status == 200


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": 7}, {"name": "x", "ip_cidrs": ["nowhere"]}, {"name": "x", "more": 1}],
    ids=str,
)
def test_a_token_is_not_minted_from_nonsense(gateway: Gateway, body: object) -> None:
    answer = call(gateway.url, "POST", "/admin/tokens", token=admin_token(gateway), body=body)
    assert answer.problem() == (422, "invalid")


def test_a_token_that_never_was_cannot_be_revoked(gateway: Gateway) -> None:
    answer = call(gateway.url, "DELETE", "/admin/tokens/nobody-of-this-name", token=admin_token(gateway))
    assert answer.problem() == (404, "not_found")


def test_paths_and_methods_that_are_not_there_are_told_so(app: Forge) -> None:
    assert ask(app, "GET", "/nowhere").problem() == (404, "not_found")
    assert ask(app, "PUT", "/sessions").problem() == (405, "method_not_allowed")
