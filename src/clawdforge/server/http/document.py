"""The OpenAPI document of routes, as FastAPI makes it. Loaded when somebody asks for it: that takes a while.

This module must not know what the routes do.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.requests import Request

from clawdforge.server.http.route import BINARY, Parameter, Route, Schema
from clawdforge.server.sandbox.base import LimitName
from clawdforge.wire.permissions import Outcome
from clawdforge.wire.problems import STATUS

COMPONENTS: Final = "#/components/schemas/"
BEARER: Final = "token"
ALWAYS: Final = ("ip_not_allowed", "internal")
WITH_TOKEN: Final = ("unauthorized", "forbidden")
WITH_BODY: Final = ("bad_request", "request_timeout", "too_large", "unsupported_media_type", "invalid")
ERROR_SCHEMA: Final[Schema] = {
    "type": "object",
    "description": "What every error answers. Errors of a turn also name it; `invalid` lists the faults.",
    "required": ["detail", "code", "request_id"],
    "properties": {
        "detail": {"type": "string", "description": "A sentence for a person."},
        "code": {"type": "string", "enum": sorted(STATUS)},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "message"],
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "message": {"type": "string"},
                },
            },
        },
        "permission_id": {"type": "string", "description": "Of a request that was answered before."},
        "decision": {"type": "string", "enum": [*get_args(Outcome)], "description": "What it came to."},
        "option_id": {"type": ["string", "null"]},
        "by": {"type": "string", "description": "Who or what decided it."},
        "reason": {"type": "string", "description": "Why it was not put to the app."},
        "session_id": {"type": "string"},
        "run_id": {"type": "string"},
        "turn_index": {"type": "integer", "minimum": 1},
        "stop_reason": {"type": "string"},
        "usage": {"type": "object", "description": "What the turn took until then."},
        "events": {
            "type": "array",
            "items": {"type": "object"},
            "description": "What was seen of the turn, folded as in its answer.",
        },
        "phase": {"type": "string", "enum": ["startup", "idle", "total"], "description": "Whose time was over."},
        "limit": {
            "type": "string",
            "enum": [*get_args(LimitName)],
            "description": "What the session may not pass.",
        },
        "exit_code": {
            "type": ["integer", "null"],
            "description": "Of the agent; a signal as its negative number.",
        },
        "stderr_tail": {"type": "string"},
    },
}


def document(routes: Sequence[Route], *, title: str, version: str, description: str) -> dict[str, Any]:
    """What the routes take and answer."""
    application = FastAPI(title=title, version=version, description=description)
    application.router.routes[:] = [_route(each) for each in routes]
    made = application.openapi()
    components = made.setdefault("components", {})
    components["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
    schemas = components.setdefault("schemas", {})
    schemas["Error"] = dict(ERROR_SCHEMA)
    for body in [each.body for each in routes if each.body is not None]:
        schema = _schema(body)
        schemas |= schema.pop("$defs", {})
        schemas[body.__name__] = schema
    return made


def _route(route: Route) -> APIRoute:
    """A route as FastAPI knows routes: its handling of requests is never entered, only its document is."""
    codes = [*ALWAYS, *(WITH_TOKEN if route.token else ()), *route.problems]
    if route.body is not None or route.form is not None or route.binary:
        codes += WITH_BODY
    summary, _, description = (inspect.getdoc(route.endpoint) or "").partition("\n")
    name = route.endpoint.__name__
    made = APIRoute(
        route.path,
        _raw,
        methods=[route.method],
        name=name,
        operation_id=name,
        summary=summary.rstrip("."),
        description=description.strip(),
        response_model=route.answer,
        status_code=route.status,
        responses=_responses(codes),
    )
    made.openapi_extra = _operation(route, made.param_convertors)
    return made


def _operation(route: Route, in_path: Iterable[str]) -> dict[str, Any]:
    """What FastAPI cannot know of a route that reads the raw request."""
    named = {parameter.name for parameter in route.parameters}
    parameters = [Parameter(name, {"type": "string"}, place="path") for name in in_path if name not in named]
    parameters += route.parameters
    document: dict[str, Any] = {}
    if parameters:
        document["parameters"] = [parameter.document() for parameter in parameters]
    if route.body is not None:
        document["requestBody"] = _json_body(route.body, required=not route.body_optional)
    if route.form is not None:
        document["requestBody"] = _upload_body(route.form)
    if route.binary:
        document["requestBody"] = {"required": True, "content": {"*/*": {"schema": BINARY}}}
    if route.token:
        document["security"] = [{BEARER: []}]
    return {**document, **(route.extra or {})}


# What FastAPI sees of every endpoint: a signature without parameters of its own, and no docstring, which it would
# take for the description of those that have none.
async def _raw(request: Request) -> None: ...


def _responses(codes: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(STATUS[code], []).append(code)
    return {
        status: {
            "description": ", ".join(f"`{code}`" for code in by_status[status]),
            "content": {"application/json": {"schema": {"$ref": f"{COMPONENTS}Error"}}},
        }
        for status in sorted(by_status)
    }


def _schema(kind: type[Any]) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema(ref_template=COMPONENTS + "{model}")


def _json_body(kind: type[Any], *, required: bool) -> dict[str, Any]:
    schema = {"$ref": COMPONENTS + kind.__name__}
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _upload_body(fields: Mapping[str, Schema]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {"file": BINARY, **fields},
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
