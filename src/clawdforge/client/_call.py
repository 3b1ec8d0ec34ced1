"""What to send: every call of the contract as a value.

Pure: no I/O, no clock, no randomness. Wrong arguments end here, as `ValueError` or `TypeError`, before
anything is sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from clawdforge.client._multipart import FileBody
from clawdforge.wire import codec
from clawdforge.wire.files import FileToken

if TYPE_CHECKING:
    from clawdforge.wire.agents import Effort, PermissionPolicy, SystemMode
    from clawdforge.wire.usage import By

# How long the gateway may take over a call that no turn waits for.
_READ_S: Final = 10
_WRITE_S: Final = 60
# Up to here an upload goes as plain bytes: one write, and an app's own tests can look into it.
_WHOLE_LIMIT_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the gateway.

    Attributes:
        path: below the base URL, already percent-encoded.
        patience_s: how long the gateway may take until it answers; the HTTP deadline is this and a margin.
        authorized: whether the token goes along.
    """

    method: str
    path: str
    patience_s: float
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileBody | None = field(default=None, repr=False)
    content_type: str | None = None
    authorized: bool = True

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the call needs, but for the token."""
        headers = {"Accept": "application/json"}
        if self.content_type is not None:
            headers["Content-Type"] = self.content_type
        return headers


def healthz() -> Call:
    return Call("GET", "/healthz", _READ_S, authorized=False)


def run(prompt: str, *, timeout_secs: int, files: Iterable[str | FileToken] | None = None, **options: Any) -> Call:
    return _post("/run", _asked(prompt, timeout_secs, files, options), patience_s=timeout_secs)


def turn(
    session_id: str,
    prompt: str,
    *,
    timeout_secs: int,
    files: Iterable[str | FileToken] | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Call:
    path = f"/sessions/{_segment('session_id', session_id)}/turn"
    return _post(path, _asked(prompt, timeout_secs, files, {"schema": schema}), patience_s=timeout_secs)


def create_session(
    *,
    patience_s: float,
    agent: str | None = None,
    meta: Mapping[str, Any] | None = None,
    model: str | None = None,
    system: str | None = None,
    system_mode: SystemMode | None = None,
    effort: Effort | None = None,
    mode: str | None = None,
    permissions: PermissionPolicy | None = None,
    idle_timeout_secs: int | None = None,
) -> Call:
    options = {
        "agent": agent,
        "meta": meta,
        "model": model,
        "system": system,
        "system_mode": system_mode,
        "effort": effort,
        "mode": mode,
        "permissions": permissions,
        "idle_timeout_secs": idle_timeout_secs,
    }
    return _post("/sessions", _given(options), patience_s=patience_s)


def list_sessions(*, include_closed: bool) -> Call:
    # True is what the gateway does unasked.
    params = {} if include_closed else {"include_closed": "false"}
    return Call("GET", "/sessions", _READ_S, params)


def list_runs(*, limit: int | None, cursor: str | None) -> Call:
    return Call("GET", "/runs", _READ_S, _params({"limit": limit, "cursor": cursor}))


def get_run(run_id: str) -> Call:
    return Call("GET", f"/runs/{_segment('run_id', run_id)}", _WRITE_S)  # a large result takes a while


def usage(*, since: float | None, until: float | None, by: By | None) -> Call:
    times = {"since": None if since is None else int(since), "until": None if until is None else int(until)}
    return Call("GET", "/usage", _WRITE_S, _params({**times, "by": by}))


def get_session(session_id: str) -> Call:
    return Call("GET", f"/sessions/{_segment('session_id', session_id)}", _READ_S)


def close_session(session_id: str) -> Call:
    return Call("DELETE", f"/sessions/{_segment('session_id', session_id)}", _WRITE_S)


def upload(body: FileBody) -> Call:
    whole = body.len is not None and body.len <= _WHOLE_LIMIT_BYTES
    content = b"".join(body) if whole else body
    return Call("POST", "/files", _WRITE_S, body=content, content_type=body.content_type)


def get_file(file: str | FileToken) -> Call:
    return Call("GET", _file_path(file), _READ_S)


def delete_file(file: str | FileToken) -> Call:
    return Call("DELETE", _file_path(file), _WRITE_S)


def agents() -> Call:
    return Call("GET", "/agents", _WRITE_S)  # the gateway may have to ask each agent for its version


def mint_token(name: str, ip_cidrs: Iterable[str] | None) -> Call:
    if isinstance(ip_cidrs, str):
        raise TypeError("ip_cidrs is a list of networks, not one text")
    cidrs = None if ip_cidrs is None else list(ip_cidrs)
    return _post("/admin/tokens", {"name": _text("name", name), **_given({"ip_cidrs": cidrs})})


def list_tokens() -> Call:
    return Call("GET", "/admin/tokens", _READ_S)


def revoke_token(name: str) -> Call:
    return Call("DELETE", f"/admin/tokens/{_segment('name', name)}", _WRITE_S)


def checked_timeout(timeout_secs: float) -> int:
    """A turn's own deadline, which the contract wants in whole seconds; a part of one counts as one."""
    if isinstance(timeout_secs, bool) or not isinstance(timeout_secs, int | float):
        raise TypeError("timeout_secs is a number of seconds")
    timeout_secs = math.ceil(timeout_secs) if math.isfinite(timeout_secs) else 0
    if timeout_secs < 1:
        raise ValueError("timeout_secs must be 1 or more")
    return timeout_secs


def _post(path: str, body: Mapping[str, Any], *, patience_s: float = _WRITE_S) -> Call:
    try:
        content = codec.dumps(body)
    except UnicodeEncodeError:
        # Its message would quote a part of the prompt and help nobody.
        raise ValueError("a text holds half a surrogate pair, which UTF-8 cannot carry") from None
    return Call("POST", path, patience_s, body=content, content_type="application/json")


def _asked(
    prompt: str, timeout_secs: int, files: Iterable[str | FileToken] | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "prompt": _text("prompt", prompt),
        "timeout_secs": checked_timeout(timeout_secs),
        **_given({"files": _tokens(files), **options}),
    }


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if value == "":
            raise ValueError(f"{name} is empty")
    return given


def _params(options: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in _given(options).items()}


def _tokens(files: Iterable[str | FileToken] | None) -> list[str] | None:
    if files is None:
        return None
    if isinstance(files, (str, FileToken)):
        raise TypeError("files is a list of file tokens, not one")
    return [_text("a file token", _token(each)) for each in files]


def _token(file: str | FileToken) -> str:
    return file.file_token if isinstance(file, FileToken) else file


def _file_path(file: str | FileToken) -> str:
    return f"/files/{_segment('a file token', _token(file))}"


def _text(what: str, value: Any) -> str:
    """A text that says something."""
    if not value:
        raise ValueError(f"{what} is empty")
    if not isinstance(value, str):
        raise TypeError(f"{what} is a text, not a {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    return value


def _segment(what: str, value: str) -> str:
    """A text as one segment of a path."""
    if _text(what, value) in (".", ".."):
        # URL libraries resolve these two however they are encoded, and would call another path.
        raise ValueError(f"{what} must not be {value!r}")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half a surrogate pair, which UTF-8 cannot carry") from None
