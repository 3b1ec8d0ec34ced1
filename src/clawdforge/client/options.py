"""What the keyword arguments of asking are: for type checkers and for readers. Loaded by neither twin."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from clawdforge.wire.agents import Effort, PermissionPolicy, SystemMode
    from clawdforge.wire.turns import Delivery


class Deadlines(TypedDict, total=False):
    """Each in whole seconds, 1 to 86400; what is not given is the session's, else the gateway's own.

    Attributes:
        startup_timeout_secs: until an agent that has to be started is ready.
        idle_timeout_secs: since the agent last showed that it works.
        permission_timeout_secs: until a request for permission that nobody answers is rejected.
    """

    startup_timeout_secs: int | None
    idle_timeout_secs: int | None
    permission_timeout_secs: int | None


class AgentOptions(Deadlines, total=False):
    """How an agent shall work; what is not given is left to the gateway's settings, or else to the agent.

    Attributes:
        model: by the agent's own name for it.
        system: a system prompt.
        system_mode: whether `system` is added to the agent's own (`append`) or stands alone (`replace`).
        effort: `low`, `medium`, `high`, `xhigh` or `max`.
        mode: one of the agent's own modes.
        permissions: what it may do unasked: `allow`, `workspace`, `reads`, `ask` or `deny`.
    """

    model: str | None
    system: str | None
    system_mode: SystemMode | None
    effort: Effort | None
    mode: str | None
    permissions: PermissionPolicy | None


class SessionOptions(AgentOptions, total=False):
    """What can be said of a session.

    Attributes:
        timeout_secs: the deadline of its turns that name none, in seconds.
    """

    timeout_secs: int | None


class RunOptions(AgentOptions, total=False):
    """What can be said of a run.

    Attributes:
        agent: which one (`claude` by default).
        idempotency_key: names this very run: the same again, from wherever, is the same run. Made up where not
            given.
    """

    agent: str | None
    idempotency_key: str | None


class TurnOptions(Deadlines, total=False):
    """What can be said of a turn.

    Attributes:
        delivery: what becomes of the prompt while a turn runs: `reject` (the default: it is refused), or `queue`.
        idempotency_key: names this very turn: the same again, from wherever, is the same turn. Made up where not
            given.
    """

    delivery: Delivery | None
    idempotency_key: str | None
