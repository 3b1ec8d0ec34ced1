"""Prompts as ACP content blocks, and the words of ACP that have no room of their own. Pure."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any, Final

from clawdforge.server.agents.base import Attachment, Prompt
from clawdforge.wire import events
from clawdforge.wire.events import Draft

STOP_REASONS: Final = frozenset({"end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"})


def params(session_id: str | None, prompt: Prompt, prefix: str | None) -> dict[str, Any]:
    """The parameters of `session/prompt`.

    Args:
        session_id: the agent's own id of the session.
        prompt: what the caller sent.
        prefix: instructions that have to go ahead of it.
    """
    blocks: list[dict[str, Any]] = [{"type": "text", "text": prompt.text}]
    if prefix:
        blocks.insert(0, {"type": "text", "text": prefix})
    blocks += [_resource_link(each) for each in prompt.files]
    sent: dict[str, Any] = {"sessionId": session_id, "prompt": blocks}
    if prompt.schema is not None:
        sent["_meta"] = {"clawdforge": {"schema": prompt.schema}}
    return sent


def unknown(method: str, parameters: Mapping[str, Any]) -> Draft:
    """A notification that is no session update, kept whole."""
    return Draft(events.OTHER, {"acp": {"method": method, "params": dict(parameters)}})


def _resource_link(file: Attachment) -> dict[str, Any]:
    link = {"type": "resource_link", "uri": file.path.as_uri(), "name": file.path.name, "size": file.size}
    media_type, _ = mimetypes.guess_type(file.path.name)
    return link if media_type is None else {**link, "mimeType": media_type}
