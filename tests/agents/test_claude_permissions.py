"""What the real `claude` may do beside what all agents may (`test_stories`), and what it finds around itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge, ForgeAPIError, Session
from clawdforge.testing.fake_model import FakeModel
from harness.gateway import Gateway

REFUSED = "User refused permission to run tool"


@pytest.fixture(scope="module")
def free(app: Forge) -> Iterator[Session]:
    """A session in which everything is allowed."""
    with app.session(permissions="allow") as opened:
        opened.turn("[[SAY I am here]]")
        yield opened


def call_of(session: Session, prompt: str) -> dict[str, Any]:
    """The one tool call of a turn; the turn itself ended well, whatever became of the call."""
    turn = session.turn(prompt)
    assert (turn.ok, turn.stop_reason) == (True, "end_turn")
    [call] = [event for event in turn.events if event["type"] == "tool_call"]
    answers = [event["decision"] for event in turn.events if event["type"] == "permission_answer"]
    asked = [event for event in turn.events if event["type"] == "permission_request"]
    assert len(asked) == len(answers) <= 1
    return {**call, "decision": answers[0] if answers else None}


def assert_refused(call: dict[str, Any]) -> None:
    assert (call["decision"], call["status"], call["result"]) == ("reject", "failed", REFUSED), call


def assert_allowed(call: dict[str, Any]) -> None:
    assert (call["decision"], call["status"]) == ("allow", "completed"), call


def nested(arguments: dict[str, Any]) -> str:
    """Arguments of a tool as JSON; their directives are for another model and must not be seen by this one."""
    return json.dumps(arguments).replace("[", "\\u005b").replace("]", "\\u005d")


def test_by_default_it_may_edit_inside_its_workspace_alone(session: Session) -> None:
    workspace = Path(session.cwd)
    assert_allowed(call_of(session, "[[WRITE deep/down/inside.txt mine]]"))
    assert (workspace / "deep/down/inside.txt").read_text() == "mine"
    assert_refused(call_of(session, "[[WRITE /tmp/outside.txt mine]]"))
    assert_refused(call_of(session, "[[WRITE ../tmp/outside.txt mine]]"))
    (workspace / "way-out").symlink_to("/tmp")
    assert_refused(call_of(session, "[[WRITE way-out/outside.txt mine]]"))
    assert "outside.txt" not in call_of(session, "[[BASH ls /tmp]]")["result"]


@pytest.mark.parametrize("name", [".claude/settings.json", ".claude/settings.local.json", ".git/config"])
def test_by_default_it_may_not_arm_itself(session: Session, name: str) -> None:
    assert_refused(call_of(session, f"[[WRITE {name} {{}}]]"))
    (Path(session.cwd) / "alias").unlink(missing_ok=True)
    (Path(session.cwd) / name).parent.mkdir(exist_ok=True)
    (Path(session.cwd) / "alias").symlink_to(Path(name).parent)
    assert_refused(call_of(session, f"[[WRITE alias/{Path(name).name} {{}}]]"))
    assert not (Path(session.cwd) / name).exists()


def test_by_default_it_may_not_arm_its_home(session: Session, gateway: Gateway) -> None:
    home = gateway.data_dir / "homes" / session.session_id
    assert_refused(call_of(session, "[[WRITE /home/agent/.claude/settings.json {}]]"))
    assert (home / ".claude").is_dir()
    assert not (home / ".claude" / "settings.json").exists()


def test_one_answer_does_not_open_the_door_for_the_next(session: Session) -> None:
    for number in range(2):
        assert_allowed(call_of(session, f"[[WRITE again-{number}.txt x]]"))


@pytest.mark.parametrize(("policy", "may_read"), [("deny", False), ("reads", True)])
def test_what_lies_outside_of_its_workspace_it_reads_by_policy(app: Forge, policy: Any, may_read: bool) -> None:
    with app.session(permissions=policy) as session:
        read = call_of(session, "[[READ /usr/lib/os-release]]")
        (assert_allowed if may_read else assert_refused)(read)
        assert ("PRETTY_NAME" in read["result"]) is may_read


def test_its_environment_holds_what_it_needs_and_no_more(free: Session, gateway: Gateway, user_home: Path) -> None:
    assert_allowed(call_of(free, "[[BASH env -0 > environment]]"))
    held = (Path(free.cwd) / "environment").read_text()
    environment = dict(item.split("=", 1) for item in held.split("\0") if item)
    assert environment["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:4180", "a way to the model, and to nothing else"
    assert "NOT_FOR_AGENTS" not in environment
    assert str(user_home) not in held
    assert (environment["HOME"], environment["TMPDIR"]) == ("/home/agent", "/tmp")
    assert str(gateway.data_dir) not in held
    assert (gateway.data_dir / "homes" / free.session_id).stat().st_mode & 0o777 == 0o700


def test_in_plan_mode_too_the_gateway_judges_and_not_the_model(app: Forge) -> None:
    with app.session(permissions="deny", mode="plan") as session:
        assert_refused(call_of(session, "[[BASH touch by-command.txt]]"))
        assert_refused(call_of(session, "[[BASH echo mine > by-command.txt]]"))
        assert list(Path(session.cwd).iterdir()) == []


def test_it_cannot_be_put_where_it_asks_for_nothing(app: Forge) -> None:
    with pytest.raises(ForgeAPIError, match="disabled by settings") as caught:
        app.create_session(mode="bypassPermissions")
    assert (caught.value.status_code, caught.value.code) == (422, "invalid")


def test_it_cannot_go_into_plan_mode_by_itself(session: Session) -> None:
    call = call_of(session, "[[TOOL EnterPlanMode {}]]")
    assert (call["decision"], call["status"]) == (None, "failed")


def test_what_it_hands_to_a_sub_agent_is_asked_for_too(session: Session) -> None:
    order = {"description": "touch it", "prompt": "[[BASH touch by-sub.txt]]", "subagent_type": "general-purpose"}
    turn = session.turn(f"[[TOOL Agent {nested(order)}]]")
    assert [event["decision"] for event in turn.events if event["type"] == "permission_answer"] == ["reject"]
    calls = {event["name"]: event["status"] for event in turn.events if event["type"] == "tool_call"}
    assert calls == {"Agent": "completed", "Bash": "failed"}
    assert not (Path(session.cwd) / "by-sub.txt").exists()


def test_it_has_no_tools_that_work_on_when_a_turn_is_over(session: Session, model: FakeModel) -> None:
    session.turn("[[SAY what have I got?]]")
    tools = {tool["name"]: tool["input_schema"]["properties"] for tool in model.turns[-1].body["tools"]}
    assert tools.keys() >= {"Bash", "Read", "Write", "Edit", "Agent"}
    assert not tools.keys() & {"CronCreate", "Workflow", "EnterPlanMode", "Monitor"}
    assert [name for name, arguments in tools.items() if "run_in_background" in arguments] == []


def test_a_tool_that_does_not_exist_fails_alone(session: Session) -> None:
    call = call_of(session, f"[[TOOL Glob {json.dumps({'pattern': '*'})}]]")
    assert (call["decision"], call["status"]) == (None, "failed")
    assert "No such tool available" in call["result"]
