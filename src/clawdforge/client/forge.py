"""The synchronous client: an app's way to its gateway.

What is sent, how it is read and when it is tried again is the flows' matter (`_flow`, `_asking`, …); they are
performed by `_requests`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from clawdforge.client import _api, _asking, _bodies, _calls, _config, _flow, _local, _log, _turns
from clawdforge.client._call import Call
from clawdforge.client._calls import Files
from clawdforge.client._core import Core
from clawdforge.client._requests import Wire
from clawdforge.client.session import Session

if TYPE_CHECKING:
    from typing import Unpack

    import requests

    from clawdforge.client._bodies import OnProgress
    from clawdforge.client._local import FileLike
    from clawdforge.client.events import Event
    from clawdforge.client.options import RunOptions, SessionOptions
    from clawdforge.client.stream import OnPermission, TurnStream
    from clawdforge.wire.apps import AppToken
    from clawdforge.wire.files import FileToken
    from clawdforge.wire.runs import RunResult
    from clawdforge.wire.usage import By

T = TypeVar("T")


class Forge:
    """An app's way to its gateway.

    Where no argument says otherwise, `CLAWDFORGE_URL` and `CLAWDFORGE_TOKEN` do, then
    `http://127.0.0.1:8800` and no token. Use it as a context manager, or call `close()`.

    One Forge may be used by many threads at once: its settings never change, and each call takes a connection
    of its own from the pool. Only `close()` must wait until the calls are done. After a fork the child makes
    connections of its own. A `session` that you bring must be safe for your threads and forks itself.

    A call is tried again where that is safe: one that was never sent, and any other once the gateway has shown
    that it does nothing twice. `CLAWDFORGE_LOG=debug` shows all calls on stderr, without secrets.

    Args:
        base_url: where the gateway listens; a path in it is kept (a reverse proxy's prefix).
        token: the app's token `cf_…`, or the admin token for `*_token*` calls.
        default_model: the model of runs that name none. Sessions are sent only what they are given.
        default_timeout_secs: the deadline of turns that name none, in seconds.
        http_timeout_margin: seconds that the HTTP answer may come after the turn's deadline.
        session: a `requests.Session` to send through, with your own proxies, certificates and adapters. It is
            neither changed nor closed. Its timeouts are those of requests, for each read anew: an answer that
            drips may take longer than its call.
        retries: how often a call may be tried again, within its own deadline.

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
        retries: int = 2,
    ) -> None:
        _log.show(os.environ)
        self._config = config = _config.resolve(base_url, token, os.environ)
        self._core = Core(config, http_timeout_margin, retries, default_timeout_secs, default_model)
        self._wire = Wire(config, session)

    @property
    def base_url(self) -> str:
        """Where the gateway is, without a slash at the end."""
        return self._config.base_url

    @property
    def default_timeout_secs(self) -> int:
        """The deadline, in seconds, of turns that name none."""
        return self._core.timeout_secs

    def with_options(self, *, timeout_secs: float | None = None, retries: int | None = None) -> Self:
        """The same way to the same gateway, by the same connections, with other defaults.

        Args:
            timeout_secs: the deadline of turns that name none, in seconds.
            retries: how often a call may be tried again.
        """
        other = object.__new__(type(self))
        other._config, other._wire = self._config, self._wire
        other._core = self._core.with_options(timeout_secs, retries)
        return other

    def healthz(self) -> dict[str, Any]:
        """The gateway's own report, as it was sent. Needs no token."""
        return self._ask(_calls.healthz())

    @overload
    def run(
        self,
        prompt: str,
        *,
        schema: type[T],
        files: Files = None,
        timeout_secs: float | None = None,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[T]: ...
    @overload
    def run(
        self,
        prompt: str,
        *,
        schema: Mapping[str, Any] | None = None,
        files: Files = None,
        timeout_secs: float | None = None,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[Any]: ...
    def run(
        self,
        prompt: str,
        *,
        schema: Any = None,
        files: Files = None,
        timeout_secs: float | None = None,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[Any]:
        """Asks one thing and waits for the answer. What is None is left to the gateway.

        Args:
            prompt: what the agent shall do; megabytes are fine.
            schema: what the result shall be: a JSON Schema (see `RunResult.schema_valid`), or a dataclass, a
                TypedDict or a pydantic model, of which `result` is then an instance.
            files: tokens of uploads, which the agent finds in its workspace.
            timeout_secs: the deadline, 1 to 86400 s; `default_timeout_secs` where None.
            on_event: told each event as it comes.
            on_permission: asked what an agent shall be answered that wants to use a tool. `permissions` is then
                `ask`, where it says nothing else. What it answers by None is left to others.
            **options: see `RunOptions`: `agent`, `model`, `system`, `effort`, `permissions`, …

        Returns:
            The result; `ok` is False where the agent refused, was cancelled or did nothing at all.

        Raises:
            ValueError: the prompt or a file token is empty.
            TypeError: there is no such option, or the schema is none.
            ForgeTurnError: the run failed; `events` has what was seen of it.
            ForgeSchemaError: the answer does not fit the type that was asked for.
            ForgeError: the gateway said no, or no answer came.
        """
        prompted = _asking.run(
            self._core,
            prompt,
            schema=schema,
            files=files,
            timeout_secs=self._core.limit_secs(timeout_secs),
            asks=on_permission is not None,
            **options,
        )
        result: RunResult[Any] = self._wire.perform(_turns.answer(self._core, prompted, on_event, on_permission))
        return result

    @overload
    def stream(
        self,
        prompt: str,
        *,
        schema: type[T],
        files: Files = None,
        timeout_secs: float | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> TurnStream[RunResult[T]]: ...
    @overload
    def stream(
        self,
        prompt: str,
        *,
        schema: Mapping[str, Any] | None = None,
        files: Files = None,
        timeout_secs: float | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> TurnStream[RunResult[Any]]: ...
    def stream(
        self,
        prompt: str,
        *,
        schema: Any = None,
        files: Files = None,
        timeout_secs: float | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> TurnStream[Any]:
        """One run as a stream of events; the prompt is sent with the first one asked for.

        `Session.stream` says how such a stream goes; `TurnStream.result` is what `run` would have returned.

        Args:
            timeout_secs: the deadline; None: there is none.
            prompt, schema, files, on_permission, **options: as `run` has them.

        Raises:
            ValueError, TypeError: as `run` has them. What the gateway says is raised by the stream.
        """
        from clawdforge.client import _sources, stream

        prompted = _asking.run(
            self._core,
            prompt,
            schema=schema,
            files=files,
            timeout_secs=timeout_secs,
            asks=on_permission is not None,
            **options,
        )
        return stream.TurnStream(self._wire, self._core, _sources.PromptEvents(prompted), on_permission)

    def upload_file(
        self, path_or_fileobj: FileLike, ttl_secs: int | None = None, on_progress: OnProgress | None = None
    ) -> FileToken:
        """Uploads a file for later prompts. It is sent in pieces and never whole in memory.

        Args:
            path_or_fileobj: a path, or a binary file, which is read from where it stands to its end and not
                closed. One that cannot seek (a pipe) works too.
            ttl_secs: how long the gateway keeps it, 60 to 86400 s (3600 by default).
            on_progress: told how many bytes are sent, and of how many (None: nobody knows).

        Raises:
            OSError: the path cannot be opened.
            TypeError: the file object gives text, not bytes.
            ForgeError: the file became unreadable or shorter on the way, or the gateway took none of it.
        """
        with _local.source(path_or_fileobj, on_progress) as (source, name):
            fields = {} if ttl_secs is None else {"ttl_secs": str(ttl_secs)}
            body = _bodies.form(source, name, fields, boundary=secrets.token_hex(16))
            return _api.file_token(self._ask(_calls.upload(body)))

    def get_file(self, file: str | FileToken) -> dict[str, Any]:
        """What the gateway knows of an upload, as it was sent: `name`, `size`, `sha256`, `expires_at`, …

        Raises:
            ForgeNotFoundError: there is none, also once it has expired, or it is another app's.
        """
        return self._ask(_calls.get_file(file))

    def delete_file(self, file: str | FileToken) -> dict[str, Any]:
        """Drops an upload before its time. What a turn has found in its workspace stays there.

        Raises:
            ForgeNotFoundError: as `get_file` has it.
        """
        return self._ask(_calls.delete_file(file))

    def session(
        self,
        agent: str | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        schema: Any = None,
        **options: Unpack[SessionOptions],
    ) -> Session:
        """A session for a `with` block: created where the block begins, closed where it ends.

        Args:
            agent: which one (`claude` by default).
            meta: the app's own object, which comes back with the session's record.
            schema: what the results of its turns shall be, as `Session.turn` has it.
            **options: see `SessionOptions`: `model`, `system`, `permissions`, …
        """
        call = _calls.create_session(
            patience_s=self._core.timeout_secs,
            agent=agent,
            meta=meta,
            schema=_asking.schema_of(schema),
            **options,
        )
        core = self._core.with_options(options.get("timeout_secs"), None)
        return Session(self._wire, core, opening=call, schema=schema)

    def create_session(
        self,
        agent: str | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        schema: Any = None,
        **options: Unpack[SessionOptions],
    ) -> Session:
        """Creates a session at once, as `session()` would. Close it when done, best in a `finally`."""
        return self.session(agent, meta, schema=schema, **options).open()

    def attach_session(self, session_id: str) -> Session:
        """A session that is there already, by its id. Used in a `with` block, it is closed at the end of it.

        By the id of a run it is that run: its `state`, `events`, `files`, `turns`, `permissions`, `answer` and
        `cancel`, while it goes on and after. It takes no other prompt, and has no `diff`.

        Raises:
            ForgeNotFoundError: there is none, or it is another app's.
        """
        state = {**self._ask(_calls.record(session_id)), "session_id": session_id}
        return Session(self._wire, self._core, created=_api.session_created(state))

    def list_sessions(self, include_closed: bool = True) -> dict[str, Any]:
        """This app's sessions, newest first, as they were sent: `{"ok", "sessions": [row…], "count"}`."""
        return self._ask(_calls.list_sessions(include_closed=include_closed))

    def sessions(self, include_closed: bool = True) -> Iterator[dict[str, Any]]:
        """The rows of `list_sessions` one by one, fetched page by page as they are read."""
        call = _calls.list_sessions(include_closed=include_closed, limit=_calls.PAGE_ROWS)
        return self._wire.play(_flow.pages(self._core, call, "sessions"))

    def get_session(self, session_id: str) -> dict[str, Any]:
        """The gateway's record of a session, as it was sent."""
        return self._ask(_calls.get_session(session_id))

    def runs(self) -> Iterator[dict[str, Any]]:
        """This app's runs, newest first, as they were sent: `run_id`, `status`, …; fetched as they are read."""
        return self._wire.play(_flow.pages(self._core, _calls.list_runs(), "runs"))

    def get_run(self, run_id: str) -> dict[str, Any]:
        """The gateway's record of a run, with its `result`, as it was sent."""
        return self._ask(_calls.get_run(run_id))

    def usage(
        self, since: float | None = None, until: float | None = None, by: By | None = None
    ) -> dict[str, Any]:
        """What this app's turns took, as it was sent: `{"ok", "total": {…}, "groups": [{"key", …}…], …}`.

        Args:
            since: epoch seconds: turns that began then or later.
            until: epoch seconds: turns that began before.
            by: groups them by `agent`, `model` or `day` (UTC).
        """
        return self._ask(_calls.usage(since=since, until=until, by=by))

    def agents(self) -> dict[str, Any]:
        """The agents that the gateway knows, and which of them can work there, as they were sent."""
        return self._ask(_calls.agents())

    def mint_token(self, name: str, ip_cidrs: Iterable[str] | None = None) -> AppToken:
        """Makes a token for an app. It is shown this once. Needs the admin token.

        Args:
            name: the app's name; one in use is 409 `name_taken`.
            ip_cidrs: networks from which the token works; all that the gateway allows where None.
        """
        return _api.app_token(self._ask(_calls.mint_token(name, ip_cidrs)))

    def list_tokens(self) -> list[dict[str, Any]]:
        """All tokens without their secrets: `name`, `ip_cidrs`, `created_at`, … Needs the admin token."""
        return _api.rows(self._ask(_calls.list_tokens()), "tokens")

    def revoke_token(self, name: str) -> dict[str, Any]:
        """Ends a token: from now on it is refused. Needs the admin token."""
        return self._ask(_calls.revoke_token(name))

    def close(self) -> None:
        """Lets go of all connections, also of Forges made by `with_options`. Sessions stay open on the gateway.

        Safe to repeat.
        """
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._config.base_url}>"

    def _ask(self, call: Call) -> dict[str, Any]:
        return self._wire.perform(_flow.ask(self._core, call))
