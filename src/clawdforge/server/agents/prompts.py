"""Prompts as ACP content blocks, and the words of ACP that have no room of their own. Pure."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from clawdforge.server.agents.base import Attachment, Prompt
from clawdforge.server.agents.offers import Offers
from clawdforge.server.sandbox.base import View
from clawdforge.server.workspaces.contents import Image, Text
from clawdforge.wire import events
from clawdforge.wire.events import Draft

_COMMAND: Final = re.compile(r"/[A-Za-z][\w:.-]*(?:\s|\Z)")
FITTING: Final = (
    "When you have done what is asked above, end with the result as JSON: a single value that fits the JSON Schema"
    " below. A program reads it, so your last message is that JSON alone: no other words, no code fence."
)
STOP_REASONS: Final = frozenset({"end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"})


def params(
    session_id: str | None,
    prompt: Prompt,
    ahead: Sequence[str],
    offers: Offers,
    view: View,
    *,
    literal_uris: bool,
) -> dict[str, Any]:
    """The parameters of `session/prompt`.

    Args:
        session_id: the agent's own id of the session.
        prompt: what the caller sent.
        ahead: texts that have to go ahead of it.
        offers: what the agent takes in a prompt.
        view: how it sees its workspace.
        literal_uris: the agent does not decode the URIs of files.
    """
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in (*ahead, prompt.text)]
    for each in prompt.files:
        path = view.there(each.path)
        blocks += _file(each, f"file://{path}" if literal_uris else PurePosixPath(path).as_uri(), offers)
    sent: dict[str, Any] = {"sessionId": session_id, "prompt": blocks}
    if prompt.schema and offers.schemas:
        sent["_meta"] = {"clawdforge": {"schema": prompt.schema}}
    elif prompt.schema:
        blocks.append({"type": "text", "text": _fitting(prompt.schema)})
    return sent


def _fitting(schema: Mapping[str, Any]) -> str:
    """What an agent is told of a schema that it cannot constrain itself by."""
    return f"{FITTING}\n\nJSON Schema:\n{json.dumps(schema, ensure_ascii=False)}"


def is_command(text: str) -> bool:
    """Whether an agent would take a prompt for one of its own commands: `/review`, not `/etc/hosts`."""
    return _COMMAND.match(text) is not None


def unknown(method: str, parameters: Mapping[str, Any]) -> Draft:
    """A notification that is no session update, kept whole."""
    return Draft(events.OTHER, {"acp": {"method": method, "params": dict(parameters)}})


def _file(file: Attachment, uri: str, offers: Offers) -> list[dict[str, Any]]:
    """A file as what the agent takes: a picture, an embedded text, else a link to where it lies."""
    name = file.path.name
    media_type, _ = mimetypes.guess_type(name)
    match file.contents:
        case Image() as image if offers.images:
            # Agents pass the picture on alone: without these words the model would not know the file.
            named = {"type": "text", "text": f"[@{name}]({uri})"}
            return [named, {"type": "image", "mimeType": image.media_type, "data": image.base64, "uri": uri}]
        case Text(text) if offers.texts:
            resource = {"uri": uri, "mimeType": media_type or "text/plain", "text": text}
            return [{"type": "resource", "resource": resource}]
    link = {"type": "resource_link", "uri": uri, "name": name, "size": file.size}
    return [link if media_type is None else {**link, "mimeType": media_type}]
