"""Every path that the fake answers, in one table, and how a request finds its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from clawdforge.testing.fake_gateway.calls import files, others, prompts, sessions, workspace
from clawdforge.testing.fake_gateway.calls.call import Call
from clawdforge.testing.fake_gateway.connection import Answer, Incoming, Stream
from clawdforge.testing.fake_gateway.state import State
from clawdforge.wire.problems import Problem

Handler = Callable[[Call], Answer | Stream]
_SESSION: Final = "/sessions/{session_id}"

ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/healthz", others.healthz),
    ("POST", "/run", prompts.run),
    ("GET", "/runs", prompts.list_runs),
    ("GET", "/runs/{run_id}", prompts.get_run),
    ("GET", "/usage", others.usage),
    ("POST", "/files", files.upload),
    ("GET", "/files/{token}", files.get),
    ("DELETE", "/files/{token}", files.delete),
    ("POST", "/sessions", sessions.create),
    ("GET", "/sessions", sessions.list_sessions),
    ("GET", _SESSION, sessions.get),
    ("DELETE", _SESSION, sessions.close),
    ("POST", f"{_SESSION}/fork", sessions.fork),
    ("POST", f"{_SESSION}/turn", prompts.turn),
    ("GET", f"{_SESSION}/turns", prompts.list_turns),
    ("GET", f"{_SESSION}/turns/{{turn_index}}", prompts.get_turn),
    ("POST", f"{_SESSION}/cancel", prompts.cancel),
    ("GET", f"{_SESSION}/events", sessions.events),
    ("GET", f"{_SESSION}/permissions", sessions.list_permissions),
    ("POST", f"{_SESSION}/permissions/{{permission_id}}", sessions.answer_permission),
    ("GET", f"{_SESSION}/diff", workspace.diff),
    ("GET", f"{_SESSION}/files", workspace.list_files),
    ("GET", f"{_SESSION}/files/{{path}}", workspace.get),
    ("PUT", f"{_SESSION}/files/{{path}}", workspace.put),
    ("DELETE", f"{_SESSION}/files/{{path}}", workspace.delete),
    ("GET", "/agents", others.list_agents),
    ("GET", "/agents/{name}", others.get_agent),
    ("POST", "/admin/tokens", others.mint_token),
    ("GET", "/admin/tokens", others.list_tokens),
    ("DELETE", "/admin/tokens/{name}", others.revoke_token),
)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", lambda name: f"(?P<{name[1]}>{_part(name[1])})", path))


def _part(name: str) -> str:
    return ".*" if name == "path" else "[^/]+"


_PATTERNS: Final = tuple((method, _pattern(path), handler) for method, path, handler in ROUTES)


def answer(state: State, incoming: Incoming, request_id: str) -> Answer | Stream:
    """The answer to a request; the lock is held. Raises Problem."""
    request = incoming.request
    method = "GET" if request.method == "HEAD" else request.method
    allowed: list[str] = []
    for each, pattern, handler in _PATTERNS:
        found = pattern.fullmatch(request.path)
        if found is None:
            continue
        if each != method:
            allowed.append(each)
            continue
        app = None
        if request.path.startswith("/admin/"):
            state.admin(incoming.authorization)
        elif handler is not others.healthz:
            app = state.app(incoming.authorization)
        return handler(Call(state, incoming, request_id, app, found.groupdict()))
    if allowed:
        detail = f"{request.method} is no method of this path; it has {', '.join(sorted(allowed))}"
        raise Problem("method_not_allowed", detail)
    raise Problem("not_found", "no such path")
