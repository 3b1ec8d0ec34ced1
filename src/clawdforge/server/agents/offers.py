"""What a started agent offers to choose from: its modes, its models, the values of its config options. Pure.

Agents tell it when they answer `session/new`, and the config options anew whenever one is set: some values belong
to one model alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from clawdforge.wire.agents import NAME_LIMIT_CHARS

_TOLD_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Offers:
    """What an agent has told; None where it told nothing.

    Attributes:
        modes: ids of its modes.
        models: its own names of the models.
        options: the values of each config option, by the option's id.
        images: whether a prompt may hold images.
        texts: whether a prompt may hold the text of files.
        schemas: whether a prompt may hold a JSON Schema, by which the agent constrains its answer.
        model: the one of its models that it works with.
    """

    modes: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    options: Mapping[str, tuple[str, ...]] | None = None
    images: bool | None = None
    texts: bool | None = None
    schemas: bool = False
    model: str | None = None

    @classmethod
    def of(cls, initialized: Any, new: Mapping[str, Any]) -> Self:
        """Reads the answers to `initialize` and `session/new`."""
        options = _options(new)
        models = _ids(_field(new.get("models"), "availableModels"), "modelId")
        if models is None and options is not None:
            models = options.get("model")
        modes = _ids(_field(new.get("modes"), "availableModes"), "id")
        capabilities = _field(initialized, "agentCapabilities")
        taken = _field(capabilities, "promptCapabilities")
        images, texts = (
            None if taken is None else _field(taken, name) is True for name in ("image", "embeddedContext")
        )
        schemas = _field(_field(_field(capabilities, "_meta"), "clawdforge"), "schema") is True
        model = _name(_field(new.get("models"), "currentModelId")) or _current(new, "model")
        return cls(modes, models, options, images, texts, schemas, model)

    def after(self, answer: Any) -> Self:
        """The same, as the answer to `session/set_config_option` has changed it."""
        options = _options(answer) if isinstance(answer, dict) else None
        return self if options is None else replace(self, options=options, model=_current(answer, "model"))

    def of_option(self, config_id: str) -> tuple[str, ...] | None:
        """The values of a config option: none at all where others are told but not this one."""
        return None if self.options is None else self.options.get(config_id, ())

    def as_told(self, hide: Callable[[str], str]) -> Self:
        """The same as it may be shown: names without what `hide` hides, and only so many of them."""

        def hidden(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if names is None else tuple(map(hide, names[:_TOLD_LIMIT]))

        return replace(self, modes=hidden(self.modes), models=hidden(self.models))


def _options(answer: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]] | None:
    told = answer.get("configOptions")
    if not isinstance(told, list):
        return None
    options = [each for each in told if isinstance(each, dict) and isinstance(each.get("options"), list)]
    return {str(each.get("id")): tuple(_values(each["options"])) for each in options}


def _current(answer: Mapping[str, Any], config_id: str) -> str | None:
    """The value that a config option has."""
    told = answer.get("configOptions")
    options = told if isinstance(told, list) else ()
    return next((_name(_field(each, "currentValue")) for each in options if _field(each, "id") == config_id), None)


def _values(options: list[Any]) -> Iterator[str]:
    """The values of a select; its options may stand in groups."""
    for each in options:
        group = _field(each, "options")
        for option in group if isinstance(group, list) else [each]:
            if (value := _name(_field(option, "value"))) is not None:
                yield value


def _ids(listed: Any, name: str) -> tuple[str, ...] | None:
    if not isinstance(listed, list):
        return None
    return tuple(value for each in listed if (value := _name(_field(each, name))) is not None)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _name(value: Any) -> str | None:
    """A name, if it is one that a caller could give."""
    return value if isinstance(value, str) and 0 < len(value) <= NAME_LIMIT_CHARS else None
