"""What is told of an agent that fails: which words for which error, with the end of what it wrote to stderr.

The words are made fit to be shown by `blame`. Must not decide what becomes of the agent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from clawdforge.server.agents import blame, rpc, setup
from clawdforge.server.agents.base import AgentFailed, Failed
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.launch import Launch, how_to_log_in
from clawdforge.server.sandbox.limits import Exceeded

# What starts an agent behind a wall ends with these, as shells do, where it could not.
_NOT_STARTED: Final[Mapping[int, str]] = {
    126: "its program, or the one that its first line names, could not be run",
    127: "its program, or the one that its first line names, was not found",
}


class Failures:
    """Tells of the failures of one agent.

    Args:
        entry: of the catalog.
        launch: what it was started with, and must not be shown.
        stderr_tail: gives the last that it wrote to stderr.
    """

    def __init__(self, entry: AgentEntry, launch: Launch, stderr_tail: Callable[[], str]) -> None:
        self._entry = entry
        self._launch = launch
        self._stderr_tail = stderr_tail

    def failed(self, detail: str, **known: Any) -> Failed:
        """A failure in these words; `known` are fields of `Failed`."""
        hidden = self._launch.secrets
        return Failed(
            blame.sentence(detail, hidden),
            stderr_tail=blame.tail(self._launch.view.retold(self._stderr_tail()), hidden),
            **known,
        )

    def said(self, did: str, error: Exception) -> str:
        """An error that the agent has answered with, and what to do where it wants a login."""
        if isinstance(error, rpc.RpcError) and error.code == setup.AUTH_REQUIRED:
            return f"the agent wants a login ({error}): {how_to_log_in(self._entry)}"
        return f"the agent {did}: {error}"

    def late(self, timeout_s: float) -> Failed:
        """It was not ready in time."""
        return self.failed(f"the agent was not ready within {timeout_s:g} seconds", phase="startup")

    def ended(self, code: int, exceeded: Exceeded | None, *, ready: bool) -> Failed:
        """Its process has ended. `ready`: it could have taken a prompt by then."""
        if exceeded is not None:
            return self.failed(exceeded.detail, exit_code=code, limit=exceeded.limit)
        how = f"exited with code {code}" if code >= 0 else f"was ended by signal {-code}"
        if not ready and code in _NOT_STARTED:
            how = f"did not start: {_NOT_STARTED[code]} (exit code {code})"
        return self.failed(f"the agent {how}", exit_code=code)


def not_started(error: OSError) -> AgentFailed:
    """What is told of a machine that refuses what a start needs; no path of it."""
    why = os.strerror(error.errno) if error.errno else "the system refused what that needs"
    return AgentFailed(Failed(f"the agent could not be started: {why}"))
