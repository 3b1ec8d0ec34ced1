"""What a test found out is kept for the version that was tested, and nothing else is made of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawdforge.server.agents import available, tested
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.known import BUILT_IN
from clawdforge.server.agents.offers import Offers
from clawdforge.wire.agents import AgentTested, StoryOutcome

OFFERS = Offers(("ask", "auto"), ("small", "large"), None, images=True)
TESTED = AgentTested(
    "1.2.3",
    1_700_000_000,
    (
        StoryOutcome("json", "a run returns JSON", "works", 120),
        StoryOutcome("effort", "an effort reaches the model", "cannot", 0, "it takes no effort"),
    ),
)


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    tested.keep(tmp_path / "data", "mine", TESTED, OFFERS)
    assert tested.kept(tmp_path / "data", "mine", "1.2.3") == (TESTED, OFFERS)
    assert [path.name for path in (tmp_path / "data" / "tested").iterdir()] == ["mine.json"]


def test_another_version_and_another_agent_were_not_tested(tmp_path: Path) -> None:
    tested.keep(tmp_path, "mine", TESTED, OFFERS)
    for name, version in (("mine", "1.2.4"), ("mine", None), ("other", "1.2.3")):
        assert tested.kept(tmp_path, name, version) == (None, Offers())


def test_the_last_test_counts(tmp_path: Path) -> None:
    later = AgentTested("1.2.3", 1_700_000_001, ())
    tested.keep(tmp_path, "mine", TESTED, OFFERS)
    tested.keep(tmp_path, "mine", later, Offers())
    assert tested.kept(tmp_path, "mine", "1.2.3") == (later, Offers())


@pytest.mark.parametrize("content", ["", "[", "[]", "7", "{}", '{"version": "1.2.3", "at": 1, "stories": [7]}'])
def test_what_cannot_be_read_was_not_tested(tmp_path: Path, content: str) -> None:
    tested.keep(tmp_path, "mine", TESTED, OFFERS)
    (tmp_path / "tested" / "mine.json").write_text(content)
    assert tested.kept(tmp_path, "mine", "1.2.3") == (None, Offers())


def test_an_agent_tells_what_it_offered_last_before_what_it_offered_in_its_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mine-acp"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    entry = AgentEntry(name="mine", title="Mine", argv=("mine-acp",))
    before = available.info(entry, tmp_path)
    assert (before.modes, before.models, before.capabilities.images, before.tested) == (None, None, None, None)
    unversioned = AgentTested(None, 1, TESTED.stories)
    tested.keep(tmp_path, "mine", unversioned, OFFERS)
    after = available.info(entry, tmp_path)
    assert (after.modes, after.models, after.capabilities.images) == (("ask", "auto"), ("small", "large"), True)
    assert after.tested == unversioned
    started = available.info(entry, tmp_path, Offers(modes=("plan",)))
    assert (started.modes, started.models, started.tested) == (("plan",), None, unversioned)


def test_what_an_agent_takes_is_told_by_its_entry(tmp_path: Path) -> None:
    claude = available.info(BUILT_IN["claude"], tmp_path)
    assert claude.capabilities.efforts == ("low", "medium", "high", "xhigh", "max")
    assert claude.capabilities.system_modes == ("append", "replace")
    assert (claude.capabilities.model, claude.capabilities.ask_mode) == (True, "default")
    assert claude.capabilities.lacks == {}
    assert claude.login is not None and "ANTHROPIC_API_KEY" in claude.login
    local = available.info(BUILT_IN["local"], tmp_path)
    assert local.capabilities.model is False
    assert set(local.capabilities.lacks) == {"model", "effort", "scripted"}
    assert local.login is None
