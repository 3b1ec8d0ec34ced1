"""How a command fails: what happened, why, what to do next, and the exit code that scripts rely on."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from clawdforge.cli import terminal
from clawdforge.errors import (
    ForgeAPIError,
    ForgeAuthError,
    ForgeError,
    ForgeProtocolError,
    ForgeSchemaError,
    ForgeTransportError,
    ForgeTurnError,
)


class Exit(IntEnum):
    """The exit codes. 0 is success, and nothing else is."""

    TRANSPORT = 1
    USAGE = 2
    AUTH = 3
    REFUSED = 4
    GATEWAY = 5
    NO_ANSWER = 6
    INTERRUPTED = 130
    PIPE = 141


EXIT_CODES: Final = """\b
Exit codes:
  0    done
  1    no answer came from the gateway (or: doctor misses something needed)
  2    the command or a setting is wrong
  3    the token is missing, wrong or not allowed
  4    the gateway refused for another reason (4xx)
  5    the gateway or its agent failed (5xx)
  6    the agent's answer is none: it refused, was cancelled, did nothing, or
       its result does not fit the schema
  130  interrupted by Ctrl-C
  141  whoever reads stdout has hung up
"""

MAY_GO_ON: Final = "interrupted; what the gateway was asked to do may go on there"
_NEXT: Final = {
    "ip_not_allowed": "Call from an allowed address, or have this one allowed (CLAWDFORGE_ALLOW_CIDRS).",
    "turn_in_progress": "Wait until the session's running turn has ended.",
    "session_closed": "Go on with a copy: clawdforge session fork ID, or open a new one: clawdforge session new",
    "budget_exceeded": "Have the app's budget raised.",
    "name_taken": "Choose another name, or revoke that token first: clawdforge token revoke NAME",
    "agent_unavailable": "See what can run there: clawdforge agents, and: clawdforge doctor",
    "timeout": "Give it more time: --timeout SECONDS",
    "agent_failed": "Try again; if it keeps failing, look into the gateway's log.",
    "interrupted": "The gateway was stopped in mid turn. Ask again.",
    "too_large": "Send less, or have the gateway's limits raised.",
    "not_found": "See what there is: clawdforge session list, clawdforge logs, clawdforge token list",
    "storage_full": "Make room on the gateway's disk.",
}


class Failure(Exception):
    """The end of a command that did not do what was asked.

    Args:
        message: what happened, and why.
        exit_code: see `Exit`.
        hint: what to do next, or "".
        document: more about it for `--json`.
    """

    def __init__(self, message: str, exit_code: int, hint: str = "", **document: Any) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.hint = hint
        self.document = document

    def show(self, *, as_json: bool) -> None:
        """Prints the failure to stderr and, if so asked, as the one document on stdout."""
        terminal.note(f"Error: {self.message}")
        if self.hint:
            terminal.note(f"Next:  {self.hint}")
        if as_json:
            error = {"message": self.message, "hint": self.hint, "exit_code": self.exit_code, **self.document}
            terminal.emit({"ok": False, "error": error})


class NoAnswer(Failure):
    """An answer came that answers nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.NO_ANSWER, "Say it another way, or choose another agent or model.")

    def show(self, *, as_json: bool) -> None:
        """Prints the failure to stderr only: with `--json`, the answer was the one document."""
        super().show(as_json=False)


class Interrupted(Failure):
    """Ctrl-C: one line, and no claim that anything is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.INTERRUPTED)


def from_error(error: Exception, url: str) -> Failure:
    """What an exception of the SDK means for the one who typed the command."""
    if isinstance(error, ForgeAPIError):
        return _refusal(error) if error.body else _stranger(url, f"HTTP {error.status_code}", _exit_code(error))
    if isinstance(error, ForgeTransportError):
        hint = "Start a gateway with: clawdforge serve, or name another with --url or CLAWDFORGE_URL."
        return Failure(f"the gateway does not answer: {error.reason}", Exit.TRANSPORT, hint)
    if isinstance(error, ForgeProtocolError):
        return _stranger(url, error.reason, Exit.GATEWAY)
    if isinstance(error, ForgeSchemaError):
        return NoAnswer(error.reason)
    if isinstance(error, ForgeError):
        return Failure(str(error), Exit.REFUSED)
    return Failure(str(error), Exit.USAGE, "See the command's --help.")


def _stranger(url: str, said: str, exit_code: Exit) -> Failure:
    """Somebody else answers: a proxy, or another server."""
    hint = "Check --url and CLAWDFORGE_URL: is this a clawdforge gateway?"
    return Failure(f"{url} answers, but not as a gateway: {said}", exit_code, hint)


def _refusal(error: ForgeAPIError) -> Failure:
    message = error.reason
    tail = error.body.get("stderr_tail")
    if isinstance(tail, str) and tail.strip():
        message += f"\nThe agent's last words:\n{tail.strip()}"
    return Failure(
        message,
        _exit_code(error),
        _hint(error),
        status_code=error.status_code,
        code=error.code,
        detail=error.detail,
        request_id=error.request_id,
        session_id=error.session_id,
        stop_reason=error.stop_reason,
        retry_after=error.retry_after,
    )


def _exit_code(error: ForgeAPIError) -> Exit:
    if isinstance(error, ForgeAuthError):
        return Exit.AUTH
    return Exit.GATEWAY if error.status_code >= 500 else Exit.REFUSED


def _hint(error: ForgeAPIError) -> str:
    if error.status_code == 401:
        return (
            "Set CLAWDFORGE_TOKEN to an app's token; one is made with: clawdforge token mint NAME\n"
            "       (the token commands need the admin token: see clawdforge token --help)"
        )
    if error.retry_after is not None:
        return f"Wait {error.retry_after} s and try again."
    return "\n       ".join(filter(None, (_NEXT.get(error.code or ""), _seen(error))))


def _seen(error: ForgeAPIError) -> str:
    """Where that is which came of a turn before it failed."""
    if not isinstance(error, ForgeTurnError) or not error.session_id or not error.events:
        return ""
    is_run = error.session_id.startswith("run_")
    return f"What it said before: clawdforge logs {error.session_id}{'' if is_run else f'#{error.turn_index}'}"
