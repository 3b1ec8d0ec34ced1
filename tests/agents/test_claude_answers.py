"""What a turn of the real `claude` gives beside what all agents give (`test_stories`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge, ForgeAPIError, Session
from clawdforge.testing.fake_model import FakeModel

# What the endpoint counts for each request.
INPUT, OUTPUT, CACHED = 100, 20, 10


def test_a_file_that_the_model_writes_is_there_and_its_tool_call_in_the_answer(session: Session) -> None:
    turn = session.turn("[[WRITE poem.txt roses are red]]")
    file = Path(session.cwd) / "poem.txt"
    assert file.read_text() == "roses are red"
    [call] = [event for event in turn.events if event["type"] == "tool_call"]
    assert (call["name"], call["kind"], call["status"]) == ("Write", "edit", "completed")
    assert call["args"] == {"file_path": "poem.txt", "content": "roses are red"}
    assert "File created successfully" in call["result"]
    assert call["diffs"] == [{"path": "poem.txt", "old_text": None, "new_text": "roses are red"}]
    assert turn.text() == f"TOOLDONE: {call['result']}"


def test_a_file_that_the_model_changes_shows_what_changed(session: Session) -> None:
    (Path(session.cwd) / "list.txt").write_text("bread\nmilk\n")
    (Path(session.cwd) / "list.txt").chmod(0o666)  # the agent may be another user
    change = {"file_path": "list.txt", "old_string": "milk", "new_string": "honey"}
    turn = session.turn(f"[[READ list.txt]][[TOOL Edit {json.dumps(change)}]]")
    assert (Path(session.cwd) / "list.txt").read_text() == "bread\nhoney\n"
    read, edit = [event for event in turn.events if event["type"] == "tool_call"]
    assert (read["name"], read["status"]) == ("Read", "completed")
    assert "milk" in read["result"]
    assert (edit["name"], edit["status"]) == ("Edit", "completed")
    [diff] = edit["diffs"]
    assert "milk" in diff["old_text"]
    assert "honey" in diff["new_text"]


def test_usage_is_what_the_model_counted(session: Session) -> None:
    turn = session.turn("[[WRITE counted.txt x]]")
    requests = 2  # the call of the tool, and the answer to its result
    assert turn.usage is not None
    cost_usd = turn.usage.pop("cost_usd")
    assert turn.usage == {
        "input_tokens": requests * INPUT,
        "output_tokens": requests * OUTPUT,
        "cached_read_tokens": requests * CACHED,
        "cached_write_tokens": 0,
        "thought_tokens": 0,
        "total_tokens": requests * (INPUT + OUTPUT + CACHED),
        "source": "agent",
    }
    again = session.turn("[[WRITE counted.txt y]]").usage
    assert again is not None
    assert again["cost_usd"] == pytest.approx(cost_usd), "a turn's cost is its own, not the session's"
    assert cost_usd > 0


def test_a_model_that_it_has_not_heard_of_is_passed_on_with_its_effort(app: Forge, model: FakeModel) -> None:
    assert app.run("[[SAY arr]]", model="claude-unheard-of-9", effort="low").result == "arr"
    assert (model.turns[-1].model, model.turns[-1].effort) == ("claude-unheard-of-9", "low")


def test_an_alias_stands_for_a_model_whose_efforts_are_its_own(app: Forge, model: FakeModel) -> None:
    with app.session(model="sonnet", effort="max") as session:
        for _ in range(2):
            session.turn("[[SAY arr]]")
            assert str(model.turns[-1].model).startswith("claude-sonnet-")
            assert model.turns[-1].effort == "max"


@pytest.mark.parametrize(
    ("name", "effort", "offers"), [("sonnet", "xhigh", "low, medium, high, max"), ("haiku", "low", "none")]
)
def test_an_effort_that_a_model_lacks_is_refused_before_anything_is_asked(
    app: Forge, model: FakeModel, name: str, effort: Any, offers: str
) -> None:
    before = len(model.turns)
    with pytest.raises(ForgeAPIError) as caught:
        app.run("[[SAY arr]]", model=name, effort=effort)
    assert (caught.value.status_code, caught.value.code) == (422, "invalid")
    assert f"the effort '{effort}' with this model: it offers " in caught.value.detail
    assert offers in caught.value.detail
    assert caught.value.body["errors"][0]["loc"][-1] == "effort"
    assert len(model.turns) == before


def test_it_speaks_with_the_gateways_key_to_the_gateways_endpoint(session: Session, model: FakeModel) -> None:
    session.turn("[[SAY who]]")
    assert model.turns[-1].headers["x-api-key"] == "sk-scripted-0123456789"
    assert not model.turns[-1].body["model"].startswith("claude-of-the-user")
    asked = [each for each in model.requests if each.path.startswith("/v1/messages")]
    assert model.turns[-1] in asked
    assert not [each for each in asked if each.kind == "side"], "nothing is asked that nobody asked for"


def test_a_prompt_of_a_megabyte_reaches_the_model_whole(session: Session, model: FakeModel) -> None:
    filler = "lorem ipsum " * (1024 * 1024 // 12)
    assert session.turn(f"{filler}[[SAY read it all]]").text() == "read it all"
    assert len(model.turns[-1].last_text) >= len(filler)


def test_a_refusal_is_no_success(session: Session) -> None:
    turn = session.turn("[[REFUSE]]")
    assert (turn.ok, turn.stop_reason) == (False, "refusal")
    assert "unable to respond to this request" in turn.text()


def test_it_goes_on_by_itself_where_the_model_ran_out_of_tokens(session: Session, model: FakeModel) -> None:
    turn = session.turn("[[SAY half of it]][[STOP max_tokens]]")
    assert (turn.ok, turn.stop_reason) == (True, "end_turn")
    assert turn.text().startswith("half of it")
    assert "Output token limit hit" in model.turns[-1].last_text


def test_an_end_without_a_word_is_empty_and_no_success(session: Session) -> None:
    turn = session.turn("[[EMPTY]]")
    assert (turn.ok, turn.stop_reason, turn.empty) == (False, "end_turn", True)
    assert turn.events == []


def test_an_answer_that_breaks_off_is_fetched_whole(session: Session) -> None:
    turn = session.turn("[[SLOW 10 0.001]][[CUT]]")
    assert (turn.ok, turn.stop_reason) == (True, "end_turn")
    assert turn.text() == "0 1 2 3 4 5 6 7 8 9 "
