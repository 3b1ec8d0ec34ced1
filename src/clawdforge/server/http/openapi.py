"""Routes that cost nothing per request but their matching, and the OpenAPI document that FastAPI makes of them.

A route says in values what goes in and out; its endpoint gets the raw request and returns an encoded answer. This
module must not read a body or decide who may call.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from clawdforge.server.http.problems import Front, MethodNotAllowed
from clawdforge.server.sandbox.base import LimitName
from clawdforge.wire.permissions import Outcome
from clawdforge.wire.problems import STATUS, Problem

Endpoint = Callable[[Request], Awaitable[ASGIApp]]
Schema = Mapping[str, Any]

COMPONENTS: Final = "#/components/schemas/"
BEARER: Final = "token"
ALWAYS: Final = ("ip_not_allowed", "internal")
WITH_TOKEN: Final = ("unauthorized", "forbidden")
WITH_BODY: Final = ("bad_request", "request_timeout", "too_large", "unsupported_media_type", "invalid")
BINARY: Final[Schema] = {"type": "string", "format": "binary"}
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
        "turn_index": {"type": "integer", "minimum": 1},
        "stop_reason": {"type": "string"},
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


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as the document tells it; the endpoint reads it from the request."""

    name: str
    schema: Schema
    description: str = ""
    place: Literal["query", "path", "header"] = "query"
    required: bool = False

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "in": self.place,
            "required": self.required or self.place == "path",
            "schema": dict(self.schema),
            **({"description": self.description} if self.description else {}),
        }


class Route(APIRoute):
    """One method of one path.

    FastAPI's own handling of a request (dependencies, validation, response models, exit stacks) is never entered;
    only its document is. `HEAD` is answered wherever `GET` is: the server leaves the body out.
    """

    def __init__(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        *,
        answer: Any = None,
        status: int = 200,
        body: type[Any] | None = None,
        body_optional: bool = False,
        form: Mapping[str, Schema] | None = None,
        binary: bool = False,
        parameters: Sequence[Parameter] = (),
        problems: Iterable[str] = (),
        token: bool = True,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds nothing anywhere; give it to `Api`.

        Args:
            endpoint: its name is the operation's id; its docstring summary and description.
            answer: the wire type of the body that `status` has.
            body: the wire type of a JSON body, for `body.read_json`.
            form: the fields of a multipart upload beside `file`, for `multipart`.
            binary: whether the body is bytes, of whatever type.
            parameters: those of the path need not be named.
            problems: codes that this route can answer beside the common ones.
            token: whether a token is needed.
            extra: more of the operation's document, over all else.
        """
        codes = [*ALWAYS, *(WITH_TOKEN if token else ()), *problems]
        if body is not None or form is not None or binary:
            codes += WITH_BODY
        summary, _, description = (inspect.getdoc(endpoint) or "").partition("\n")
        super().__init__(
            path,
            _raw,
            methods=[method],
            name=endpoint.__name__,
            operation_id=endpoint.__name__,
            summary=summary.rstrip("."),
            description=description.strip(),
            response_model=answer,
            status_code=status,
            responses=_responses(codes),
        )
        self.endpoint = endpoint
        self.serves = frozenset({method, "HEAD"} if method == "GET" else {method})
        self.body = body
        named = {parameter.name for parameter in parameters}
        in_path = [
            Parameter(name, {"type": "string"}, place="path")
            for name in self.param_convertors
            if name not in named
        ]
        document: dict[str, Any] = {}
        if in_path or parameters:
            document["parameters"] = [parameter.document() for parameter in (*in_path, *parameters)]
        if body is not None:
            document["requestBody"] = _json_body(body, required=not body_optional)
        if form is not None:
            document["requestBody"] = _upload_body(form)
        if binary:
            document["requestBody"] = {"required": True, "content": {"*/*": {"schema": BINARY}}}
        if token:
            document["security"] = [{BEARER: []}]
        self.openapi_extra = {**document, **(extra or {})}


class Api(FastAPI):
    """The application: routes behind one `Front`, and their document.

    FastAPI's middleware is left out: `Front` answers every error, and each layer would cost every request. Its
    pages for reading the document are off: they load scripts from elsewhere. Paths are taken as they are written;
    one with a slash too many is not found.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        title: str,
        version: str,
        description: str = "",
        lifespan: Lifespan[Any] | None = None,
    ) -> None:
        super().__init__(
            title=title,
            version=version,
            description=description,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            lifespan=lifespan,
        )
        self.router.routes.extend(routes)
        self._table = tuple(routes)
        self._front = Front(self._dispatch)
        self._document: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["app"] = self
            await self._front(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Gives a request to its route. FastAPI's own way there took a tenth of a small call's time."""
        served: set[str] = set()
        for route in self._table:
            found = route.path_regex.match(scope["path"])
            if found is not None:
                scope["route"] = route
                if scope["method"] in route.serves:
                    scope["path_params"] = found.groupdict()
                    answer = await route.endpoint(Request(scope, receive, send))
                    await answer(scope, receive, send)
                    return
                served |= route.serves
        if served:
            raise MethodNotAllowed(scope["method"], sorted(served))
        raise Problem("not_found", "no such path")

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema:
            return self.openapi_schema
        document = super().openapi()
        components = document.setdefault("components", {})
        components["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
        schemas = components.setdefault("schemas", {})
        schemas["Error"] = dict(ERROR_SCHEMA)
        for route in self.routes:
            if isinstance(route, Route) and route.body is not None:
                schema = _schema(route.body)
                schemas |= schema.pop("$defs", {})
                schemas[route.body.__name__] = schema
        return document

    def document(self) -> bytes:
        """The OpenAPI document, encoded. It holds no secrets: it is the published contract and a version."""
        if self._document is None:
            self._document = json.dumps(self.openapi(), ensure_ascii=False, separators=(",", ":")).encode()
        return self._document


async def _raw(request: Request) -> None:
    """What FastAPI sees of every endpoint: a signature without parameters of its own."""


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
