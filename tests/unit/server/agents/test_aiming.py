"""Where each agent's requests go, and what it is told of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clawdforge.server.agents import aiming
from clawdforge.server.agents.aiming import Aim
from clawdforge.server.agents.catalog import catalog
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.known import BUILT_IN
from clawdforge.server.agents.ways import Variable
from clawdforge.server.sandbox.endpoint import Endpoint
from clawdforge.server.settings import AgentSettings

DOOR = "http://127.0.0.1:4180"
LOGIN = "CLAWDFORGE_GEMINI_LOGIN"


def changed(name: str, **settings: Any) -> AgentEntry:
    return catalog({name: AgentSettings(**settings)})[name]


@pytest.mark.parametrize(
    ("name", "env", "told", "leads_to"),
    [
        ("claude", {}, DOOR, "https://api.anthropic.com"),
        ("claude", {"ANTHROPIC_BASE_URL": "http://my.host:1/a/"}, f"{DOOR}/a", "http://my.host:1/a/"),
        ("codex", {}, f"{DOOR}/v1", "https://api.openai.com/v1"),
        ("gemini", {LOGIN: "gemini-api-key"}, DOOR, "https://generativelanguage.googleapis.com"),
        ("gemini", {LOGIN: "vertex-ai"}, DOOR, "https://aiplatform.googleapis.com"),
        (
            "gemini",
            {LOGIN: "vertex-ai", "GOOGLE_VERTEX_BASE_URL": "https://v", "GOOGLE_GEMINI_BASE_URL": "https://g"},
            DOOR,
            "https://v",
        ),
    ],
)
def test_without_a_network_it_is_led_where_it_would_have_gone(
    name: str, env: Mapping[str, str], told: str, leads_to: str
) -> None:
    aim = aiming.aim(BUILT_IN[name], env, "none")
    assert (aim.told, aim.endpoint) == (told, Endpoint.at(leads_to))
    assert aim.way is not None


@pytest.mark.parametrize(
    ("name", "env"), [("local", {}), ("opencode", {}), ("gemini", {}), ("gemini", {LOGIN: "oauth-personal"})]
)
def test_an_agent_of_which_nobody_knows_where_it_goes_is_led_nowhere(name: str, env: Mapping[str, str]) -> None:
    assert aiming.aim(BUILT_IN[name], env, "none") == Aim()


@pytest.mark.parametrize("name", ["claude", "codex", "gemini", "local"])
def test_with_a_network_it_finds_its_model_by_itself(name: str) -> None:
    env = {"ANTHROPIC_BASE_URL": "http://my.host", LOGIN: "vertex-ai"}
    assert aiming.aim(BUILT_IN[name], env, "open") == Aim()


def test_the_base_url_of_the_settings_counts_for_more_than_a_variable() -> None:
    entry, env = changed("claude", base_url="https://mine/a"), {"ANTHROPIC_BASE_URL": "https://other"}
    way = Variable("ANTHROPIC_BASE_URL")
    assert aiming.aim(entry, env, "open") == Aim("https://mine/a", way)
    assert aiming.aim(entry, env, "none") == Aim(f"{DOOR}/a", way, Endpoint.at("https://mine/a"))


def test_an_agent_of_the_settings_says_itself_where_it_is_told() -> None:
    place = "{base_url}"
    entry = changed(
        "mine",
        argv=["mine", "-c", f'url="{place}/v1"'],
        env={"URL": place, "OTHER": "{else}"},
        home_files={"config": f"url={place}"},
        base_url="https://mine/a",
    )
    for network, told in (("open", "https://mine/a"), ("none", f"{DOOR}/a")):
        placed = aiming.placed(entry, network)  # type: ignore[arg-type]  # a tuple's strings are no literals
        assert placed.argv == ("mine", "-c", f'url="{told}/v1"')
        assert placed.env == {"URL": told, "OTHER": "{else}"}
        assert placed.home_files == {"config": f"url={told}"}
    assert aiming.aim(entry, {}, "none") == Aim(f"{DOOR}/a", None, Endpoint.at("https://mine/a"))


def test_without_a_base_url_an_entry_stays_as_it_is() -> None:
    entry = changed("mine", argv=["mine", "{base_url}"])
    assert aiming.placed(entry, "none") is entry


def test_a_base_url_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[agents\.claude\] base_url: a model's base URL is"):
        changed("claude", base_url="api.example")
    with pytest.raises(ValueError, match="base URL"):
        aiming.aim(BUILT_IN["claude"], {"ANTHROPIC_BASE_URL": "api.example"}, "none")
