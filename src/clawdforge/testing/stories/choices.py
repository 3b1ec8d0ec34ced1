"""Stories of what a caller chooses: seen in the model's own request, or refused in words."""

from __future__ import annotations

import json
from typing import Any

from clawdforge.testing.fake_model import Request
from clawdforge.testing.stories.stage import Stage, expect

EFFORTS = ("low", "medium", "high", "xhigh", "max")


def model(stage: Stage) -> None:
    """What the model is called in its request may differ from the agent's own name for it."""
    usual = _usual(stage).model
    offered = stage.info()["models"] or ["a-model-of-the-story"]
    seen = {name: _request(stage, model=name).model for name in offered[:-3:-1]}
    expect(any(name != usual for name in seen.values()), f"another model than {usual} to be asked", seen)


def effort(stage: Stage) -> None:
    usual = _usual(stage).effort
    chosen = next(each for each in stage.info()["capabilities"]["efforts"] if each != usual)
    seen = _request(stage, effort=chosen).effort
    expect(seen == chosen, f"the effort {chosen} in the request", seen)


def system_append(stage: Stage) -> None:
    system = f"Speak like the pirate {stage.word()}."
    request = _request(stage, system=system)
    expect(system in json.dumps(request.body), "the model to be told", "nothing of it")
    usual = _usual(stage).system
    expect(len(request.system) >= len(usual) / 2, "the agent's own instructions to stay", request.system)


def system_replace(stage: Stage) -> None:
    system = f"Speak like the pirate {stage.word()}."
    request = _request(stage, system=system, system_mode="replace")
    expect(system in request.system, "it among the instructions", request.system)
    usual = _usual(stage).system
    expect(len(request.system) < len(usual) / 2, "the agent's own instructions to be gone", request.system)


def refused(stage: Stage) -> None:
    """A value that an agent cannot take is refused, never ignored."""
    can = stage.info()["capabilities"]
    wrong: list[tuple[str, dict[str, Any]]] = [("mode", {"mode": "no-such-mode"})]
    wrong += [("effort", {"effort": each}) for each in EFFORTS if each not in can["efforts"]]
    if not can["model"]:
        wrong.append(("model", {"model": "any"}))
    if "replace" not in can["system_modes"]:
        wrong.append(("system_mode", {"system": "Be brief.", "system_mode": "replace"}))
    for field, options in wrong:
        with stage.fails((422, "invalid")) as body:
            stage.forge.run("[[SAY hello]]", agent=stage.agent, **options)
        named = [".".join(map(str, each["loc"])) for each in body["errors"]]
        expect(any(field in name for name in named), f"the field {field} to be named", body)


def _usual(stage: Stage) -> Request:
    """How the model is asked where nothing is chosen."""
    word = stage.word()
    stage.turn(f"{word} [[SAY hello]]")
    return stage.request(word)


def _request(stage: Stage, **options: Any) -> Request:
    word = stage.word()
    stage.forge.run(f"{word} [[SAY hello]]", agent=stage.agent, **options)
    return stage.request(word)
