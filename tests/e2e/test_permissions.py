"""What the policies answer an agent that asks, and that it is made to ask."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from harness.gateway import Gateway
from harness.http import ask
from harness.ledger import Ledger

# What is asked for (as the scripted agent's `ASK kind path`), and the policies that allow it.
ASKS = {
    "read a.txt": {"reads", "workspace", "allow"},
    "read /etc/hostname": {"reads", "workspace", "allow"},
    "read ../other/a.txt": {"allow"},
    "read ../../admin-token": {"allow"},
    "read to_etc/hostname": {"reads", "workspace", "allow"},
    "search ../..": {"allow"},
    "search .": {"reads", "workspace", "allow"},
    "think -": {"reads", "workspace", "allow"},
    "edit a.txt": {"workspace", "allow"},
    "edit new/deep/file.txt": {"workspace", "allow"},
    "edit {cwd}/a.txt": {"workspace", "allow"},
    "edit ./x/../a.txt": {"workspace", "allow"},
    "edit to_inside/a.txt": {"workspace", "allow"},
    "delete a.txt": {"workspace", "allow"},
    "move a.txt": {"workspace", "allow"},
    "edit": {"allow"},
    "delete": {"allow"},
    "edit /etc/passwd": {"allow"},
    "edit {cwd}-other/a.txt": {"allow"},
    "edit ../other/a.txt": {"allow"},
    "edit x/../../a.txt": {"allow"},
    "edit to_etc/passwd": {"allow"},
    "edit to_file": {"allow"},
    "edit round/a.txt": {"allow"},
    "delete ../other": {"allow"},
    "move ../other": {"allow"},
    "edit .git/hooks/pre-commit": {"allow"},
    "edit .claude/settings.json": {"allow"},
    "edit .codex/config.toml": {"allow"},
    "edit .gemini/settings.json": {"allow"},
    "edit .Claude/settings.json": {"allow"},
    "edit sub/.git/config": {"allow"},
    "edit to_git/config": {"allow"},
    "edit .git": {"allow"},
    "edit .github/workflows/x.yml": {"workspace", "allow"},
    "execute a.txt": {"allow"},
    "fetch -": {"allow"},
    "switch_mode -": {"allow"},
    "other a.txt": {"allow"},
    "brand_new_kind a.txt": {"allow"},
}
POLICIES = ("deny", "reads", "workspace", "allow")


def plant(workspace: Path) -> None:
    """Links of every kind, as an agent or a checkout could have left them."""
    (workspace / "inside").mkdir()
    (workspace / ".git").mkdir()
    (workspace / "to_inside").symlink_to("inside")
    (workspace / "to_etc").symlink_to("/etc")
    (workspace / "to_file").symlink_to("/etc/passwd")
    (workspace / "to_git").symlink_to(".git")
    (workspace / "round").symlink_to("round")


@pytest.mark.guarantee
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_allows_what_it_should_and_nothing_else(app: Forge, policy: str) -> None:
    session = app.create_session(agent="fake", permissions=policy)
    plant(Path(session.cwd))
    prompt = "".join(f"[[ASK {asked.format(cwd=session.agent_cwd)}]]" for asked in ASKS)
    answer = session.turn(prompt)
    decisions = [event["decision"] for event in answer.events if event["type"] == "permission_answer"]
    allowed = {asked for asked, decision in zip(ASKS, decisions, strict=True) if decision == "allow"}
    assert allowed == {asked for asked, policies in ASKS.items() if policy in policies}


def test_the_settings_policy_is_workspace_and_is_told(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert session.state()["permissions"] == "workspace"
    session.turn("[[WRITE in.txt hello]][[WRITE ../out.txt hello]]")
    assert Path(session.cwd, "in.txt").read_text() == "hello"
    assert not Path(session.cwd).with_name("out.txt").exists()


def test_an_edit_that_is_allowed_happens_and_one_that_is_not_does_not(app: Forge) -> None:
    session = app.create_session(agent="fake", permissions="workspace")
    outside = Path(session.cwd).parent / f"{session.session_id}-outside"
    answer = session.turn(f"[[WRITE a.txt hello]][[WRITE {outside} x]][[SH touch b.txt]]")
    assert Path(session.cwd, "a.txt").read_text() == "hello"
    assert not outside.exists()
    assert not Path(session.cwd, "b.txt").exists()
    calls = [event for event in answer.events if event["type"] == "tool_call"]
    assert [call["status"] for call in calls] == ["completed", "failed", "failed"]


def test_a_run_has_a_policy_of_its_own(app: Forge) -> None:
    assert app.run("[[ASK execute -]]", agent="fake", permissions="allow").result.endswith('"option-1"}')
    assert app.run("[[ASK execute -]]", agent="fake").result.endswith('"option-2"}')


@pytest.mark.parametrize(
    ("options", "policy", "chosen"),
    [
        ("allow_always|allow_once|reject_once", "allow", "option-1"),
        ("reject_always|reject_once|allow_once", "allow", "option-2"),
        ("allow_once|reject_always|reject_once", "deny", "option-2"),
        ("allow_once|reject_always", "deny", "option-1"),
        ("allow_once|allow_always", "deny", None),
        ("reject_once|allow_always", "allow", None),
        ("unheard_of", "allow", None),
    ],
)
def test_the_answer_is_chosen_by_kind_whatever_the_ids(
    app: Forge, options: str, policy: str, chosen: str | None
) -> None:
    """ "Always" is never chosen for one "allow", and where no option fits the answer is `cancelled`."""
    session = app.create_session(agent="fake", permissions=policy)
    answer = session.turn(f"[[OPTIONS {options}]][[ASK read a.txt]]")
    outcome = json.loads(answer.text().removeprefix("ASK read: "))
    expected = {"outcome": "cancelled"} if chosen is None else {"outcome": "selected", "optionId": chosen}
    assert outcome == expected
    [event] = [event for event in answer.events if event["type"] == "permission_answer"]
    assert event["option_id"] == chosen


def test_question_and_answer_are_both_in_the_turn_and_in_the_log(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake", permissions="reads")
    answer = session.turn("[[ASK read a.txt]]")
    question, reply = (event for event in answer.events if event["type"].startswith("permission_"))
    assert (question["type"], reply["type"]) == ("permission_request", "permission_answer")
    assert question["permission_id"] == reply["permission_id"]
    assert question["kind"] == "read"
    assert [each["kind"] for each in question["options"]] == ["allow_always", "allow_once", "reject_once"]
    call = next(event for event in answer.events if event["type"] == "tool_call")
    assert question["tool_call_id"] == call["id"]
    assert (reply["decision"], reply["by"]) == ("allow", "policy:reads")
    stored = [event["type"] for event in db.events(session.session_id)]
    assert stored.index("permission_answer") == stored.index("permission_request") + 1


def prompts_and_modes(gateway: Gateway, session_id: str) -> list[str]:
    """What was said to the agents of a session, in short."""
    entries = [each["m"] for each in gateway.agent_log.of(session_id) if "m" in each]
    return [e["params"]["modeId"] if e["method"] == "session/set_mode" else e["method"] for e in entries]


def test_the_ask_mode_is_set_after_every_start(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake")
    session.turn("hi")
    ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[EXIT 1]]"})
    assert json.loads(session.turn("[[CONFIG]]").text())["mode"] == "ask"
    start = ["initialize", "session/new", "ask"]
    assert prompts_and_modes(gateway, session.session_id) == [
        *(*start, "session/prompt", "session/prompt"),
        *(*start, "session/prompt"),
    ]


def test_a_mode_of_the_caller_s_choice_is_set_in_its_place(app: Forge) -> None:
    session = app.create_session(agent="fake", mode="auto")
    assert json.loads(session.turn("[[CONFIG]]").text())["mode"] == "auto"


def test_a_mode_that_the_agent_does_not_have_is_refused_by_names(app: Forge) -> None:
    answer = ask(app, "POST", "/sessions", {"agent": "fake", "mode": "yolo"})
    assert answer.problem() == (422, "invalid")
    assert answer.body["errors"][0]["loc"] == ["mode"]
    assert re.search("ask.*auto", answer.body["detail"])
    assert app.list_sessions()["count"] == 0


FILES: dict[str, tuple[str, bool]] = {
    "inside": ("a.txt", True),
    "outside": ("/tmp/clawdforge-test-must-not-exist", False),
    "by dots": ("../a.txt", False),
    "through a link": ("to_etc/clawdforge-test-must-not-exist", False),
    "under .git": (".git/hooks/x", False),
}


@pytest.mark.parametrize("where", FILES)
def test_a_file_that_an_agent_asks_the_gateway_to_write_is_written_inside_only(app: Forge, where: str) -> None:
    name, allowed = FILES[where]
    session = app.create_session(agent="fake")
    plant(Path(session.cwd))
    said = session.turn(f"[[FS_WRITE {name} hello]]").text()
    assert ("result" in json.loads(said)) is allowed
    assert Path(session.cwd, name).exists() is allowed


def test_a_file_that_the_gateway_has_written_for_an_agent_is_the_agent_s(app: Forge) -> None:
    session = app.create_session(agent="fake", permissions="allow")
    session.turn("[[FS_WRITE a.txt hello]][[SH printf ' again' >> a.txt]]")
    assert Path(session.cwd, "a.txt").read_text() == "hello again"


def test_not_even_allow_writes_files_outside_for_an_agent(app: Forge) -> None:
    """`allow` lets the agent do what it can do by itself; the gateway's own hands stay in the workspace."""
    session = app.create_session(agent="fake", permissions="allow")
    plant(Path(session.cwd))
    for name in ("/tmp/clawdforge-test-must-not-exist", "../a.txt", "to_etc/clawdforge-test-must-not-exist"):
        assert "error" in json.loads(session.turn(f"[[FS_WRITE {name} hello]]").text())
        assert not Path(session.cwd, name).exists()


def test_reads_and_deny_write_no_file_for_an_agent(app: Forge) -> None:
    for policy in ("reads", "deny"):
        session = app.create_session(agent="fake", permissions=policy)
        answer: Any = json.loads(session.turn("[[FS_WRITE a.txt hello]]").text())
        assert "error" in answer
        assert list(Path(session.cwd).iterdir()) == []
