"""What a fake gateway knows: apps, sessions, uploads, keys, and what a test has told it. In memory, of one object.

Must not know HTTP.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from clawdforge.testing.fake_gateway.chances import Chance
from clawdforge.testing.fake_gateway.prompt import Prompt, Request, SentFile
from clawdforge.testing.fake_gateway.script import Script
from clawdforge.testing.fake_gateway.session import Session, Turn
from clawdforge.wire.problems import Problem, invalid

_KEY_LIMIT_CHARS: Final = 255


@dataclass(slots=True)
class App:
    """A tenant, and its token."""

    name: str
    token: str = field(repr=False)
    ip_cidrs: list[str]
    created_at: int
    last_used_at: int | None = None
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was handed in."""

    app_name: str
    token: str
    file: SentFile
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Done:
    """What a POST with a key has made: a turn, or else its answer."""

    fingerprint: bytes
    turn: tuple[Session, Turn] | None = None
    answer: Any = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A POST that may be done only once: where that is kept, and what was done before, if something was.

    Without a key, or where none counts, there is no place.
    """

    place: tuple[str, str] | None = None
    fingerprint: bytes = b""
    done: Done | None = None


class State:
    """Everything of one fake gateway. All of it is read and written under `lock`.

    Args:
        agents: the names of those that it has.
        honours_keys: whether an `Idempotency-Key` counts.
        heartbeat_s: how long a stream is quiet at most.
        start: does something in a thread that ends with the gateway.
    """

    def __init__(
        self,
        agents: tuple[str, ...],
        *,
        honours_keys: bool,
        heartbeat_s: float,
        start: Callable[[Callable[[], None]], None],
    ) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.agents = agents
        self.honours_keys = honours_keys
        self.heartbeat_s = heartbeat_s
        self.start = start
        self.closing = False
        self.script: Script = Script()
        self.chances: list[Chance] = []
        self.requests: list[Request] = []
        self.prompts: list[Prompt] = []
        self.prompted: threading.Condition = threading.Condition(self.lock)
        self.admin_token: str = "cfadm_" + secrets.token_urlsafe(32)
        self.apps: dict[str, App] = {}
        self.sessions: dict[str, Session] = {}
        self.uploads: dict[str, Upload] = {}
        self.keys: dict[tuple[str, str], Done] = {}

    # --- apps ----------------------------------------------------------------------------------------------

    def mint(self, name: str, ip_cidrs: Iterable[str] = ()) -> App:
        """A new app. Raises Problem `name_taken`."""
        if name in self.apps:
            raise Problem("name_taken", f"there is an app of the name {name!r}: revoke it, or take another name")
        app = App(name, "cf_" + secrets.token_urlsafe(32), [*ip_cidrs], int(time.time()))
        self.apps[name] = app
        return app

    def app(self, authorization: str | None) -> App:
        """The app that asks. Raises Problem `unauthorized`, `forbidden`."""
        token = _bearer(authorization)
        for app in self.apps.values():
            if app.revoked_at is None and secrets.compare_digest(app.token.encode(), token):
                app.last_used_at = int(time.time())
                return app
        if secrets.compare_digest(self.admin_token.encode(), token):
            raise Problem("forbidden", "the admin token opens /admin/* only; mint a token for the app")
        raise _unauthorized()

    def admin(self, authorization: str | None) -> None:
        """Returns where the admin asks. Raises Problem `unauthorized`, `forbidden`."""
        token = _bearer(authorization)
        if not secrets.compare_digest(self.admin_token.encode(), token):
            self.app(authorization)
            raise Problem("forbidden", "an app's token does not open /admin/*; use the admin token")

    # --- sessions, uploads ---------------------------------------------------------------------------------

    def find(self, app: App, session_id: str) -> Session:
        """A session or run of the app. Raises Problem `not_found`."""
        session = self.sessions.get(session_id)
        if session is None or session.app_name != app.name:
            raise Problem("not_found", "session not found")
        return session

    def session(self, app: App, session_id: str) -> Session:
        """A session of the app, no run. Raises Problem `not_found`."""
        session = self.find(app, session_id)
        if session.is_run:
            raise Problem("not_found", "session not found")
        return session

    def mine(self, app: App, *, runs: bool) -> list[Session]:
        """The app's sessions, or its runs, newest first."""
        of_app = (each for each in self.sessions.values() if each.app_name == app.name)
        return [each for each in of_app if each.is_run is runs][::-1]

    def upload(self, app: App, token: str) -> Upload:
        """An upload of the app that has not expired. Raises Problem `not_found`."""
        upload = self.uploads.get(token)
        if upload is None or upload.app_name != app.name or upload.expires_at <= time.time():
            raise Problem("not_found", "file not found")
        return upload

    def check_agent(self, name: str) -> None:
        """Returns where there is such an agent. Raises Problem `invalid`."""
        if name not in self.agents:
            raise invalid(f"no agent of that name; there are: {', '.join(self.agents)}", "agent")

    # --- keys ----------------------------------------------------------------------------------------------

    def claim(self, app: App, request: Request, asked: dict[str, Any]) -> Claim:
        """What a POST may do only once, by its key.

        Args:
            app: who asks.
            request: with the key, if it has one.
            asked: what makes it another one with the same key.

        Raises:
            Problem: `invalid`, `idempotency_mismatch`.
        """
        key = request.headers.get("idempotency-key")
        if key is None or not self.honours_keys:
            return Claim()
        if not 0 < len(key) <= _KEY_LIMIT_CHARS or any(not "!" <= each <= "~" for each in key):
            detail = f"Idempotency-Key is one word of 1 to {_KEY_LIMIT_CHARS} printable ASCII characters"
            raise invalid(detail, "Idempotency-Key")
        whole = json.dumps([request.path, asked], sort_keys=True)
        claim = Claim((app.name, key), hashlib.sha256(whole.encode()).digest(), self.keys.get((app.name, key)))
        if claim.done is not None and claim.done.fingerprint != claim.fingerprint:
            detail = "this Idempotency-Key was used for another request: take a new key for each thing to be done"
            raise Problem("idempotency_mismatch", detail)
        return claim

    def keep(self, claim: Claim, *, turn: tuple[Session, Turn] | None = None, answer: Any = None) -> None:
        """What was done for a claim is found by its key from now on; without one nothing is kept."""
        if claim.place is not None:
            self.keys[claim.place] = Done(claim.fingerprint, turn, answer)


def new_id(prefix: str) -> str:
    """An id that nobody guesses."""
    return f"{prefix}_{secrets.token_hex(16)}"


def _bearer(authorization: str | None) -> bytes:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized()
    return token.strip().encode("latin-1", "replace")


def _unauthorized() -> Problem:
    return Problem("unauthorized", "a valid token is needed: Authorization: Bearer cf_…")
