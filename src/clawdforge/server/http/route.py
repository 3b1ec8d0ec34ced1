"""A route, in values: what goes in, what comes out, what can go wrong. Must not answer anything itself."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import ASGIApp

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
        self.parameters: tuple[Parameter, ...] = tuple(parameters)
        self.problems: tuple[str, ...] = tuple(problems)
        self.token = token
        self.extra = extra
        self.serves: frozenset[str] = frozenset({method, "HEAD"} if method == "GET" else {method})
        self.path_regex: re.Pattern[str] = compile_path(path)[0]
