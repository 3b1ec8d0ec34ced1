"""How the rest of the gateway sees an agent: five verbs, plain values, and what it hears back.

Nothing here says that the agent runs in this process, or on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from clawdforge.server.agents.usage import Told
from clawdforge.server.sandbox.base import LimitName
from clawdforge.server.workspaces.contents import Contents
from clawdforge.server.workspaces.copying import Limits
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.events import Draft
from clawdforge.wire.permissions import PermissionAsk
from clawdforge.wire.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Memory:
    """A conversation that an agent keeps in its home, by its own id for it.

    Attributes:
        agent_session_id: what an agent of that home called it (`Agent.agent_session_id`).
        how: `resume` goes on with it; `fork` goes on with a copy of it where the agent can make one, else with it:
            the home is one that was copied from another session's.
    """

    agent_session_id: str
    how: Literal["resume", "fork"] = "resume"


@dataclass(frozen=True, slots=True)
class OpenAgent:
    """Everything that is needed to start an agent for a session.

    `workspace` is the session's directory, `memory` what it shall go on with, where it still knows it.
    """

    session_id: str
    options: AgentOptions
    workspace: Path
    startup_timeout_s: float
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a prompt, lying in the workspace.

    `contents` is what it holds, where a model can be shown that.
    """

    path: Path
    size: int
    contents: Contents | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt. `schema` is a JSON Schema for the result; an empty one is as good as none."""

    text: str
    files: Sequence[Attachment] = ()
    schema: dict[str, Any] | None = None

    def without_contents(self) -> Prompt:
        """The same without what its files hold, which can be megabytes."""
        return replace(self, files=[replace(each, contents=None) for each in self.files])


@dataclass(frozen=True, slots=True)
class Answered:
    """The agent ended a turn, in its own words: an ACP stop reason."""

    stop_reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The agent could not start or end a turn. `alive` is False where it is of no more use.

    `detail` and `stderr_tail` are free of secrets. `phase` is set where a deadline has passed, `limit` where one
    of the session's limits has ended it.
    """

    detail: str
    exit_code: int | None = None
    stderr_tail: str = ""
    alive: bool = False
    phase: Literal["startup"] | None = None
    limit: LimitName | None = None


PromptEnd = Answered | Failed


class AgentFailed(Exception):
    """`open` did not lead to a working agent; nothing of it is left running."""

    def __init__(self, failure: Failed) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class AgentOwner(Protocol):
    """Who hears an agent. Called on the loop, in the order in which things happened; must not block."""

    def on_update(self, draft: Draft) -> None:
        """Something happened, in a turn or outside of one."""

    def on_activity(self) -> None:
        """The agent gave a sign of life, an event or not."""

    def on_permission(self, ask: PermissionAsk) -> None:
        """The agent waits for `answer`."""

    def on_permission_dropped(self, permission_id: str) -> None:
        """Nobody waits for that answer any more: the prompt is over or cancelled, or the agent gone."""

    def on_prompt_end(self, end: PromptEnd) -> None:
        """The prompt is over. Comes once for each prompt, after its last update."""

    def on_exit(self, failure: Failed) -> None:
        """The agent is gone, or of no more use, without having been asked to end. Comes at most once, last."""


class Agent(Protocol):
    """A started agent."""

    @property
    def usable(self) -> bool:
        """Whether it can take a prompt: False from where it has ended or failed, a moment before `on_exit`."""

    @property
    def recalled(self) -> bool:
        """Whether it goes on with the `memory` that it was opened with: else it knows of nothing."""

    @property
    def agent_session_id(self) -> str | None:
        """Its own id of the conversation, by which a later agent may go on with it; None: it has none to keep."""

    @property
    def history_bytes(self) -> int:
        """How long a conversation `hand_over` may be given."""

    def hand_over(self, conversation: str) -> None:
        """Has this go ahead of its next prompt: what was said before, of which it knows nothing.

        A command of its own goes first: it would be none any more. Until then what it keeps is not the whole
        conversation, and `agent_session_id` None.
        """

    def here(self, path: str) -> str | None:
        """A path as the agent names it, on this machine; None where it is not one of its session's own."""

    def prompt(self, prompt: Prompt) -> None:
        """Sends a prompt; `on_prompt_end` tells its end. One at a time."""

    def cancel(self) -> None:
        """Asks the agent to end its prompt; how long to wait for that is the caller's matter."""

    def answer(self, permission_id: str, place: int | None) -> None:
        """Answers a permission request by the place of one of its options; None: none of them (`cancelled`)."""

    def take_usage(self) -> Told:
        """What it has told of the tokens and the cost of its prompt. Asked once for each, at its end."""

    def pause(self) -> None:
        """Stops listening until `resume`; the agent waits when its pipe is full."""

    def resume(self) -> None:
        """Listens on."""

    async def turn_over(self) -> None:
        """The turn's housekeeping: a login that the agent has renewed is kept."""

    async def end(self, *, now: bool) -> None:
        """Ends the agent and all that it started. With `now` it is killed, else asked first."""


class AgentHost(Protocol):
    """Where agents are started."""

    @property
    def sandbox(self) -> Sandbox:
        """What agents stand behind."""

    @property
    def agent_uid(self) -> int | None:
        """Whom a session's directory must belong to; None: the gateway's own user."""

    def agent_cwd(self, workspace: Path) -> str:
        """How an agent sees its session's directory."""

    def check(self, options: AgentOptions) -> None:
        """Whether an agent of that name, with these options, could be started.

        Raises:
            Problem: `invalid` for a name or value that cannot be, `agent_unavailable` for what is not here.
        """

    def copy_memory(
        self, agent: str, session_id: str, to_session_id: str, limits: Limits, go_on: Callable[[], None]
    ) -> None:
        """Copies what an agent keeps of a session's conversation for the agent of another one, no login with it.

        Blocking. What is too much to be copied is as good as forgotten.

        Args:
            agent: of both sessions.
            session_id: the one that has it.
            to_session_id: the one that shall; its agent was never started.
            limits: how much is copied at most.
            go_on: called before each piece of work; what it raises ends the copy.

        Raises:
            OSError: it cannot be read or written.
        """

    async def open(self, request: OpenAgent, owner: AgentOwner) -> Agent:
        """Starts an agent, up to where it can take a prompt.

        Raises:
            AgentFailed: it could not; nothing is left running.
            Problem: a value was refused by the agent (`invalid`); nothing is left running.
        """
