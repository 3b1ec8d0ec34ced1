"""Routes that cost nothing per request but their matching, and what the OpenAPI document tells of them.

A route says in values what goes in and out; its endpoint gets the raw request and returns an encoded answer. This
module must not read a body or decide who may call.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, Protocol

from starlette.datastructures import State
from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from clawdforge.server.http.problems import Front, MethodNotAllowed
from clawdforge.wire.problems import Problem

Schema = Mapping[str, Any]

BINARY: Final[Schema] = {"type": "string", "format": "binary"}


class Endpoint(Protocol):
    """Answers a request. Its name is the operation's id, its docstring summary and description."""

    __name__: str

    def __call__(self, request: Request, /) -> Awaitable[ASGIApp]: ...


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


class Route:
    """One method of one path. `HEAD` is answered wherever `GET` is: the server leaves the body out."""

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
            answer: the wire type of the body that `status` has.
            body: the wire type of a JSON body, for `body.read_json`.
            form: the fields of a multipart upload beside `file`, for `multipart`.
            binary: whether the body is bytes, of whatever type.
            parameters: those of the path need not be named.
            problems: codes that this route can answer beside the common ones.
            token: whether a token is needed.
            extra: more of the operation's document, over all else.
        """
        self.method = method
        self.path = path
        self.endpoint = endpoint
        self.answer = answer
        self.status = status
        self.body = body
        self.body_optional = body_optional
        self.form = form
        self.binary = binary
        self.parameters = tuple(parameters)
        self.problems = tuple(problems)
        self.token = token
        self.extra = extra
        self.serves = frozenset({method, "HEAD"} if method == "GET" else {method})
        self.path_regex, _, _ = compile_path(path)


class Api:
    """The application: routes behind one `Front`, and their document.

    There is no middleware: `Front` answers every error, and each layer would cost every request. Paths are taken
    as they are written; one with a slash too many is not found.
    """

    def __init__(self, routes: Sequence[Route], *, title: str, version: str, description: str = "") -> None:
        self.state = State()
        self.document: Callable[[], bytes] = cache(self._document)
        self._told = {"title": title, "version": version, "description": description}
        self._table = tuple(routes)
        self._front = Front(self._dispatch)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._front(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
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

    def _document(self) -> bytes:
        """The OpenAPI document, encoded. It holds no secrets: it is the published contract and a version."""
        from clawdforge.server.http.document import document

        made = document(self._table, **self._told)
        return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()
