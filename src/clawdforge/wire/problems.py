"""Every error that the gateway answers: stable codes, their HTTP status, the shape of the body.

Rooms of the gateway raise `Problem`; only `server.http` turns it into a response; the SDK reads the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "bad_request": 400,
        "unauthorized": 401,
        "ip_not_allowed": 403,
        "forbidden": 403,
        "not_found": 404,
        "method_not_allowed": 405,
        "request_timeout": 408,
        "turn_in_progress": 409,
        "idempotency_mismatch": 409,
        "name_taken": 409,
        "permission_answered": 409,
        "session_closed": 410,
        "precondition_failed": 412,
        "too_large": 413,
        "unsupported_media_type": 415,
        "range_not_satisfiable": 416,
        "invalid": 422,
        "rate_limited": 429,
        "too_many_turns": 429,
        "too_many_sessions": 429,
        "budget_exceeded": 429,
        "headers_too_large": 431,
        "internal": 500,
        "agent_failed": 502,
        "interrupted": 502,
        "agent_unavailable": 503,
        "overloaded": 503,
        "shutting_down": 503,
        "timeout": 504,
        "storage_full": 507,
    }
)


class Problem(Exception):
    """Something that the caller is told, with a stable code and a sentence.

    Attributes:
        code: a key of `STATUS`.
        detail: a sentence for a person, free of secrets and of paths that are not the caller's.
        extra: further fields of the body (`session_id`, `turn_index`, `stop_reason`, `errors`, …).
        retry_after_s: seconds after which another try can help, or None where waiting does not help.
    """

    def __init__(self, code: str, detail: str, *, retry_after_s: int | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra = extra
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return STATUS[self.code]

    def body(self, request_id: str) -> dict[str, Any]:
        """The error body of the contract."""
        return {"detail": self.detail, "code": self.code, "request_id": request_id, **self.extra}


def invalid(detail: str, *loc: str | int) -> Problem:
    """A 422 about one field: `loc` is its place in the request, the same sentence is its message."""
    return Problem("invalid", detail, errors=[{"loc": list(loc), "message": detail}])
