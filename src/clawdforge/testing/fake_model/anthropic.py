"""Anthropic Messages: a request read into an `Ask`, a `Reply` written whole or as server-sent events."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from clawdforge.testing.fake_model.script import Ask, Reply, Text, Thinking, ToolCall

MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
USAGE = {
    "input_tokens": 100,
    "output_tokens": 20,
    "cache_read_input_tokens": 10,
    "cache_creation_input_tokens": 0,
}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def takes(method: str, path: str) -> bool:
    return method == "POST" and path in (MESSAGES, COUNT)


def read(path: str, body: dict[str, Any]) -> Ask:
    """Raises LookupError or TypeError if the body is no Messages request."""
    users = [message["content"] for message in body["messages"] if message["role"] == "user"]
    messages = [[{"type": "text", "text": one}] if isinstance(one, str) else one for one in users]
    results = [block for block in (messages or [[]])[-1] if block["type"] == "tool_result"]
    return Ask(
        model=body["model"],
        streams=bool(body.get("stream")),
        user_texts=tuple(tuple(block["text"] for block in one if block["type"] == "text") for one in messages),
        system=text_of(body.get("system") or "", between="\n\n"),
        effort=body.get("output_config", {}).get("effort"),
        thinks=body.get("thinking", {}).get("type", "disabled") != "disabled",
        tools=frozenset(tool["name"] for tool in body.get("tools") or ()),
        tool_result="\n".join(text_of(block.get("content") or "") for block in results) if results else None,
        side=path == COUNT or not body.get("tools"),
    )


def text_of(content: str | list[dict[str, Any]], between: str = "\n") -> str:
    if isinstance(content, str):
        return content
    return between.join(block["text"] for block in content if block.get("type") == "text")


def error(status: int, message: str) -> dict[str, Any]:
    kind = ERROR_TYPES.get(status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": f"req_{uuid.uuid4().hex}",
    }


def whole(path: str, ask: Ask, reply: Reply) -> dict[str, Any]:
    """The answer in one piece."""
    if path == COUNT:
        return {"input_tokens": sum(len(text) for texts in ask.user_texts for text in texts) // 4}
    content = [block(part) for part in reply.parts]
    return {**envelope(ask), "content": content, "stop_reason": stop_reason(reply), "usage": USAGE}


def envelope(ask: Ask) -> dict[str, Any]:
    return {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "stop_sequence": None,
    }


def stop_reason(reply: Reply) -> str:
    return reply.stop or ("tool_use" if reply.calls_tool else "end_turn")


def block(part: Text | Thinking | ToolCall) -> dict[str, Any]:
    match part:
        case Text(pieces):
            return {"type": "text", "text": "".join(pieces)}
        case Thinking(text):
            return {"type": "thinking", "thinking": text, "signature": "c2lnbmVk"}
        case ToolCall():
            name, arguments = own_tool(part)
            return {
                "type": "tool_use",
                "id": f"toolu_{uuid.uuid4().hex[:24]}",
                "name": name,
                "input": arguments,
            }


def own_tool(call: ToolCall) -> tuple[str, dict[str, Any]]:
    """The name and the arguments by which claude knows a tool."""
    match call.name:
        case "WRITE":
            return "Write", {"file_path": call.arguments["path"], "content": call.arguments["content"]}
        case "READ":
            return "Read", {"file_path": call.arguments["path"]}
        case "BASH":
            return "Bash", {**call.arguments, "description": "A scripted command"}
    return call.name, call.arguments


def stream(ask: Ask, reply: Reply) -> Iterator[bytes]:
    """One server-sent event an item."""
    opening = {**envelope(ask), "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    yield event("message_start", message=opening)
    yield event("ping")
    for index, part in enumerate(reply.parts):
        yield event("content_block_start", index=index, content_block=empty_block(part))
        for delta in deltas(part):
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    ending = {"stop_reason": stop_reason(reply), "stop_sequence": None}
    yield event("message_delta", delta=ending, usage={"output_tokens": USAGE["output_tokens"]})
    yield event("message_stop")


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def empty_block(part: Text | Thinking | ToolCall) -> dict[str, Any]:
    """A block as its start announces it: everything but what the deltas bring."""
    hollow = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {key: hollow.get(key, value) for key, value in block(part).items()}


def deltas(part: Text | Thinking | ToolCall) -> Iterator[dict[str, Any]]:
    match part:
        case Text(pieces):
            yield from ({"type": "text_delta", "text": piece} for piece in pieces)
        case Thinking(text):
            yield {"type": "thinking_delta", "thinking": text}
            yield {"type": "signature_delta", "signature": "c2lnbmVk"}
        case ToolCall():
            arguments = json.dumps(own_tool(part)[1])
            middle = len(arguments) // 2
            yield from (
                {"type": "input_json_delta", "partial_json": half}
                for half in (arguments[:middle], arguments[middle:])
            )
