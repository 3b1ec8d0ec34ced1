"""Every exception that a user of the SDK can meet: one class for each thing that can be done about it.

    ForgeError
    ├── ForgeTransportError           no answer came: try again, if asking twice does no harm
    │   └── ForgeTimeoutError         … within the call's deadline
    ├── ForgeProtocolError            an answer came, but not one of this contract: check the URL
    ├── ForgeSchemaError              the answer does not fit the type that was asked for: `.answer` has it
    └── ForgeAPIError                 the gateway said no
        ├── ForgeAuthError            401, 403: check the token
        ├── ForgeInvalidError         400, 405, 413, 415, 416, 422, 431: mend the call
        ├── ForgeNotFoundError        404: check the id
        ├── ForgeBusyError            409 `turn_in_progress`: wait, cancel, or queue
        ├── ForgeConflictError        409, 412: something else was there first
        ├── ForgeClosedError          410: open a new session
        ├── ForgeLimitError           429: wait (`.retry_after`), or ask for more
        ├── ForgeUnavailableError     503, 507: the gateway cannot now
        └── ForgeTurnError            the turn began and failed: `.events` has what was seen
            ├── ForgeTurnTimeoutError     504 `timeout`: give it more time
            ├── ForgeAgentError           502 `agent_failed`: look at `.detail` and the agent
            └── ForgeInterruptedError     502 `interrupted`: the gateway stopped; ask again

A plain `ForgeError` is a call that cannot be made any more, such as a turn of a closed session. Wrong
arguments are `ValueError` or `TypeError`, raised before anything is sent. No message holds a token. All of them
can be pickled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_TEXT_LIMIT: Final = 500
_WHERE: Final = "CLAWDFORGE_URL or base_url= says where it is"
# A message is one line of a log: nothing that an answer holds may end that line or steer a terminal.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class ForgeError(Exception):
    """The base of all that goes wrong between an app and its gateway. Its text is its reason and its next step."""

    def __str__(self) -> str:
        return f"{self.reason.rstrip('.')}. {self.next_step}" if self.next_step else self.reason

    @property
    def reason(self) -> str:
        """What happened, in one line, without what to do next."""
        return str(self.args[0]) if self.args else ""

    @property
    def next_step(self) -> str:
        """What to do about it, in a sentence; "" where the reason says all."""
        return ""


class ForgeTransportError(ForgeError):
    """No answer came: no connection, or an answer that broke off. `__cause__` holds the finer reason.

    Attributes:
        sent: False where the gateway has certainly not got the call; else whether it acts on it is not known.
        session_id: of the turn whose answer it was, or the run; None where it is not known, or was none of these.
        turn_index: that turn's, counted from 1, or None where it is not known.
    """

    def __init__(
        self, message: str, *, sent: bool = True, session_id: str | None = None, turn_index: int | None = None
    ) -> None:
        super().__init__(message)
        self.sent = sent
        self.session_id = session_id
        self.turn_index = turn_index

    @property
    def next_step(self) -> str:
        """What to do about it, in a sentence; "" where the reason says all."""
        if not self.sent:
            return f"Does a gateway listen there? `clawdforge serve` starts one; {_WHERE}."
        if self.session_id is None and self.turn_index is None:
            return ""
        if (self.session_id or "").startswith("run_"):
            return f"The run may go on: forge.get_run({self.session_id!r}) tells."
        record = "turns()" if self.turn_index is None else f"get_turn({self.turn_index})"
        return f"The turn may go on: session.{record} tells."


class ForgeTimeoutError(ForgeTransportError):
    """No answer came within the call's deadline."""


class ForgeProtocolError(ForgeError):
    """A success came back that is not the JSON object of the contract: most likely this is no gateway."""

    @property
    def next_step(self) -> str:
        """What to do about it, in a sentence."""
        return f"Is this a gateway? {_WHERE}."


class ForgeSchemaError(ForgeError):
    """A type was asked for, and the answer is none of it.

    Attributes:
        answer: the whole `RunResult` or `TurnResult`: its `result` is what came, its `schema_errors` why that
            does not fit; `stop_reason` tells where the agent gave no answer at all.
    """

    def __init__(self, message: str, answer: Any = None) -> None:
        super().__init__(message, answer)
        self.answer = answer

    @property
    def next_step(self) -> str:
        """What to do about it, in a sentence."""
        return "What came is in .answer."


class ForgeAPIError(ForgeError):
    """The gateway answered with an error.

    Attributes:
        status_code: the HTTP status.
        detail: what the body said was wrong, as it came: a sentence, a list or an object.
        code: the stable name of the error (`session_closed`, `timeout`, …), or None.
        request_id: names the call in the gateway's log, or None.
        retry_after: seconds after which another try can help, or None where nothing was said about it.
        body: the whole error object, {} where there was none.
    """

    def __init__(
        self,
        status_code: int,
        detail: Any,
        code: str | None = None,
        request_id: str | None = None,
        *,
        retry_after: int | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        # Just these go up: pickle makes the error anew from them, then copies the attributes.
        super().__init__(status_code, detail, code, request_id)
        self.status_code = status_code
        self.detail = detail
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.body: dict[str, Any] = dict(body or {})

    @property
    def reason(self) -> str:
        """What happened, in one line, without what to do next."""
        said = one_line(_readable(self.detail)) or "no reason given"
        what = f"HTTP {self.status_code} {self.code}" if self.code else f"HTTP {self.status_code}"
        return one_line(f"{what}: {said} ({self.request_id})" if self.request_id else f"{what}: {said}")

    @property
    def next_step(self) -> str:
        """What to do about it, in a sentence; "" where the reason says all."""
        if self.retry_after is not None:
            return f"Wait {self.retry_after} s and try again."
        return _NEXT.get(self.code or "", "")

    @property
    def session_id(self) -> str | None:
        """The session of the turn that failed, or None."""
        value = self.body.get("session_id")
        return value if isinstance(value, str) else None

    @property
    def turn_index(self) -> int | None:
        """The turn that failed, counted from 1, or None."""
        value = self.body.get("turn_index")
        return value if isinstance(value, int) else None

    @property
    def stop_reason(self) -> str | None:
        """How the turn ended (`timeout`, `agent_failed`, `interrupted`, …), or None."""
        value = self.body.get("stop_reason")
        return value if isinstance(value, str) else None

    @property
    def events(self) -> list[Any]:
        """What was seen of the turn until it failed, folded as in an answer; [] where no turn began."""
        value = self.body.get("events")
        return value if isinstance(value, list) else []

    @property
    def limit(self) -> str | None:
        """The limit of the session that was passed (`memory`, `processes`, `file`, `workspace`), or None."""
        value = self.body.get("limit")
        return value if isinstance(value, str) else None


class ForgeAuthError(ForgeAPIError):
    """The token is missing, unknown or revoked (401), or not allowed to do this from here (403)."""


class ForgeInvalidError(ForgeAPIError):
    """The call itself is wrong (400, 405, 413, 415, 416, 422, 431): the same again will be refused again."""


class ForgeNotFoundError(ForgeAPIError):
    """There is nothing of that id or name (404), or it is another app's."""


class ForgeBusyError(ForgeAPIError):
    """The session has a turn running (409 `turn_in_progress`)."""


class ForgeConflictError(ForgeAPIError):
    """Something else was there first (409, 412): a name, an answer, another version of a file."""


class ForgeClosedError(ForgeAPIError):
    """The session is closed (410): it takes no turn."""


class ForgeLimitError(ForgeAPIError):
    """A limit is reached (429). `retry_after` is there where waiting helps."""


class ForgeUnavailableError(ForgeAPIError):
    """The gateway, or the agent, cannot do it now (503, 507)."""


class ForgeTurnError(ForgeAPIError):
    """The turn began and failed. `session_id`, `turn_index` and `events` tell how far it came."""


class ForgeTurnTimeoutError(ForgeTurnError):
    """A deadline of the turn passed (504 `timeout`)."""

    @property
    def phase(self) -> str | None:
        """Which deadline it was: `startup`, `idle` or `total`; None where the gateway does not tell."""
        value = self.body.get("phase")
        return value if isinstance(value, str) else None

    @property
    def next_step(self) -> str:
        """What to do about it, in a sentence."""
        option = f"{self.phase}_timeout_secs" if self.phase in ("startup", "idle") else "timeout_secs"
        return f"Give it more time ({option}=); what was seen is in .events."


class ForgeAgentError(ForgeTurnError):
    """The agent crashed, spoke nonsense, refused to start, or its model failed (502 `agent_failed`)."""

    @property
    def stderr_tail(self) -> str | None:
        """The agent's last words, without secrets; None where there were none."""
        value = self.body.get("stderr_tail")
        return value if isinstance(value, str) else None

    @property
    def next_step(self) -> str:
        """What to do about it, in a sentence."""
        words = ", the agent's last words in .stderr_tail" if self.stderr_tail else ""
        return f"What was seen is in .events{words}."


class ForgeInterruptedError(ForgeTurnError):
    """The gateway or its host stopped in mid turn (502 `interrupted`)."""


_BY_CODE: Final[Mapping[str, type[ForgeAPIError]]] = MappingProxyType(
    {
        "turn_in_progress": ForgeBusyError,
        "timeout": ForgeTurnTimeoutError,
        "agent_failed": ForgeAgentError,
        "interrupted": ForgeInterruptedError,
    }
)
_BY_STATUS: Final[Mapping[int, type[ForgeAPIError]]] = MappingProxyType(
    {
        **dict.fromkeys((401, 403), ForgeAuthError),
        **dict.fromkeys((400, 405, 413, 415, 416, 422, 431), ForgeInvalidError),
        404: ForgeNotFoundError,
        **dict.fromkeys((409, 412), ForgeConflictError),
        410: ForgeClosedError,
        429: ForgeLimitError,
        **dict.fromkeys((503, 507), ForgeUnavailableError),
    }
)
_NEXT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unauthorized": "Set CLAWDFORGE_TOKEN, or pass token=, to a token that `clawdforge token mint` printed.",
        "ip_not_allowed": "Call from an allowed address, or have this one allowed.",
        "idempotency_mismatch": "Use another key for another call.",
        "interrupted": "Ask again, if twice does no harm; with another idempotency_key, where you gave one.",
        "agent_unavailable": "forge.agents() tells what can run there.",
        "too_large": "Send less, or have the gateway's limits raised.",
        "storage_full": "Make room on the gateway's disk, or in the session's workspace.",
        "budget_exceeded": "Waiting does not help: have the budget raised.",
    }
)


def class_for(status_code: int, code: str | None) -> type[ForgeAPIError]:
    """The class of an error of the gateway: by its code, else by its HTTP status."""
    return _BY_CODE.get(code or "") or _BY_STATUS.get(status_code, ForgeAPIError)


def one_line(text: str) -> str:
    """A text as a short single line without control characters."""
    line = _CONTROL.sub(" ", text).strip()
    return line if len(line) <= _TEXT_LIMIT else line[: _TEXT_LIMIT - 1] + "…"


def _readable(detail: Any) -> str:
    """The sentence within an error's `detail`, whatever its shape."""
    if detail is None:
        return ""
    if isinstance(detail, str):
        return detail
    if isinstance(detail, list):
        return "; ".join(_readable(item) for item in detail[:10])
    if isinstance(detail, Mapping):
        for name in ("message", "msg", "detail", "error"):
            if isinstance(detail.get(name), str):
                return _place(detail.get("loc")) + str(detail[name])
    return _compact(detail)


def _place(loc: Any) -> str:
    return ".".join(str(part) for part in loc) + ": " if isinstance(loc, list) and loc else ""


def _compact(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except (ValueError, RecursionError):
        return type(value).__name__
