"""Stories tell agents apart: played by the scripted agent, which asks no model, and by one that acts unasked."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from clawdforge.server.agents.entry import AgentEntry, Scripted
from clawdforge.testing import fake_agent
from clawdforge.testing.stories import STORIES, Stage, StoryFailed, perform, pointed
from clawdforge.testing.stories.stage import expect
from clawdforge.testing.stories.trial import stage_for

BY_NAME = {story.name: story for story in STORIES}
ARGV = tuple(fake_agent.argv())


@pytest.fixture(scope="module")
def asking() -> Iterator[Stage]:
    """The scripted agent, set to ask before it acts."""
    entry = AgentEntry("asking", "Asking", ARGV, ask_mode="ask", scripted=Scripted())
    with stage_for(entry, ARGV) as stage:
        stage.info()  # its connection is open before a test looks
        yield stage


@pytest.fixture(scope="module")
def headstrong() -> Iterator[Stage]:
    """The same, but that it acts unasked."""
    entry = AgentEntry("headstrong", "Headstrong", ARGV, ask_mode="auto", scripted=Scripted())
    with stage_for(entry, ARGV) as stage:
        stage.info()  # its connection is open before a test looks
        yield stage


def test_every_story_has_a_name_of_its_own_and_a_title_for_a_table() -> None:
    assert len(BY_NAME) == len(STORIES)
    for story in STORIES:
        assert re.fullmatch(r"[a-z]+", story.name)
        assert not set("|\n") & set(story.title)


@pytest.mark.parametrize("name", ["json", "thinking", "write"])
def test_a_story_of_what_the_scripted_agent_does_works(asking: Stage, name: str) -> None:
    played = perform(BY_NAME[name], asking)
    assert (played.story, played.outcome, played.why) == (name, "works", None)
    assert played.title == BY_NAME[name].title


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("context", "expected the prompt to reach the model"),
        ("upload", "expected the prompt to reach the model"),
        ("usage", "expected the tokens that the agent tells"),
        ("system", "expected the prompt to reach the model"),
        ("deadline", "expected 504 timeout"),
    ],
)
def test_a_story_that_needs_the_model_fails_where_nobody_asks_it(asking: Stage, name: str, why: str) -> None:
    played = perform(BY_NAME[name], asking)
    assert played.outcome == "fails"
    assert played.why is not None and played.why.startswith(why)


@pytest.mark.parametrize(
    ("name", "why"), [("effort", "takes no effort"), ("replace", "cannot be replaced|not repl")]
)
def test_a_story_is_not_played_where_the_agent_lacks_what_it_needs(asking: Stage, name: str, why: str) -> None:
    played = perform(BY_NAME[name], asking)
    assert (played.outcome, played.duration_ms) == ("cannot", 0)
    assert re.search(why, played.why or "")


@pytest.mark.parametrize("name", ["workspace", "reads", "deny", "ask"])
def test_an_agent_that_does_not_ask_fails_the_stories_of_permissions(headstrong: Stage, name: str) -> None:
    played = perform(BY_NAME[name], headstrong)
    assert played.outcome == "fails"
    assert "expected it to ask before it writes" in str(played.why) or "expected no file" in str(played.why)


def test_after_a_story_that_failed_the_next_one_has_a_new_session(asking: Stage) -> None:
    before = asking.session().session_id
    assert perform(BY_NAME["usage"], asking).outcome == "fails"
    assert asking.session().session_id != before


def test_what_was_seen_is_told() -> None:
    expect(True, "anything", "nothing")
    with pytest.raises(StoryFailed, match=r"^expected a fig; saw 'a plum'$"):
        expect(False, "a fig", "a plum")


def test_an_error_that_is_not_the_one_expected_fails_and_so_does_a_success(asking: Stage) -> None:
    either = (504, "timeout"), (502, "agent_failed")
    success = "expected 504 timeout or 502 agent_failed; saw a success"
    with pytest.raises(StoryFailed, match=success), asking.fails(*either):
        asking.turn("[[SAY hello]]")
    with (
        pytest.raises(StoryFailed, match=r"expected 504 timeout; saw .*502 agent_failed"),
        asking.fails(either[0]),
    ):
        asking.turn("[[ERROR -32603 broken]]")
    with asking.fails((502, "agent_failed")) as body:
        asking.turn("[[ERROR -32603 broken]]")
    assert body["stop_reason"] == "agent_failed"


def test_the_processes_of_a_session_are_seen_its_leader_first_and_gone_when_it_is_closed(asking: Stage) -> None:
    with asking.forge.session(asking.agent, permissions="allow") as session:
        session.turn("[[CHILD]]")
        leader, *others = processes = asking.processes(session)
        assert leader.parent not in {each.pid for each in others}
        assert any("fake_agent" in each.command for each in processes)
        assert {each.parent for each in others} <= {each.pid for each in processes}
        assert all(each.runs() for each in processes)
    assert not any(each.runs() for each in processes)
    assert asking.processes(session) == []


def test_an_entry_says_how_it_is_pointed_at_the_model_and_its_login_stays_behind() -> None:
    way = Scripted({"BASE": "{url}/v1"}, ("--url", "{url}"), {".x/config": "url = '{url}'"})
    entry = AgentEntry(
        "mine", "Mine", ("mine",), env={"A": "1"}, inherit_env=("KEY",), login_files=("~/.key",), scripted=way
    )
    assert pointed.settings(entry, ("/bin/mine", "acp"), "http://127.0.0.1:9") == {
        "title": "Mine",
        "base_url": "http://127.0.0.1:9",
        "argv": ["/bin/mine", "acp", "--url", "{base_url}"],
        "env": {"A": "1", "BASE": "{base_url}/v1"},
        "home_files": {".x/config": "url = '{base_url}'"},
        "inherit_env": [],
        "login_files": [],
        "usage_counts": "prompt",
    }


def test_an_entry_that_does_not_say_how_gets_a_sentence_that_says_what_would() -> None:
    with pytest.raises(pointed.NoWay, match=r"\[agents.mine.scripted\] env = \{ .*\{url\}"):
        pointed.settings(AgentEntry("mine", "Mine", ("mine",)), ("mine",), "http://127.0.0.1:9")
    lacking = AgentEntry("local", "Local", ("mine",), lacks={"scripted": "it is a model itself"})
    with pytest.raises(pointed.NoWay, match="cannot be pointed at a scripted model: it is a model itself"):
        pointed.settings(lacking, ("mine",), "http://127.0.0.1:9")
