"""What a test sees of what the app has asked: prompts, files, requests. Values; they do nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that was uploaded."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt that was let in.

    Attributes:
        text: what the app wrote.
        session_id: where; of a run, its `run_id`.
        turn_index: counted from 1 in its session.
        agent: whom it is for.
        is_run: whether it came by `POST /run`.
        files: what was uploaded for it, in the order of the call.
        schema: the JSON Schema that the answer shall fit, or None.
        errors: where an answer did not fit, and is asked for once more, what was wrong with it.
        options: what else was chosen for the session or run, by its name in the contract: `model`, `system`, ….
        meta: the session's.
        workspace: the files of its workspace by their paths, as they are now: what is put into it, is there.
    """

    text: str
    session_id: str
    turn_index: int
    agent: str
    is_run: bool
    files: tuple[SentFile, ...]
    schema: Mapping[str, Any] | None
    options: Mapping[str, Any]
    meta: Mapping[str, Any]
    workspace: dict[str, bytes] = field(repr=False)
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came.

    Attributes:
        method, path: as in the request line, without the query; the path percent-encoded.
        query: its parameters.
        headers: by their names in lower case; the token is left out.
        body: the bytes.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body, read as JSON. Raises ValueError where it is none."""
        return json.loads(self.body)
