"""Every path of the gateway, in one table: what goes in, what comes out, what can go wrong."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from pydantic import TypeAdapter

from clawdforge.server.http import (
    admin,
    agents,
    diffs,
    events,
    files,
    health,
    permissions,
    runs,
    sessions,
    turns,
    usage,
    workspace,
)
from clawdforge.server.http.context import Context
from clawdforge.server.http.download import BINARY
from clawdforge.server.http.openapi import Api
from clawdforge.server.http.parameters import (
    CONDITIONS,
    DIFF,
    EVENTS,
    FORMS,
    KEY,
    PARTS,
    REMOVAL,
    RUNS,
    SESSIONS,
    TREE,
    UPLOAD,
    USAGE,
)
from clawdforge.server.http.route import BINARY as BYTES
from clawdforge.server.http.route import Route
from clawdforge.wire import sse
from clawdforge.wire.agents import AgentAnswer, AgentPage
from clawdforge.wire.apps import AppToken, TokenCreate, TokenPage, TokenRevoked
from clawdforge.wire.diffs import TurnDiff
from clawdforge.wire.events import EventPage
from clawdforge.wire.files import FileDeleted, FileInfo, FileToken
from clawdforge.wire.health import Health
from clawdforge.wire.permissions import PermissionAnswered, PermissionPage, PermissionReply
from clawdforge.wire.runs import RunAccepted, RunInfo, RunPage, RunRequest, RunResult
from clawdforge.wire.sessions import (
    SessionClosed,
    SessionCreate,
    SessionCreated,
    SessionFork,
    SessionForked,
    SessionInfo,
    SessionPage,
)
from clawdforge.wire.turns import (
    CancelRequest,
    TurnAccepted,
    TurnCancelled,
    TurnInfo,
    TurnPage,
    TurnRequest,
    TurnResult,
)
from clawdforge.wire.usage import UsageReport
from clawdforge.wire.workspace import FilePut, FileRemoved, WorkspacePage

_START: Final = ("agent_unavailable", "agent_failed", "timeout", "shutting_down", "storage_full")
_TURN: Final = (*_START, "not_found", "too_many_turns", "interrupted")
_QUERY: Final = ("bad_request", "invalid")  # what `query.read` refuses
_ONCE: Final = ("idempotency_mismatch", "rate_limited")
_LASTING: Final = ("rate_limited", "overloaded")  # of a stream
_STREAM: Final = {"200": {"content": {sse.MEDIA_TYPE: {"schema": {"type": "string"}}}}}
_BYTES: Final = {"content": {BINARY: {"schema": BYTES}}}
_DOWNLOAD: Final = {
    "200": {"description": "The file", **_BYTES},
    "206": {"description": "A part of it", **_BYTES},
    "304": {"description": "It is the one that is known"},
}
_CHANGE: Final = (*_QUERY, "not_found", "session_closed", "precondition_failed")


def application(rooms: Context) -> Api:
    """The ASGI application over these rooms."""
    routes = [
        Route("GET", "/healthz", health.healthz, answer=Health, token=False),
        Route("GET", "/openapi.json", health.openapi_json),
        Route(
            "POST",
            "/run",
            runs.run,
            body=RunRequest,
            parameters=(*FORMS, KEY),
            answer=RunResult,
            problems=(*_TURN, *_ONCE, *_LASTING),
            extra=_accepted(RunAccepted),
        ),
        Route("GET", "/runs", runs.list_runs, parameters=RUNS, answer=RunPage, problems=_QUERY),
        Route("GET", "/runs/{run_id}", runs.get_run, answer=RunInfo, problems=(*_QUERY, "not_found")),
        Route("GET", "/usage", usage.usage, parameters=USAGE, answer=UsageReport, problems=_QUERY),
        Route(
            "POST",
            "/files",
            files.upload,
            form=UPLOAD,
            parameters=(KEY,),
            answer=FileToken,
            problems=(*_ONCE, "storage_full", "shutting_down"),
        ),
        Route("GET", "/files/{token}", files.get_file, answer=FileInfo, problems=(*_QUERY, "not_found")),
        Route(
            "DELETE",
            "/files/{token}",
            files.delete_file,
            answer=FileDeleted,
            problems=(*_QUERY, "not_found", "storage_full"),
        ),
        Route(
            "POST",
            "/sessions",
            sessions.create_session,
            body=SessionCreate,
            body_optional=True,
            parameters=(KEY,),
            answer=SessionCreated,
            problems=(*_START, *_ONCE, "too_many_sessions"),
        ),
        Route(
            "POST",
            "/sessions/{session_id}/fork",
            sessions.fork_session,
            body=SessionFork,
            body_optional=True,
            parameters=(KEY,),
            answer=SessionForked,
            problems=(
                *_ONCE,
                *("not_found", "agent_unavailable", "overloaded", "shutting_down", "storage_full"),
                *("too_large", "too_many_sessions", "turn_in_progress"),
            ),
        ),
        Route(
            "GET", "/sessions", sessions.list_sessions, parameters=SESSIONS, answer=SessionPage, problems=_QUERY
        ),
        Route(
            "GET",
            "/sessions/{session_id}",
            sessions.get_session,
            answer=SessionInfo,
            problems=(*_QUERY, "not_found"),
        ),
        Route(
            "DELETE",
            "/sessions/{session_id}",
            sessions.close_session,
            answer=SessionClosed,
            problems=(*_QUERY, "not_found", "storage_full"),
        ),
        Route(
            "POST",
            "/sessions/{session_id}/turn",
            turns.turn,
            body=TurnRequest,
            parameters=(*FORMS, KEY),
            answer=TurnResult,
            problems=(*_TURN, *_ONCE, *_LASTING, "session_closed", "turn_in_progress"),
            extra=_accepted(TurnAccepted),
        ),
        Route(
            "GET",
            "/sessions/{session_id}/turns",
            turns.list_turns,
            parameters=RUNS,
            answer=TurnPage,
            problems=(*_QUERY, "not_found"),
        ),
        Route(
            "GET",
            "/sessions/{session_id}/turns/{turn_index}",
            turns.get_turn,
            answer=TurnInfo,
            problems=(*_QUERY, "not_found"),
        ),
        Route(
            "POST",
            "/sessions/{session_id}/cancel",
            turns.cancel,
            body=CancelRequest,
            body_optional=True,
            parameters=(KEY,),
            answer=TurnCancelled,
            problems=(*_ONCE, "not_found", "storage_full"),
        ),
        Route(
            "GET",
            "/sessions/{session_id}/events",
            events.events,
            parameters=EVENTS,
            answer=EventPage,
            problems=(*_QUERY, "not_found", "rate_limited", "overloaded"),
            extra={"responses": _STREAM},
        ),
        Route(
            "GET",
            "/sessions/{session_id}/diff",
            diffs.get_diff,
            parameters=DIFF,
            answer=TurnDiff,
            problems=(*_QUERY, "not_found"),
        ),
        Route(
            "GET",
            "/sessions/{session_id}/files",
            workspace.list_workspace,
            parameters=TREE,
            answer=WorkspacePage,
            problems=(*_QUERY, "not_found"),
        ),
        Route(
            "GET",
            "/sessions/{session_id}/files/{path:any}",
            workspace.get_workspace_file,
            parameters=(*CONDITIONS, *PARTS),
            problems=(*_QUERY, *_LASTING, "not_found", "precondition_failed", "range_not_satisfiable"),
            extra={"responses": _DOWNLOAD},
        ),
        Route(
            "PUT",
            "/sessions/{session_id}/files/{path:any}",
            workspace.put_workspace_file,
            binary=True,
            parameters=CONDITIONS,
            answer=FilePut,
            problems=(*_CHANGE, "storage_full", "shutting_down"),
        ),
        Route(
            "DELETE",
            "/sessions/{session_id}/files/{path:any}",
            workspace.delete_workspace_file,
            parameters=REMOVAL,
            answer=FileRemoved,
            problems=(*_CHANGE, "overloaded"),
        ),
        Route(
            "GET",
            "/sessions/{session_id}/permissions",
            permissions.list_permissions,
            answer=PermissionPage,
            problems=(*_QUERY, "not_found"),
        ),
        Route(
            "POST",
            "/sessions/{session_id}/permissions/{permission_id}",
            permissions.answer_permission,
            body=PermissionReply,
            parameters=(KEY,),
            answer=PermissionAnswered,
            problems=(*_ONCE, "not_found", "permission_answered", "storage_full"),
        ),
        Route("GET", "/agents", agents.list_agents, answer=AgentPage, problems=_QUERY),
        Route("GET", "/agents/{name}", agents.get_agent, answer=AgentAnswer, problems=(*_QUERY, "not_found")),
        Route(
            "POST",
            "/admin/tokens",
            admin.mint_token,
            body=TokenCreate,
            answer=AppToken,
            problems=("name_taken", "storage_full"),
        ),
        Route("GET", "/admin/tokens", admin.list_tokens, answer=TokenPage, problems=_QUERY),
        Route(
            "DELETE",
            "/admin/tokens/{name}",
            admin.revoke_token,
            answer=TokenRevoked,
            problems=(*_QUERY, "not_found", "storage_full"),
        ),
    ]
    api = Api(
        routes,
        title="clawdforge",
        version=version("clawdforge"),
        description="Coding agents as a service on your own machine.",
    )
    api.state.context = rooms
    return api


def _accepted(answer: type[Any]) -> dict[str, Any]:
    """What a prompt can be answered with besides its result."""
    schema = TypeAdapter(answer).json_schema()
    accepted = {
        "description": "The turn is stored, and runs.",
        "content": {"application/json": {"schema": schema}},
    }
    return {"responses": {**_STREAM, "202": accepted}}
