"""What an agent tells of itself, as it may tell it: whole, in part, or in shapes that nobody expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.agents.offers import Offers

GOLDEN = Path(__file__).parents[3] / "golden"


def answers_of(trace: str) -> tuple[Any, Any]:
    """What a real agent answered to `initialize` and to its first `session/new`."""
    calls: dict[str, Any] = {}
    for line in (GOLDEN / trace).read_text().splitlines():
        entry = json.loads(line)
        message = entry["m"]
        if entry["d"] == "out":
            calls.setdefault(message.get("method"), message.get("id"))
        elif message.get("id") == calls.get("initialize") and "initialize" not in calls.get("answers", {}):
            calls.setdefault("answers", {})["initialize"] = message["result"]
        elif message.get("id") == calls.get("session/new"):
            return calls["answers"]["initialize"], message["result"]
    raise AssertionError(f"no session is started in {trace}")


def select(name: str, *values: str) -> dict[str, Any]:
    return {"id": name, "type": "select", "options": [{"value": value, "name": value} for value in values]}


def test_what_the_real_claude_tells() -> None:
    offers = Offers.of(*answers_of("claude-agent-acp-0.49.0.jsonl"))
    assert offers.modes == ("auto", "default", "acceptEdits", "plan", "dontAsk")
    assert offers.models == ("default", "opus[1m]", "sonnet", "sonnet[1m]", "haiku")
    assert offers.of_option("effort") == ("default", "low", "medium", "high", "xhigh", "max")
    assert offers.model == "default"
    assert offers.images is True


def test_what_the_real_gemini_tells() -> None:
    offers = Offers.of(*answers_of("gemini-cli-0.61.0.jsonl"))
    assert offers.modes is not None and "default" in offers.modes
    assert offers.models is not None and any(name.startswith("gemini-") for name in offers.models)
    assert offers.of_option("effort") is None, "it has no config options"
    assert offers.model == "auto"


@pytest.mark.parametrize(
    ("meta", "takes"),
    [
        ({"clawdforge": {"schema": True}}, True),
        ({"clawdforge": {"schema": 1}}, False),
        ({"clawdforge": True}, False),
        ({"other": {"schema": True}}, False),
        (None, False),
    ],
)
def test_an_agent_that_constrains_itself_by_a_schema_tells_so(meta: Any, takes: bool) -> None:
    assert Offers.of({"agentCapabilities": {"_meta": meta}}, {}).schemas is takes


def test_an_agent_that_tells_nothing_is_taken_at_its_word() -> None:
    assert Offers.of({}, {"sessionId": "s-1"}) == Offers()


def test_an_option_that_stands_in_groups_offers_all_of_them() -> None:
    groups = [{"group": "a", "options": [{"value": "x"}]}, {"group": "b", "options": [{"value": "y"}]}]
    offers = Offers.of({}, {"configOptions": [{"id": "model", "options": groups}]})
    assert offers.of_option("model") == offers.models == ("x", "y")


def test_what_was_set_may_change_what_is_offered() -> None:
    offers = Offers.of({}, {"configOptions": [select("model", "a", "b"), select("effort", "low", "high")]})
    assert offers.after({"configOptions": [select("model", "a", "b")]}).of_option("effort") == ()
    assert offers.after({}) == offers.after(None) == offers


def test_what_was_set_may_change_the_model() -> None:
    offers = Offers.of({}, {"configOptions": [{**select("model", "a", "b"), "currentValue": "a"}]})
    assert offers.model == "a"
    assert offers.after({"configOptions": [{**select("model", "a", "b"), "currentValue": "b"}]}).model == "b"
    assert offers.after({}).model == "a"


@pytest.mark.parametrize(
    "told",
    [
        {"modes": [], "models": 7, "configOptions": {}},
        {"modes": {"availableModes": "yolo"}, "models": {"availableModels": None}, "configOptions": None},
        {"modes": {"availableModes": ["yolo", {"id": 1}]}, "configOptions": [7, {"id": []}, {"options": "x"}]},
        {
            "configOptions": [
                {"id": "effort", "options": [None, 3, {"value": 4}, {"options": [[], {"value": {}}]}]}
            ]
        },
    ],
)
@pytest.mark.parametrize("initialized", [None, [], {"agentCapabilities": {"promptCapabilities": []}}])
def test_nonsense_offers_nothing(told: dict[str, Any], initialized: Any) -> None:
    offers = Offers.of(initialized, told)
    assert not any((offers.modes, offers.models, offers.images, offers.model, offers.of_option("effort")))


def test_a_name_that_no_caller_could_give_is_none() -> None:
    long = "m" * 201
    new = {
        "modes": {"availableModes": [{"id": long}, {"id": "m" * 200}]},
        "models": {"currentModelId": long, "availableModels": [{"modelId": long}]},
        "configOptions": [select("effort", long, "low")],
    }
    offers = Offers.of({}, new)
    assert (offers.modes, offers.models, offers.model) == (("m" * 200,), (), None)
    assert offers.of_option("effort") == ("low",)


def test_so_many_names_are_told_and_no_more() -> None:
    models = [{"modelId": str(number)} for number in range(5000)]
    told = Offers.of({}, {"models": {"availableModels": models}}).as_told(str.upper)
    assert told.models == tuple(map(str, range(1000)))
