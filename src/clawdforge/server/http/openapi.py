"""The application: routes that cost nothing per request but their matching, and their OpenAPI document.

A route's endpoint gets the raw request and returns an encoded answer. This module must not read a body or decide
who may call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache

from starlette.datastructures import State
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from clawdforge.server.http.problems import Front, MethodNotAllowed
from clawdforge.server.http.route import Route
from clawdforge.wire.problems import Problem


class Api:
    """The application: routes behind one `Front`, and their document.

    There is no middleware: `Front` answers every error, and each layer would cost every request. Paths are taken
    as they are written; one with a slash too many is not found.
    """

    def __init__(self, routes: Sequence[Route], *, title: str, version: str, description: str = "") -> None:
        self.state: State = State()
        self.document: Callable[[], bytes] = cache(self._document)
        self._told = {"title": title, "version": version, "description": description}
        self._table = tuple(routes)
        methods = {method for route in routes for method in route.serves}
        self._of_method = {each: [route for route in routes if each in route.serves] for each in methods}
        self._front = Front(self._dispatch)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._front(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        for route in self._of_method.get(method, ()):
            if (found := route.path_regex.match(path)) is not None:
                scope["route"] = route
                scope["path_params"] = found.groupdict()
                answer = await route.endpoint(Request(scope, receive, send))
                await answer(scope, receive, send)
                return
        if served := {each for route in self._table if route.path_regex.match(path) for each in route.serves}:
            raise MethodNotAllowed(method, sorted(served))
        raise Problem("not_found", "no such path")

    def _document(self) -> bytes:
        """The OpenAPI document, encoded. It holds no secrets: it is the published contract and a version."""
        from clawdforge.server.http.document import document

        made = document(self._table, **self._told)
        return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()
