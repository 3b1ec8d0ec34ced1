"""How to read what came: an answer becomes an object, a value, or an exception.

Pure: no I/O. Reading is tolerant: unknown fields are ignored, and a missing field that is not the point of an
answer gets a neutral value, so that a gateway may be older or newer than this client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from clawdforge.client import _call
from clawdforge.errors import ForgeAPIError, ForgeProtocolError, class_for, one_line
from clawdforge.wire import codec

# A value's module is loaded with the first answer that needs it: together they are as dear as all the rest here.
if TYPE_CHECKING:
    from clawdforge.wire.apps import AppToken
    from clawdforge.wire.diffs import TurnDiff
    from clawdforge.wire.files import FileToken
    from clawdforge.wire.permissions import PermissionAnswered, PermissionItem
    from clawdforge.wire.runs import RunResult
    from clawdforge.wire.sessions import SessionCreated, SessionForked
    from clawdforge.wire.turns import TurnResult
    from clawdforge.wire.workspace import FilePut, WorkspaceEntry

T = TypeVar("T")
_EXCERPT_BYTES: Final = 200
_HIDDEN: Final = b"[token]"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came over the wire. `headers` finds a name in whatever case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return 200 <= self.status < 300


def read(reply: Reply, *, token: str | None = None) -> dict[str, Any]:
    """The JSON object of a success, exactly as it was sent.

    Args:
        reply: what came.
        token: the caller's secret, blotted out should an error's text repeat it.

    Raises:
        ForgeAPIError: the status is none of success; a redirect is none either.
        ForgeProtocolError: a success that is no JSON object.
    """
    if not reply.ok:
        raise problem(reply, token=token)
    try:
        body = _parsed(reply.body)
    except (ValueError, RecursionError) as error:
        # `from None`: a parser's error holds the whole text, and a traceback printer might show it.
        said = _excerpt(_blotted(reply.body, token))
        raise ForgeProtocolError(
            f"HTTP {reply.status} without readable JSON ({type(error).__name__}): {said}"
        ) from None
    if not isinstance(body, dict):
        said = _excerpt(_blotted(reply.body, token))
        raise ForgeProtocolError(f"HTTP {reply.status} with JSON that is no object: {said}")
    return body


def problem(reply: Reply, *, token: str | None = None) -> ForgeAPIError:
    """An answer that is no success, as an exception; `token` as `read` has it."""
    raw = _blotted(reply.body, token)
    try:
        parsed = _parsed(raw)
    except (ValueError, RecursionError):
        parsed = None
    body = parsed if isinstance(parsed, dict) else {}
    code = _text(body.get("code"))
    return class_for(reply.status, code)(
        reply.status,
        body["detail"] if body.get("detail") is not None else _stand_in(reply, body, raw),
        code,
        _text(body.get("request_id")) or reply.headers.get("X-Request-Id"),
        retry_after=retry_after_s(reply),
        body=body,
    )


def run_result(body: Mapping[str, Any]) -> RunResult:
    from clawdforge.wire.runs import RunResult

    return _value(RunResult, body, ok=False, result=None, duration_ms=0, stop_reason="")


def turn_result(body: Mapping[str, Any]) -> TurnResult:
    from clawdforge.wire.turns import TurnResult

    try:
        return TurnResult.from_response(body)
    except codec.Malformed as error:
        raise ForgeProtocolError(str(error)) from None


def file_token(body: Mapping[str, Any]) -> FileToken:
    from clawdforge.wire.files import FileToken

    return _value(FileToken, body, ok=False, ttl_secs=0, size=0)


def app_token(body: Mapping[str, Any]) -> AppToken:
    from clawdforge.wire.apps import AppToken

    return _value(AppToken, body, ok=False, name="", ip_cidrs=[], created_at=0)


def session_created(body: Mapping[str, Any]) -> SessionCreated:
    from clawdforge.wire.sessions import SessionCreated

    made = _value(SessionCreated, body, ok=False, agent="", created_at=0, cwd="", agent_cwd="")
    return made if is_name(made.session_id) else _nameless()


def cancelled(body: Mapping[str, Any]) -> bool:
    return body.get("cancelled") is True


def permission_items(body: Mapping[str, Any]) -> list[PermissionItem]:
    return [permission_item(row) for row in rows(body, "permissions")]


def rows(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of objects in an answer, by its name."""
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ForgeProtocolError(f"the list of {name} is missing")
    return found


def cursor(body: Mapping[str, Any]) -> str | None:
    """Where the next page begins; None on the last one."""
    return _text(body.get("next_cursor"))


def session_forked(body: Mapping[str, Any]) -> SessionForked:
    from clawdforge.wire.sessions import SessionForked

    made = _value(SessionForked, body, ok=False, agent="", created_at=0, cwd="", agent_cwd="")
    return made if is_name(made.session_id) else _nameless()


def is_name(value: str) -> bool:
    """Whether what a gateway calls something can stand in a path, as further calls need it."""
    try:
        _call.segment("a name", value)
    except ValueError:
        return False
    return True


def _nameless() -> NoReturn:
    raise ForgeProtocolError("the new session has no session_id that could be called")


def turn_diff(body: Mapping[str, Any]) -> TurnDiff:
    from clawdforge.wire.diffs import FileDiff, TurnDiff

    neutral = {"running": False, "late": False, "truncated": False, "session_id": "", "turn_index": 0, "ok": False}
    unknown = {"old_mode": None, "new_mode": None, "old_size": None, "new_size": None, "patch": None}
    files = [_value(FileDiff, each, **unknown, binary=False, too_large=False) for each in rows(body, "files")]
    return _value(TurnDiff, {**body, "files": files}, **neutral)


def workspace_entry(row: Mapping[str, Any]) -> WorkspaceEntry:
    from clawdforge.wire.workspace import WorkspaceEntry

    return _value(WorkspaceEntry, row, type="other", size=None, modified_at=0)


def file_put(body: Mapping[str, Any]) -> FilePut:
    from clawdforge.wire.workspace import FilePut

    return _value(FilePut, body, ok=False, path="", size=0, sha256="", created=False, etag="")


def permission_item(row: Mapping[str, Any]) -> PermissionItem:
    from clawdforge.wire.permissions import PermissionItem, PermissionOption

    options = [_value(PermissionOption, each, name="", kind="") for each in rows(row, "options")]
    neutral = {"tool_call_id": None, "title": "", "kind": "other", "expires_at": 0}
    return _value(PermissionItem, {**row, "options": options}, **neutral)


def permission_answered(body: Mapping[str, Any]) -> PermissionAnswered:
    from clawdforge.wire.permissions import PermissionAnswered

    return _value(PermissionAnswered, body, ok=False, permission_id="", decision="other", option_id=None, by="")


def _value(cls: type[T], body: Mapping[str, Any], **neutral: Any) -> T:
    try:
        return codec.from_json(cls, body, neutral)
    except codec.Malformed as error:
        raise ForgeProtocolError(str(error)) from None


def _blotted(raw: bytes, token: str | None) -> bytes:
    return raw.replace(token.encode(), _HIDDEN) if token else raw


def _stand_in(reply: Reply, body: Mapping[str, Any], raw: bytes) -> str:
    """What to say of an error that is none of the contract's: a proxy's page, another server's JSON."""
    if 300 <= reply.status < 400:
        return f"redirected to {one_line(reply.headers.get('Location', 'nowhere'))}, which is not followed"
    return _text(body.get("error")) or _text(body.get("message")) or _excerpt(raw)


def _parsed(raw: bytes) -> Any:
    return json.loads(raw, parse_constant=_no_number)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _excerpt(raw: bytes) -> str:
    text = one_line(raw[:_EXCERPT_BYTES].decode("utf-8", "replace"))
    return text if text else "an empty body"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def retry_after_s(reply: Reply) -> int | None:
    """Seconds after which another try can help; None where nothing was said about it."""
    value = reply.headers.get("Retry-After")
    # A date is allowed there too, but no gateway sends one.
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 10 else None
