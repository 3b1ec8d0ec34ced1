"""Secrets that the gateway gave to an agent, and that the agent tells: nobody hears or keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawdforge import Forge
from harness import agents
from harness.gateway import Gateway
from harness.http import ask
from harness.ledger import Ledger
from harness.tenants import tenant

SECRETS = {"MY_API_KEY": "sk-test-0123456789abcdef", "OTHER_TOKEN": "sk-test-0123456789abcdef-and-more"}
LOGIN = {"oauth": {"accessToken": "login-0123456789abcdef-x", "scopes": ["a-scope-that-is-rather-long"]}}


@pytest.fixture(scope="module")
def trusting_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose agent knows keys, and has a login."""
    root = tmp_path_factory.mktemp("trusting")
    login = root / "login.json"
    login.write_text(json.dumps(LOGIN))
    env = {**SECRETS, "FAKE_AGENT_MODELS": f"model-of-{SECRETS['OTHER_TOKEN']}"}
    fake = agents.scripted(env=env, login_files=[str(login)])
    gateway = Gateway(root, agents={"fake": fake}).start()
    yield gateway
    gateway.close()


@pytest.fixture
def trusting_app(trusting_gateway: Gateway) -> Iterator[Forge]:
    with tenant(trusting_gateway) as app:
        yield app


def tells_no_secret(told: str) -> None:
    for part in ("0123456789abcdef", "and-more"):
        assert part not in told


def kept(gateway: Gateway, session_id: str) -> str:
    """All that the gateway has stored of a session, and its log."""
    ledger = Ledger(gateway.data_dir)
    stored = [ledger.events(session_id), ledger.turns(session_id), ledger.audit(session_id)]
    return json.dumps(stored) + gateway.log()


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_an_agent_prints_on_stderr_is_not_told(
    trusting_app: Forge, trusting_gateway: Gateway, name: str
) -> None:
    found = ask(trusting_app, "POST", "/run", {"prompt": f"[[SECRET_STDERR {name}]]", "agent": "fake"})
    assert found.problem() == (502, "agent_failed")
    assert "fatal: refused with [secret]" in found.body["stderr_tail"]
    tells_no_secret(json.dumps(found.body) + kept(trusting_gateway, found.body["session_id"]))


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_the_words_of_an_error_is_not_told(
    trusting_app: Forge, trusting_gateway: Gateway, name: str
) -> None:
    prompt = f"[[ERROR -32603 the key {SECRETS[name]} was refused]]"
    with trusting_app.session(agent="fake") as session:
        found = ask(trusting_app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": prompt})
    assert found.problem() == (502, "agent_failed")
    assert found.body["detail"] == "the agent reported: the key [secret] was refused"


HOWEVER_CUT = ["[[LEAK {}]]", *(f"[[SPELL {size} {{}}]]" for size in (1, 2, 5, 23, 24))]


@pytest.mark.guarantee
@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("how", HOWEVER_CUT)
def test_a_secret_in_an_agent_s_text_is_hidden_however_it_is_cut(
    trusting_app: Forge, trusting_gateway: Gateway, how: str, name: str
) -> None:
    with trusting_app.session(agent="fake") as session:
        answer = session.turn(f"[[SAY it is ]]{how.format(name)}[[SAY , and the rest.]]")
        assert answer.text() == "it is [secret], and the rest."
        assert session.turn(f"[[SAY ends with ]]{how.format(name)}").text() == "ends with [secret]"
    tells_no_secret(kept(trusting_gateway, session.session_id))


def test_a_secret_in_a_run_s_result_is_hidden(trusting_app: Forge, trusting_gateway: Gateway) -> None:
    answer = trusting_app.run("[[SPELL 3 OTHER_TOKEN]]", agent="fake")
    assert answer.result == "[secret]"
    tells_no_secret(kept(trusting_gateway, answer.session_id))


def test_a_secret_in_anything_else_that_an_agent_tells_is_hidden(
    trusting_app: Forge, trusting_gateway: Gateway
) -> None:
    with trusting_app.session(agent="fake") as session:
        answer = session.turn("[[SPILL OTHER_TOKEN]]")
    tells_no_secret(json.dumps(answer.events))
    events = Ledger(trusting_gateway.data_dir).events(session.session_id)
    by_type = {event["type"]: event["data"] for event in events}
    assert "".join(each["data"]["content"] for each in events if each["type"] == "thinking") == "I know [secret]!"
    assert by_type["tool_call"]["args"] == {"command": ["echo", "[secret]"], "[secret]": 1}
    assert by_type["tool_call_update"]["result"] == {"output": "[secret]\n"}
    assert by_type["permission_request"]["title"] == "echo [secret]"
    assert by_type["plan"]["entries"][0]["content"] == "[secret]"
    others = [event["data"]["acp"] for event in events if event["type"] == "other"]
    assert others[0]["novelty"] == {"[secret]": ["[secret]"]}
    assert others[1]["params"] == {"note": "[secret]"}
    tells_no_secret(kept(trusting_gateway, session.session_id))


def test_a_secret_among_the_models_that_an_agent_offers_is_hidden(trusting_app: Forge) -> None:
    trusting_app.run("hello", agent="fake")
    told = ask(trusting_app, "GET", "/agents/fake").body
    assert told["models"][-1] == "model-of-[secret]"
    found = ask(trusting_app, "POST", "/run", {"prompt": "hello", "agent": "fake", "model": "another"})
    assert found.problem() == (422, "invalid")
    assert "model-of-[secret]" in found.body["detail"]


def test_a_token_of_a_login_file_is_hidden_and_its_other_words_are_not(
    trusting_app: Forge, trusting_gateway: Gateway
) -> None:
    with trusting_app.session(agent="fake", permissions="allow") as session:
        answer = session.turn("[[SH cat $HOME/login.json]]")
    [call] = [event for event in answer.events if event["type"] == "tool_call"]
    shown = json.loads(call["result"]["output"])
    assert shown == {"oauth": {"accessToken": "[secret]", "scopes": ["a-scope-that-is-rather-long"]}}
    tells_no_secret(kept(trusting_gateway, session.session_id))


@pytest.mark.parametrize("ending", ["", "[[EXIT 3]]", "[[STOP refusal]]"])
def test_a_text_that_only_begins_like_a_secret_is_whole_in_the_end(
    trusting_app: Forge, trusting_gateway: Gateway, ending: str
) -> None:
    with trusting_app.session(agent="fake") as session:
        ask(
            trusting_app,
            "POST",
            f"/sessions/{session.session_id}/turn",
            {"prompt": f"[[SAY not all of sk-test-012]]{ending}"},
        )
        events = Ledger(trusting_gateway.data_dir).events(session.session_id)
    texts = [event for event in events if event["type"] == "text"]
    assert "".join(each["data"]["content"] for each in texts) == "not all of sk-test-012"
    assert {each["turn_index"] for each in texts} == {1}


def test_what_is_held_back_is_told_where_a_turn_runs_out_of_time(
    trusting_app: Forge, trusting_gateway: Gateway
) -> None:
    with trusting_app.session(agent="fake") as session:
        body = {"prompt": "[[SAY so far sk-te]][[HANG]]", "timeout_secs": 1}
        found = ask(trusting_app, "POST", f"/sessions/{session.session_id}/turn", body)
        assert found.problem() == (504, "timeout")
        events = Ledger(trusting_gateway.data_dir).events(session.session_id)
    texts = [(event["turn_index"], event["data"]["content"]) for event in events if event["type"] == "text"]
    assert texts == [(1, "so far "), (1, "sk-te")]


def test_the_log_of_the_agent_shows_that_it_knew_what_nobody_else_did(trusting_gateway: Gateway) -> None:
    """Else the tests above would show nothing."""
    with tenant(trusting_gateway) as app, app.session(agent="fake", permissions="allow") as session:
        session.turn("[[SH printf %s $OTHER_TOKEN | tail -c 8 > known]]")
        assert Path(session.cwd, "known").read_text() == "and-more"
        assert json.loads((trusting_gateway.home(session) / "login.json").read_text()) == LOGIN
