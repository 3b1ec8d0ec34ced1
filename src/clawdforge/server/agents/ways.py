"""The ways in which agents take a model, a system prompt or an effort: values, and what each can carry.

A way is data in the catalog. What must be known before the agent starts (arguments, environment, files) is
worked out in `launch`; what is said over ACP, in `setup`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConfigOption:
    """`session/set_config_option` with this `configId`, after the session has started."""

    config_id: str


@dataclass(frozen=True, slots=True)
class SetModel:
    """`session/set_model`, after the session has started."""


@dataclass(frozen=True, slots=True)
class MetaSystemPrompt:
    """`_meta.systemPrompt` of `session/new`: a string replaces, `{"append": …}` appends."""


@dataclass(frozen=True, slots=True)
class MetaOption:
    """A field deep in `_meta` of `session/new`; `path` leads to it.

    With `config_id` the value is also set by that config option, so that the agent tells what else goes with it.
    """

    path: tuple[str, ...]
    config_id: str | None = None


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments of the command line; `{value}` in them stands for the value as a JSON (and TOML) string."""

    template: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileArguments:
    """A file of the session, named by arguments in which `{path}` stands for it."""

    template: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable."""

    name: str


@dataclass(frozen=True, slots=True)
class FileVariable:
    """A file of the session, named by an environment variable."""

    variable: str


@dataclass(frozen=True, slots=True)
class FirstPrompt:
    """Said ahead of the first prompt: for agents that know no other way. It can add, never replace."""


Way = (
    ConfigOption
    | SetModel
    | MetaSystemPrompt
    | MetaOption
    | Arguments
    | FileArguments
    | FileVariable
    | Variable
    | FirstPrompt
)
