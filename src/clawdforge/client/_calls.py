"""What can be sent: each call of the contract.

Pure: it only makes values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from clawdforge.client import _call
from clawdforge.client._bodies import FileBody
from clawdforge.client._call import Call
from clawdforge.client.options import RunOptions, SessionOptions, TurnOptions

if TYPE_CHECKING:
    from typing import Unpack

    from clawdforge.wire.files import FileToken
    from clawdforge.wire.usage import By
    from clawdforge.wire.workspace import WorkspaceEntry

Files: TypeAlias = "Iterable[str | FileToken] | None"
LONGEST_TURN_S: Final = _call.LONGEST_S
"""How long a turn may take that has no deadline of its own."""
COPY_S: Final = 600
"""How long the copy of a workspace may take."""
BYTES: Final = "application/octet-stream"
PAGE_ROWS: Final = 200
"""How many rows a page of a list may have."""
# Up to here an upload goes as plain bytes: one write, and an app's own tests can look into it.
_WHOLE_LIMIT_BYTES: Final = 1024 * 1024
# Options of a prompt that are none of `RunOptions` and `TurnOptions`.
_ASKING: Final = ("files", "schema", "timeout_secs")


def healthz() -> Call:
    return Call("GET", "/healthz", _call.READ_S, authorized=False)


def run(
    prompt: str,
    *,
    timeout_secs: float | None = None,
    files: Files = None,
    schema: Mapping[str, Any] | None = None,
    **options: Unpack[RunOptions],
) -> Call:
    _check("run", options, RunOptions, *_ASKING)
    body = _call.asked(prompt, timeout_secs, files, {"schema": schema, **options})
    return _call.post("/run", body, patience_s=_patience_s(body))


def turn(
    session_id: str,
    prompt: str,
    *,
    timeout_secs: float | None = None,
    files: Files = None,
    schema: Mapping[str, Any] | None = None,
    **options: Unpack[TurnOptions],
) -> Call:
    _check("turn", options, TurnOptions, *_ASKING)
    body = _call.asked(prompt, timeout_secs, files, {"schema": schema, **options})
    return _call.post(f"{_session(session_id)}/turn", body, patience_s=_patience_s(body))


def create_session(
    *,
    patience_s: float,
    agent: str | None = None,
    meta: Mapping[str, Any] | None = None,
    schema: Mapping[str, Any] | None = None,
    **options: Unpack[SessionOptions],
) -> Call:
    _check("session", options, SessionOptions, "agent", "meta", "schema")
    body = _call.given({"agent": agent, "meta": meta, "schema": schema, **options})
    return _call.post("/sessions", body, patience_s=patience_s)


def _check(what: str, options: Mapping[str, Any], kind: Any, *others: str) -> None:
    """Raises a TypeError where an option is none of the kind's, which is a TypedDict. It tells the others, too."""
    if besides := options.keys() - kind.__annotations__.keys():
        known = ", ".join(sorted([*kind.__annotations__, *others]))
        raise TypeError(f"a {what} has no option {min(besides)!r}; its options are {known}")


def _patience_s(body: Mapping[str, Any]) -> float:
    seconds: int = body.get("timeout_secs", LONGEST_TURN_S)
    return seconds


def list_sessions(*, include_closed: bool, limit: int | None = None) -> Call:
    # True is what the gateway does unasked.
    shown = {"include_closed": None if include_closed else "false", "limit": limit}
    return Call("GET", "/sessions", _call.READ_S, _call.params(shown))


def list_runs() -> Call:
    return Call("GET", "/runs", _call.READ_S)


def get_run(run_id: str) -> Call:
    return Call("GET", f"/runs/{_call.segment('run_id', run_id)}", _call.WRITE_S)  # a large result takes a while


def usage(*, since: float | None, until: float | None, by: By | None) -> Call:
    times = {"since": None if since is None else int(since), "until": None if until is None else int(until)}
    return Call("GET", "/usage", _call.WRITE_S, _call.params({**times, "by": by}))


def get_session(session_id: str) -> Call:
    return Call("GET", _session(session_id), _call.READ_S)


def record(session_id: str) -> Call:
    """Of a session; or, by its id, of a run."""
    return get_run(session_id) if str(session_id).startswith("run_") else get_session(session_id)


def close_session(session_id: str) -> Call:
    return Call("DELETE", _session(session_id), _call.WRITE_S)


def list_turns(session_id: str) -> Call:
    return Call("GET", f"{_session(session_id)}/turns", _call.READ_S)


def get_turn(session_id: str, turn_index: int) -> Call:
    return Call("GET", f"{_session(session_id)}/turns/{int(turn_index)}", _call.WRITE_S)


def events(session_id: str, *, after: int) -> Call:
    """A page of a session's events."""
    return Call("GET", f"{_session(session_id)}/events", _call.WRITE_S, {"after": str(int(after))})


def cancel(session_id: str, turn_index: int | None) -> Call:
    call = _call.post(f"{_session(session_id)}/cancel", _call.given({"turn_index": turn_index}))
    # Without a number it is for the turn that runs. Sent again, that may be another one: the gateway stores a
    # cancel's key with its answer, and may be killed between the turn's end and that.
    return replace(call, keyed=turn_index is not None)


def fork(session_id: str, meta: Mapping[str, Any] | None) -> Call:
    return _call.post(f"{_session(session_id)}/fork", _call.given({"meta": meta}), patience_s=COPY_S)


def list_permissions(session_id: str) -> Call:
    return Call("GET", f"{_session(session_id)}/permissions", _call.READ_S)


def answer_permission(
    session_id: str, permission_id: str, *, decision: str | None = None, option_id: str | None = None
) -> Call:
    if (decision is None) == (option_id is None):
        raise ValueError("a permission is answered by a decision, or by an option_id")
    path = f"{_session(session_id)}/permissions/{_call.segment('permission_id', permission_id)}"
    return _call.post(path, _call.given({"decision": decision, "option_id": option_id}))


def diff(session_id: str, turn: int | None) -> Call:
    return Call("GET", f"{_session(session_id)}/diff", _call.WRITE_S, _call.params({"turn": turn}))


def list_files(session_id: str, *, path: str, recursive: bool) -> Call:
    shown = {"path": path or None, "recursive": "true" if recursive else None}
    return Call("GET", f"{_session(session_id)}/files", _call.WRITE_S, _call.params(shown))


def fetch_file(session_id: str, path: str | WorkspaceEntry) -> Call:
    return Call("GET", _workspace_file(session_id, path), _call.WRITE_S, accept="*/*")


def put_file(session_id: str, path: str | WorkspaceEntry, body: bytes | FileBody) -> Call:
    return Call("PUT", _workspace_file(session_id, path), _call.WRITE_S, body=body, content_type=BYTES)


def delete_workspace_file(session_id: str, path: str | WorkspaceEntry, *, recursive: bool) -> Call:
    params = {"recursive": "true"} if recursive else {}
    return Call("DELETE", _workspace_file(session_id, path), _call.WRITE_S, params)


def _session(session_id: str) -> str:
    return f"/sessions/{_call.segment('session_id', session_id)}"


def _workspace_file(session_id: str, path: str | WorkspaceEntry) -> str:
    if not isinstance(path, str):
        # As the gateway has told it: it may be a name that no text can say.
        if path.encoded_path is not None:
            return f"{_session(session_id)}/files/{path.encoded_path}"
        path = path.path
    steps = "/".join(_call.segment(f"a step of {path!r}", step) for step in path.split("/"))
    return f"{_session(session_id)}/files/{steps}"


def upload(body: FileBody) -> Call:
    whole = body.len is not None and body.len <= _WHOLE_LIMIT_BYTES
    content = b"".join(body) if whole else body
    return Call("POST", "/files", _call.WRITE_S, body=content, content_type=body.content_type, keyed=True)


def get_file(file: str | FileToken) -> Call:
    return Call("GET", _call.file_path(file), _call.READ_S)


def delete_file(file: str | FileToken) -> Call:
    return Call("DELETE", _call.file_path(file), _call.WRITE_S)


def agents() -> Call:
    return Call("GET", "/agents", _call.WRITE_S)  # the gateway may have to ask each agent for its version


def mint_token(name: str, ip_cidrs: Iterable[str] | None) -> Call:
    if isinstance(ip_cidrs, str):
        raise TypeError("ip_cidrs is a list of networks, not one text")
    cidrs = None if ip_cidrs is None else list(ip_cidrs)
    return _call.post("/admin/tokens", {"name": _call.text("name", name), **_call.given({"ip_cidrs": cidrs})})


def list_tokens() -> Call:
    return Call("GET", "/admin/tokens", _call.READ_S)


def revoke_token(name: str) -> Call:
    return Call("DELETE", f"/admin/tokens/{_call.segment('name', name)}", _call.WRITE_S)
