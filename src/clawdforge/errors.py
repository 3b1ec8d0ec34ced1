"""Every exception that a user of the SDK can meet.

    ForgeError
    ├── ForgeTransportError     no answer came
    ├── ForgeProtocolError      an answer came, but not one of this contract
    └── ForgeAPIError           the gateway said no
        └── ForgeAuthError      … because of who asked (401, 403)

A plain `ForgeError` is a call that cannot be made any more, such as a turn of a closed session. Wrong
arguments are `ValueError` or `TypeError`, raised before anything is sent. No message holds a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_TEXT_LIMIT: Final = 500
# A message is one line of a log: nothing that an answer holds may end that line or steer a terminal.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class ForgeError(Exception):
    """The base of all that goes wrong between an app and its gateway."""


class ForgeTransportError(ForgeError):
    """No answer came: no connection, a time-out, an answer that broke off. `__cause__` holds the finer reason.

    Whether the gateway got the call and acts on it is not known.
    """


class ForgeProtocolError(ForgeError):
    """A success came back that is not the JSON object of the contract: most likely this is no gateway."""


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
        self.body = dict(body or {})

    def __str__(self) -> str:
        said = one_line(_readable(self.detail)) or "no reason given"
        what = f"HTTP {self.status_code} {self.code}" if self.code else f"HTTP {self.status_code}"
        return one_line(f"{what}: {said} ({self.request_id})" if self.request_id else f"{what}: {said}")

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
    def limit(self) -> str | None:
        """The limit of the session that was passed (`memory`, `processes`, `file`, `workspace`), or None."""
        value = self.body.get("limit")
        return value if isinstance(value, str) else None


class ForgeAuthError(ForgeAPIError):
    """The token is missing, unknown or revoked (401), or not allowed to do this from here (403)."""


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
