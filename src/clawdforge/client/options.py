"""What the keyword arguments of asking are: for type checkers, for readers, and for who checks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from clawdforge.wire.agents import Effort, PermissionPolicy, SystemMode
    from clawdforge.wire.turns import Delivery


class Deadlines(TypedDict, total=False):
    """The deadlines that everything has which can be asked."""

    startup_timeout_secs: int | None
    idle_timeout_secs: int | None
    permission_timeout_secs: int | None


class AgentOptions(Deadlines, total=False):
    """How an agent shall work."""

    model: str | None
    system: str | None
    system_mode: SystemMode | None
    effort: Effort | None
    mode: str | None
    permissions: PermissionPolicy | None


class SessionOptions(AgentOptions, total=False):
    """What can be said of a session; what is not is left to the gateway's settings, or else to the agent.

    Attributes:
        model: by the agent's own name for it.
        system: a system prompt.
        system_mode: whether `system` is added to the agent's own (`append`) or stands alone (`replace`).
        effort: `low`, `medium`, `high`, `xhigh` or `max`.
        mode: one of the agent's own modes.
        permissions: what it may do unasked: `allow`, `workspace`, `reads`, `ask` or `deny`.
        timeout_secs: the deadline of its turns that name none, in whole seconds, 1 to 86400.
        startup_timeout_secs: until an agent that has to be started is ready.
        idle_timeout_secs: since the agent last showed that it works.
        permission_timeout_secs: until a request for permission that nobody answers is rejected.
    """

    timeout_secs: int | None


class RunOptions(AgentOptions, total=False):
    """What can be said of a run; what is not is left to the gateway's settings, or else to the agent.

    Attributes:
        agent: which one (`claude` by default).
        model: by the agent's own name for it.
        system: a system prompt.
        system_mode: whether `system` is added to the agent's own (`append`) or stands alone (`replace`).
        effort: `low`, `medium`, `high`, `xhigh` or `max`.
        mode: one of the agent's own modes.
        permissions: what it may do unasked: `allow`, `workspace`, `reads`, `ask` or `deny`.
        startup_timeout_secs: until an agent that has to be started is ready; whole seconds, 1 to 86400.
        idle_timeout_secs: since the agent last showed that it works.
        permission_timeout_secs: until a request for permission that nobody answers is rejected.
        idempotency_key: names this very run: the same again, from wherever, is the same run. Made up where not
            given.
    """

    agent: str | None
    idempotency_key: str | None


class TurnOptions(Deadlines, total=False):
    """What can be said of a turn; what is not is as its session has it.

    Attributes:
        delivery: what becomes of the prompt while a turn runs: `reject` (the default: it is refused), or `queue`.
        startup_timeout_secs: until an agent that has to be started is ready; whole seconds, 1 to 86400.
        idle_timeout_secs: since the agent last showed that it works.
        permission_timeout_secs: until a request for permission that nobody answers is rejected.
        idempotency_key: names this very turn: the same again, from wherever, is the same turn. Made up where not
            given.
    """

    delivery: Delivery | None
    idempotency_key: str | None
