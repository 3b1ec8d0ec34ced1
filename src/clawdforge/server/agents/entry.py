"""What is known of an agent, so that it can be started, told what a call may set, and understood. Values.

Facts about the agents: docs/agents.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from clawdforge.server.agents.endpoints import ModelEndpoint
from clawdforge.server.agents.usage import Counts
from clawdforge.server.agents.ways import ConfigOption, FirstPrompt, Way
from clawdforge.wire.agents import Effort

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Scripted:
    """How an agent's requests are pointed at a scripted model endpoint, with no login: `{url}` stands for its URL.

    Attributes:
        env: added to the agent's environment.
        argv: added to its command line.
        home_files: files of its private home by their path in it, beside those of the entry.
    """

    env: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    argv: tuple[str, ...] = ()
    home_files: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class LoginChoice:
    """Tells an agent by which of its logins it works: by the first one that is there.

    Attributes:
        variable: the environment variable that tells it.
        logins: each a variable of its environment or one of its login files, and what to tell where it is there.
    """

    variable: str
    logins: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """One agent of the catalog.

    Attributes:
        argv: how to start it; the first word is looked up (`available.find`).
        package: the npm package, exactly pinned, that `clawdforge agents install` puts below the data directory.
        by_hand: the command by which its makers have it installed, where there is no such package.
        native: its program is a mere wrapper, in Node, of one for this kind of machine that lies beside it, called
            the same and `-OS-CPU`: that one is started.
        heeds_eof: it ends by itself once its input is closed.
        survives_failures: once it has told that a prompt failed it can be given the next one.
        env: added to the clean environment that it starts with.
        inherit_env: variables of the gateway's own environment that are passed on.
        login_files: files of the user's home that hold its login; copied into its private home at start.
        login_choice: how it is told which of its logins to use; None: it finds out by itself.
        login_words: what it prints where it waits for a person to log in: nobody will; None: it does not wait.
        home_files: files of its private home that are ours: by their path in it, written as they stand here before
            every start, whatever the agent made of them.
        resets: what is removed from its private home before every start: all by which an agent could give rights,
            programs or instructions to the next one of its session.
        keeps: what of that stays (see `workspaces.beneath.remove`): the session's conversations.
        file_env: variables that name a secret file of the user's: the agent gets a copy, and is told of that.
        readable: files and directories that its program needs besides what can be seen of it (`programs`).
        ask_mode: the ACP mode in which it asks before it uses a tool; set after every start.
        model, effort: how it takes these; None: it does not.
        system, system_replace: how it takes a system prompt that appends, and one that replaces; None: it cannot.
        efforts: the efforts it knows; others are refused.
        new_meta: `_meta` of `session/new`.
        literal_uris: it takes the path in a file URI as it stands, escapes and all, and looks for that file.
        unkept: options of its permission requests by which it fails when they are chosen, each a kind of tool and
            of option: they are not passed on.
        endpoints: where its models are; the first that goes with its login counts. Where none is known, it reaches
            no model without a network.
        base_url: where they are instead: `endpoints.PLACE` stands for it in the texts of this entry.
        default_model: used where neither the caller nor the agent chooses.
        usage_counts: what the `usage` of its answers counts: each prompt by itself, or its session so far.
        history_bytes: how long the conversation so far may be, where it has forgotten it and is told of it.
        lacks: what else it cannot do, by a name for it, and why: `testing.stories` says which names stories need.
        scripted: how it is tried without a vendor; None: nobody has found out yet.
    """

    name: str
    title: str
    argv: tuple[str, ...]
    package: str | None = None
    by_hand: str | None = None
    native: bool = False
    heeds_eof: bool = True
    survives_failures: bool = True
    env: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    inherit_env: tuple[str, ...] = ()
    login_files: tuple[str, ...] = ()
    login_choice: LoginChoice | None = None
    login_words: str | None = None
    home_files: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    resets: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    file_env: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    ask_mode: str | None = None
    model: Way | None = field(default_factory=lambda: ConfigOption("model"))
    effort: Way | None = None
    efforts: tuple[Effort, ...] = ()
    system: Way = field(default_factory=FirstPrompt)
    system_replace: Way | None = None
    new_meta: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    literal_uris: bool = False
    unkept: frozenset[tuple[str, str]] = frozenset()
    endpoints: tuple[ModelEndpoint, ...] = ()
    base_url: str | None = None
    default_model: str | None = None
    usage_counts: Counts = "prompt"
    history_bytes: int = 128 * 1024
    lacks: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    scripted: Scripted | None = None
