"""What a client says, as the plain text that the model reads: prompts and system prompts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from clawdforge.local_agent.protocol import INVALID_PARAMS, RpcError

DEFAULT_SYSTEM: Final = "You are a helpful assistant."


def prompt_text(blocks: Any) -> str:
    """The text of a prompt's content blocks; a linked file is named, an embedded one quoted.

    Raises:
        RpcError: a block is of a kind that the agent does not take, or there is no text at all.
    """
    if not isinstance(blocks, list):
        raise RpcError(INVALID_PARAMS, "prompt must be a list of content blocks")
    text = "\n\n".join(_block_text(block) for block in blocks)
    if not text.strip():
        raise RpcError(INVALID_PARAMS, "the prompt holds no text")
    return _sound(text)


def system_prompt(meta: Any) -> str:
    """The system prompt that the `_meta` of `session/new` asks for.

    `systemPrompt` as a string replaces the default, as `{"append": "…"}` follows it.
    """
    asked = meta.get("systemPrompt") if isinstance(meta, dict) else None
    if isinstance(asked, str) and asked:
        return _sound(asked)
    if isinstance(asked, dict) and isinstance(asked.get("append"), str):
        return _sound(f"{DEFAULT_SYSTEM}\n\n{asked['append']}")
    return DEFAULT_SYSTEM


def _block_text(block: Any) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "resource_link", "uri": str(uri)}:
            return f"Attached file, not shown: {block.get('name') or _name(uri)}"
        case {"type": "resource", "resource": {"uri": str(uri), "text": str(text)}}:
            return f"Attached file {_name(uri)}:\n{text}"
        case {"type": "resource", "resource": {"uri": str(uri)}}:
            return f"Attached file, not shown because it is no text: {_name(uri)}"
    kind = block.get("type") if isinstance(block, Mapping) else None
    raise RpcError(INVALID_PARAMS, f"this agent reads text and resources, not a content block {str(kind)[:50]!r}")


def _name(uri: str) -> str:
    """The last part of a URI's path; the whole URI where it has none."""
    try:
        path = urlsplit(uri).path
    except ValueError:
        return uri
    return unquote(path.rstrip("/").rpartition("/")[2]) or uri


def _sound(text: str) -> str:
    """The text, if it is one: JSON can spell half a surrogate pair, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RpcError(INVALID_PARAMS, "the text holds half of a surrogate pair, which is no character") from None
    return text
