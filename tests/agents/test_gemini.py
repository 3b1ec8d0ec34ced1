"""What is the real `gemini`'s own: how its turns end, what it retries, its modes, what it runs unasked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge, ForgeAPIError, Session
from clawdforge.testing.fake_model import FakeModel
from harness.traps import Trap

# What the endpoint counts for each request.
INPUT, OUTPUT = 110, 20
TRIES = 2  # what its settings allow it


@pytest.fixture(scope="module")
def gemini(app: Forge) -> Iterator[Session]:
    """A session with everything left to the gateway, which this module's stories share."""
    with app.session("gemini") as opened:
        opened.turn("[[SAY I am here]]")
        yield opened


def calls(turn: Any) -> list[dict[str, Any]]:
    return [event for event in turn.events if event["type"] == "tool_call"]


def decisions(turn: Any) -> list[str]:
    return [event["decision"] for event in turn.events if event["type"] == "permission_answer"]


# -- how a turn ends ------------------------------------------------------------------------------------------


def test_usage_is_the_sum_of_what_the_model_counted(gemini: Session) -> None:
    usage = gemini.turn("[[WRITE counted.txt x]]").usage
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"]) == (2 * INPUT, 2 * OUTPUT)
    assert usage["source"] == "agent"


def test_a_refusal_is_tried_again_and_then_an_end_without_a_word(gemini: Session, model: FakeModel) -> None:
    for prompt in ("[[REFUSE]]", "[[EMPTY]]"):
        before = len(model.turns)
        turn = gemini.turn(prompt)
        assert (turn.ok, turn.stop_reason, turn.empty, turn.events) == (False, "end_turn", True, [])
        assert len(model.turns) - before == TRIES


def test_an_answer_that_ran_out_of_tokens_ends_like_any_other(gemini: Session) -> None:
    turn = gemini.turn("[[SAY half of it]][[STOP max_tokens]]")
    assert (turn.ok, turn.stop_reason, turn.text()) == (True, "end_turn", "half of it")


def test_an_answer_that_breaks_off_is_an_error(gemini: Session) -> None:
    with pytest.raises(ForgeAPIError) as caught:
        gemini.turn("[[SLOW 10 0.001]][[CUT]]")
    assert (caught.value.status_code, caught.value.code) == (502, "agent_failed")
    assert "terminated" in caught.value.detail
    assert gemini.turn("[[SAY still here]]").text() == "still here"


def test_failures_that_last_are_told_after_two_tries(app: Forge, model: FakeModel) -> None:
    """One endpoint fails, one has enough, one hangs up: side by side, for it waits five seconds between tries."""
    faults = {"[[ERR 500]]": "error 500", "[[ERR 429]]": "error 429", "[[DROP]]": "fetch failed"}
    with ThreadPoolExecutor(len(faults)) as threads:
        runs = {fault: threads.submit(app.run, f"{fault} {app}", agent="gemini") for fault in faults}
        for fault, words in faults.items():
            with pytest.raises(ForgeAPIError) as caught:
                runs[fault].result()
            assert (caught.value.status_code, caught.value.code) == (502, "agent_failed")
            assert words in caught.value.detail
            assert len([each for each in model.turns if each.last_text == f"{fault} {app}"]) == TRIES


def test_a_failure_that_passes_is_survived(gemini: Session) -> None:
    assert gemini.turn("[[ERR 500 1]]").text() == "recovered"


# -- what it is told ------------------------------------------------------------------------------------------


def test_a_model_that_it_has_never_heard_of_reaches_the_endpoint(app: Forge, model: FakeModel) -> None:
    assert app.run("[[SAY hello]]", agent="gemini", model="gemini-unheard-of-9").result == "hello"
    assert model.turns[-1].model == "gemini-unheard-of-9"


def test_an_added_system_prompt_is_said_once_to_each_agent(
    app: Forge, model: FakeModel, lose_agent: Callable[[Session], None]
) -> None:
    with app.session("gemini", system="Write to @alice\n\n\n\nlike a pirate.") as session:
        for _ in range(2):
            session.turn("[[SAY one]]")
            session.turn("[[SAY two]]")
            told = json.dumps(model.turns[-1].body["contents"])
            assert told.count(r"Write to @alice\n\n\n\nlike a pirate.") == 1
            lose_agent(session)


@pytest.mark.parametrize("mode", ["yolo", "autoEdit"])
def test_a_mode_in_which_it_would_not_ask_is_refused(app: Forge, mode: str) -> None:
    with pytest.raises(ForgeAPIError) as caught:
        app.run("[[SAY hello]]", agent="gemini", mode=mode)
    assert (caught.value.status_code, caught.value.code) == (422, "invalid")
    assert "untrusted" in caught.value.body["errors"][0]["message"]


def test_in_plan_mode_it_changes_nothing(app: Forge) -> None:
    with app.session("gemini", mode="plan", permissions="allow") as session:
        turn = session.turn("[[WRITE poem.txt x]][[BASH touch by-command]]")
        assert [call["status"] for call in calls(turn)] == ["failed"]
        plan = session.turn("[[WRITE plan.md x]]")
        assert [call["status"] for call in calls(plan)] == ["completed"], "its plans lie in its home"
        assert list(Path(session.cwd).iterdir()) == []


# -- what it may ----------------------------------------------------------------------------------------------


def test_it_cannot_go_into_plan_mode_by_itself(gemini: Session, model: FakeModel) -> None:
    gemini.turn("[[SAY what have I got?]]")
    asked = model.turns[-1].ask
    assert asked is not None
    assert asked.tools >= {"write_file", "read_file", "run_shell_command"}
    assert not asked.tools & {"enter_plan_mode", "exit_plan_mode", "ask_user"}


def test_a_command_that_only_reads_runs_unasked_unless_it_is_git(app: Forge) -> None:
    with app.session("gemini", permissions="deny") as session:
        (Path(session.cwd) / "here.txt").write_text("x")
        listed = session.turn("[[BASH ls]]")
        assert (decisions(listed), [call["status"] for call in calls(listed)]) == ([], ["completed"])
        assert "here.txt" in listed.text()
        assert decisions(session.turn("[[BASH git status]]")) == ["reject"]
        assert decisions(session.turn("[[BASH ls > there.txt]]")) == ["reject"]


def test_it_reads_nothing_outside_its_workspace_but_by_a_command(app: Forge) -> None:
    with app.session("gemini", permissions="deny") as session:
        turn = session.turn("[[READ /usr/lib/os-release]]")
        assert [call["status"] for call in calls(turn)] == ["failed"]
        assert "PRETTY_NAME" not in turn.text()


def test_its_commands_see_no_key(app: Forge) -> None:
    with app.session("gemini", permissions="allow") as session:
        session.turn("[[BASH env > environment]]")
        environment = (Path(session.cwd) / "environment").read_text()
    assert "GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:4180\n" in environment, (
        "a way to the model, and to nothing else"
    )
    assert "GEMINI_API_KEY" not in environment
    assert "scripted-key" not in environment
    assert "CLAWDFORGE_CHILD=" in environment, "by which all that it starts is known, and ended"


def test_a_command_of_its_own_brings_no_program_in(app: Forge) -> None:
    """It would ask on its terminal whether the workspace is to be trusted: nobody is there to say so."""
    with app.session("gemini") as session:
        trap = Trap.laid_in(session)
        server = {"command": "touch", "args": [f"{trap.there}/ran"]}
        manifest = {"name": "planted", "version": "1.0.0", "mcpServers": {"planted": server}}
        extension = Path(session.cwd) / "extension"
        extension.mkdir()
        (extension / "gemini-extension.json").write_text(json.dumps(manifest))
        with pytest.raises(ForgeAPIError, match="longer than 2 seconds"):
            session.turn(f"/extensions link {session.agent_cwd}/{extension.name}", timeout_secs=2)
        assert session.turn("/extensions list").text() == "No extensions installed."
        assert trap.sprung() == []
