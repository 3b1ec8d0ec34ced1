"""Stories of what a caller chooses: seen in the model's own request, or refused in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clawdforge.errors import ForgeAPIError
from clawdforge.testing.fake_model import Request
from clawdforge.testing.stories.stage import Stage, expect

EFFORTS = ("low", "medium", "high", "xhigh", "max")


def model(stage: Stage) -> None:
    """What the model is called in its request may differ from the agent's own name for it."""
    usual = _usual(stage).model
    offered = stage.info()["models"] or ["a-model-of-the-story"]
    seen: dict[str, str | None] = {}
    for name in offered[:-3:-1]:
        seen[name] = _request(stage, model=name).model
        if seen[name] != usual:
            return
    expect(False, f"another model than {usual} to be asked", seen)


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
        _named(field, body)
    if can["model"]:
        _refused_or_used(stage)


def _refused_or_used(stage: Stage) -> None:
    """A model that the agent has not heard of may be one all the same: then it is the one that is asked."""
    word, name = stage.word(), f"model-{stage.word()}"
    try:
        stage.forge.run(f"{word} [[SAY hello]]", agent=stage.agent, model=name)
    except ForgeAPIError as error:
        expect((error.status_code, error.code) == (422, "invalid"), "422 invalid", str(error))
        _named("model", error.body)
    else:
        seen = stage.request(word).model
        expect(seen == name, f"the unheard-of model {name} to be refused, or to be asked", seen)


def _named(field: str, body: Mapping[str, Any]) -> None:
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
