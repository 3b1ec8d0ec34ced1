"""The synchronous client: performs calls over HTTP.

The only file of the SDK that imports requests. What to send is `_call`'s job, what came is `_api`'s.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from clawdforge.client import _api, _call, _config
from clawdforge.client._call import Call
from clawdforge.client._multipart import FileBody
from clawdforge.client.session import Session
from clawdforge.errors import ForgeError, ForgeTransportError, one_line

if TYPE_CHECKING:
    from clawdforge.wire.agents import Effort, PermissionPolicy, SystemMode
    from clawdforge.wire.apps import AppToken
    from clawdforge.wire.files import FileToken
    from clawdforge.wire.runs import RunResult
    from clawdforge.wire.usage import By

# requests lets some of what lies below it through: urllib3's own errors, http.client's, bad host names.
_FAULTS: Final = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)
_POOL_SIZE: Final = 100


class Forge:
    """An app's way to its gateway.

    Where no argument says otherwise, `CLAWDFORGE_URL` and `CLAWDFORGE_TOKEN` do, then
    `http://127.0.0.1:8800` and no token. Use it as a context manager, or call `close()`.

    One Forge may be used by many threads at once: its settings never change, and each call takes a connection
    of its own from the pool. Only `close()` must wait until the calls are done. A `session` that you bring must
    be safe for your threads itself.

    Args:
        base_url: where the gateway listens; a path in it is kept (a reverse proxy's prefix).
        token: the app's token `cf_…`, or the admin token for `*_token*` calls.
        default_model: the model of runs that name none. Sessions are sent only what they are given.
        default_timeout_secs: the deadline of turns that name none, in seconds.
        http_timeout_margin: seconds that the HTTP answer may come after the turn's deadline.
        session: a `requests.Session` to send through, with your own proxies, certificates and adapters. It is
            neither changed nor closed.

    Raises:
        ValueError: an argument, or what the environment holds, cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        token: str | None = None,
        default_model: str | None = None,
        default_timeout_secs: int = 120,
        http_timeout_margin: float = 30,
        session: requests.Session | None = None,
    ) -> None:
        self._config = _config.resolve(base_url, token, os.environ)
        self._default_model = default_model
        self._default_timeout_secs = _call.checked_timeout(default_timeout_secs)
        if http_timeout_margin < 0:
            raise ValueError("http_timeout_margin must not be negative")
        self._margin_s = http_timeout_margin
        self._owned = session is None
        self._http = _new_http() if session is None else session
        self._closed = False
        # A proxy of the environment cannot reach this machine's loopback. Named as `no_proxy`, the host is
        # spared while certificates (`REQUESTS_CA_BUNDLE`) and proxies set on a given session stay in force.
        self._proxies = {"no_proxy": self._config.host} if self._config.is_loopback else None

    @property
    def base_url(self) -> str:
        """Where the gateway is, without a slash at the end."""
        return self._config.base_url

    @property
    def default_timeout_secs(self) -> int:
        """The deadline, in seconds, of turns that name none."""
        return self._default_timeout_secs

    def healthz(self) -> dict[str, Any]:
        """The gateway's own report, as it was sent. Needs no token."""
        return self.send(_call.healthz())

    def run(
        self,
        prompt: str,
        *,
        agent: str | None = None,
        model: str | None = None,
        system: str | None = None,
        system_mode: SystemMode | None = None,
        effort: Effort | None = None,
        files: Iterable[str | FileToken] | None = None,
        timeout_secs: int | None = None,
        schema: Mapping[str, Any] | None = None,
        permissions: PermissionPolicy | None = None,
        mode: str | None = None,
    ) -> RunResult:
        """Asks one thing and waits for the answer. What is None is left to the gateway.

        Args:
            prompt: what the agent shall do; megabytes are fine.
            agent: which one (`claude` by default).
            model: by the agent's own name for it; `default_model` where None.
            system: a system prompt.
            system_mode: whether `system` is added to the agent's own (`append`) or stands alone (`replace`).
            effort: `low`, `medium`, `high`, `xhigh` or `max`.
            files: tokens of uploads, which the agent finds in its workspace.
            timeout_secs: the deadline, 1 to 86400 s; `default_timeout_secs` where None.
            schema: a JSON Schema for the result: see `RunResult.schema_valid`.
            permissions: what the agent may do unasked: `allow`, `workspace`, `reads` or `deny`.
            mode: one of the agent's own modes.

        Returns:
            The result; `ok` is False where the agent refused, was cancelled or did nothing at all.

        Raises:
            ValueError: the prompt or a file token is empty.
            ForgeAPIError: the run failed: 504 `timeout`, 502 `agent_failed`, 422 for an unknown agent, …
            ForgeError: no answer came, or none of this contract.
        """
        call = _call.run(
            prompt,
            timeout_secs=self._default_timeout_secs if timeout_secs is None else timeout_secs,
            agent=agent,
            model=self._default_model if model is None else model,
            system=system,
            system_mode=system_mode,
            effort=effort,
            files=files,
            schema=schema,
            permissions=permissions,
            mode=mode,
        )
        return _api.run_result(self.send(call))

    def upload_file(
        self, path_or_fileobj: str | os.PathLike[str] | BinaryIO, ttl_secs: int | None = None
    ) -> FileToken:
        """Uploads a file for later prompts. It is sent in pieces and never whole in memory.

        Args:
            path_or_fileobj: a path, or a binary file, which is read from where it stands to its end and not
                closed. One that cannot seek (a pipe) works too.
            ttl_secs: how long the gateway keeps it, 60 to 86400 s (3600 by default).

        Raises:
            OSError: the path cannot be opened.
            TypeError: the file object gives text, not bytes.
            ForgeError: the file became unreadable or shorter on the way, or the gateway took none of it.
        """
        with _opened(path_or_fileobj) as (file, name):
            fields = {} if ttl_secs is None else {"ttl_secs": str(ttl_secs)}
            body = FileBody(file, name, _size_left(file), fields, boundary=secrets.token_hex(16))
            return _api.file_token(self.send(_call.upload(body)))

    def get_file(self, file: str | FileToken) -> dict[str, Any]:
        """What the gateway knows of an upload, as it was sent: `name`, `size`, `sha256`, `expires_at`, …

        Raises:
            ForgeAPIError: 404 where there is none, also once it has expired, or where it is another app's.
        """
        return self.send(_call.get_file(file))

    def delete_file(self, file: str | FileToken) -> dict[str, Any]:
        """Drops an upload before its time. What a turn has found in its workspace stays there.

        Raises:
            ForgeAPIError: 404, as `get_file` has it.
        """
        return self.send(_call.delete_file(file))

    def session(self, agent: str | None = None, meta: Mapping[str, Any] | None = None, **options: Any) -> Session:
        """A session for a `with` block: created where the block begins, closed where it ends.

        Args:
            agent: which one (`claude` by default).
            meta: the app's own object, which comes back with the session's record.
            options: `model`, `system`, `system_mode`, `effort`, `mode`, `permissions`, `idle_timeout_secs`.
        """
        patience_s = self._default_timeout_secs
        call = _call.create_session(patience_s=patience_s, agent=agent, meta=meta, **options)
        return Session(self, opening=call)

    def create_session(
        self, agent: str | None = None, meta: Mapping[str, Any] | None = None, **options: Any
    ) -> Session:
        """Creates a session at once, as `session()` would. Close it when done, best in a `finally`."""
        return self.session(agent, meta, **options).open()

    def attach_session(self, session_id: str) -> Session:
        """A session that is there already, by its id. Used in a `with` block, it is closed at the end of it.

        Raises:
            ForgeAPIError: 404 where there is none, or where it is another app's.
        """
        state = {**self.get_session(session_id), "session_id": session_id}
        return Session(self, created=_api.session_created(state))

    def list_sessions(self, include_closed: bool = True) -> dict[str, Any]:
        """This app's sessions, newest first, as they were sent: `{"ok", "sessions": [row…], "count"}`."""
        return self.send(_call.list_sessions(include_closed=include_closed))

    def get_session(self, session_id: str) -> dict[str, Any]:
        """The gateway's record of a session, as it was sent."""
        return self.send(_call.get_session(session_id))

    def list_runs(self, limit: int | None = None, cursor: str | None = None) -> dict[str, Any]:
        """This app's runs, newest first, as they were sent: `{"ok", "runs": [record…], "count", "next_cursor"}`.

        Args:
            limit: how many at most, 1 to 200 (200 where None).
            cursor: the `next_cursor` of the page before.
        """
        return self.send(_call.list_runs(limit=limit, cursor=cursor))

    def get_run(self, run_id: str) -> dict[str, Any]:
        """The gateway's record of a run, with its `result`, as it was sent."""
        return self.send(_call.get_run(run_id))

    def usage(
        self, since: float | None = None, until: float | None = None, by: By | None = None
    ) -> dict[str, Any]:
        """What this app's turns took, as it was sent: `{"ok", "total": {…}, "groups": [{"key", …}…], …}`.

        Args:
            since: epoch seconds: turns that began then or later.
            until: epoch seconds: turns that began before.
            by: groups them by `agent`, `model` or `day` (UTC).
        """
        return self.send(_call.usage(since=since, until=until, by=by))

    def agents(self) -> dict[str, Any]:
        """The agents that the gateway knows, and which of them can work there, as they were sent."""
        return self.send(_call.agents())

    def mint_token(self, name: str, ip_cidrs: Iterable[str] | None = None) -> AppToken:
        """Makes a token for an app. It is shown this once. Needs the admin token.

        Args:
            name: the app's name; one in use is 409 `name_taken`.
            ip_cidrs: networks from which the token works; all that the gateway allows where None.
        """
        return _api.app_token(self.send(_call.mint_token(name, ip_cidrs)))

    def list_tokens(self) -> list[dict[str, Any]]:
        """All tokens without their secrets: `name`, `ip_cidrs`, `created_at`, … Needs the admin token."""
        return _api.token_rows(self.send(_call.list_tokens()))

    def revoke_token(self, name: str) -> dict[str, Any]:
        """Ends a token: from now on it is refused. Needs the admin token."""
        return self.send(_call.revoke_token(name))

    def send(self, call: Call) -> dict[str, Any]:
        """Performs one call and returns the JSON object of its success. The other methods say it nicer."""
        if self._closed:
            raise ForgeError("this Forge is closed; make a new one")
        url = self._config.base_url + call.path
        timeout_s = call.patience_s + self._margin_s
        try:
            with self._http.request(
                call.method,
                url,
                params=call.params,
                data=call.body,
                headers=call.headers,
                auth=_Bearer(self._config.token if call.authorized else None),
                timeout=timeout_s,
                allow_redirects=False,  # a redirected POST loses its body, and the token is for one host
                stream=True,  # so that a body that breaks off leaves no socket: requests itself would lose it
                proxies=self._proxies,
            ) as response:
                reply = _api.Reply(response.status_code, response.headers, response.content)
        except _FAULTS as error:
            raise ForgeTransportError(f"{call.method} {url}: {_reason(error, timeout_s)}") from error
        return _api.read(reply, token=self._config.token)

    def close(self) -> None:
        """Lets go of all connections. Sessions stay open on the gateway. Safe to repeat."""
        self._closed = True
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Forge {self._config.base_url}>"


class _Bearer(AuthBase):
    """Puts the token on a request.

    Always given, also without a token: were there no auth object, requests would take one from `~/.netrc`,
    which silently beats any header.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is None:
            request.headers.pop("Authorization", None)
        else:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Adapter(HTTPAdapter):
    """requests' own adapter, but that closing it closes its connections at once.

    It only forgets them otherwise, and an exception that somebody keeps keeps them open. `send` stays as it is:
    apps' tests put their own in its place.
    """

    def close(self) -> None:
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  # its other ways of iterating are forbidden
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()


def _new_http() -> requests.Session:
    http = requests.Session()
    for scheme in ("http://", "https://"):
        # As many connections kept as threads are likely; beyond that they are made and dropped.
        http.mount(scheme, _Adapter(pool_maxsize=_POOL_SIZE))
    # The contract knows no cookies, and threads would share them.
    http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return http


@contextmanager
def _opened(source: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """The file to read, and its name. Only what was opened here is closed."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        with path.open("rb") as file:
            yield file, path.name
        return
    if not isinstance(source.read(0), bytes):
        raise TypeError("the file object gives text: open it in binary mode")
    name = getattr(source, "name", None)
    yield source, (Path(name).name if isinstance(name, str) else "") or "upload"


def _size_left(file: BinaryIO) -> int | None:
    """Bytes from where the file stands to its end; None where it cannot seek."""
    if not file.seekable():
        return None
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return max(0, end - here)


def _reason(error: BaseException, timeout_s: float) -> str:
    """What lies at the bottom of a failed call, in words."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {timeout_s:g} s"
    while (deeper := _deeper(error)) is not None:
        error = deeper
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return one_line(said) or type(error).__name__


def _deeper(error: BaseException) -> BaseException | None:
    # Not `__context__`: that would lead on into whatever the app was handling when it made the call.
    wrapped = (each for each in error.args if isinstance(each, BaseException))
    return error.__cause__ or next(wrapped, None)
