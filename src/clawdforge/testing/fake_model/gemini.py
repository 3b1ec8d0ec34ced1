"""Gemini's generateContent: a request read into an `Ask`, a `Reply` written whole or as server-sent events."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

from clawdforge.testing.fake_model.script import Ask, Reply, Text, Thinking, ToolCall

PATH = re.compile(r"/v1\w*/(publishers/google/)?models/[^/:]+:(generateContent|streamGenerateContent|countTokens)")
USAGE = {
    "promptTokenCount": 110,
    "cachedContentTokenCount": 10,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 135,
}
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
STOP_REASONS = {"": "STOP", "max_tokens": "MAX_TOKENS", "refusal": "SAFETY"}


def takes(method: str, path: str) -> bool:
    return method == "POST" and PATH.fullmatch(path) is not None


def read(path: str, body: dict[str, Any]) -> Ask:
    """Raises LookupError or TypeError if the body is no request for content."""
    model, verb = path.rpartition("/")[2].split(":")
    users = [content["parts"] for content in body["contents"] if content.get("role", "user") == "user"]
    config = body.get("generationConfig") or {}
    thinking = config.get("thinkingConfig") or {}
    schema = config.get("responseJsonSchema")
    tools = [each["name"] for tool in body.get("tools") or () for each in tool.get("functionDeclarations", ())]
    results = [part["functionResponse"] for part in (users or [[]])[-1] if "functionResponse" in part]
    return Ask(
        model=model,
        streams=verb == "streamGenerateContent",
        user_texts=tuple(tuple(part["text"] for part in parts if "text" in part) for parts in users),
        system="\n\n".join(part["text"] for part in (body.get("systemInstruction") or {}).get("parts", ())),
        effort=thinking.get("thinkingLevel"),
        thinks=bool(thinking.get("includeThoughts")),
        tools=frozenset(tools),
        tool_result="\n".join(map(told, results)) if results else None,
        side=not tools or verb == "countTokens",
        side_answer=json.dumps(example(schema)) if schema else "",
    )


def example(schema: dict[str, Any]) -> Any:
    """What satisfies a schema: gemini has a small model score each prompt, and retries what is no JSON."""
    match schema.get("type", "").lower():
        case "object":
            return {name: example(each) for name, each in schema.get("properties", {}).items()}
        case "array":
            return []
        case "integer" | "number":
            return 1
        case "boolean":
            return False
    return schema.get("enum", ["scripted"])[0]


def told(result: dict[str, Any]) -> str:
    """What a function gave back."""
    response = result.get("response") or {}
    text = response.get("output", response.get("error"))
    return text if isinstance(text, str) else json.dumps(response)


def error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": STATUSES.get(status, "INTERNAL")}}


def whole(path: str, ask: Ask, reply: Reply) -> dict[str, Any]:
    """The answer in one piece."""
    if path.endswith(":countTokens"):
        return {"totalTokens": sum(len(text) for texts in ask.user_texts for text in texts) // 4}
    return chunk(ask, [part_of(part) for part in reply.parts], finish(reply))


def stream(ask: Ask, reply: Reply) -> Iterator[bytes]:
    """One server-sent event an item."""
    answer_id = uuid.uuid4().hex
    for part in reply.parts:
        for piece in pieces(part):
            yield event(chunk(ask, [piece], None, answer_id))
    yield event(chunk(ask, [], finish(reply), answer_id))


def finish(reply: Reply) -> str:
    return STOP_REASONS.get(reply.stop, reply.stop)


def chunk(ask: Ask, parts: list[dict[str, Any]], reason: str | None, answer_id: str = "") -> dict[str, Any]:
    content = {"role": "model", "parts": parts} if parts else {"role": "model"}
    ending = {"finishReason": reason} if reason else {}
    return {
        "candidates": [{"content": content, **ending, "index": 0}],
        "usageMetadata": USAGE,
        "modelVersion": ask.model,
        "responseId": answer_id or uuid.uuid4().hex,
    }


def event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\r\n\r\n".encode()


def pieces(part: Text | Thinking | ToolCall) -> Iterator[dict[str, Any]]:
    if isinstance(part, Text):
        yield from ({"text": piece} for piece in part.pieces)
    else:
        yield part_of(part)


def part_of(part: Text | Thinking | ToolCall) -> dict[str, Any]:
    match part:
        case Text(pieces):
            return {"text": "".join(pieces)}
        case Thinking(text):
            return {"text": text, "thought": True}
        case ToolCall():
            name, arguments = own_tool(part)
            return {"functionCall": {"name": name, "args": arguments}, "thoughtSignature": "c2lnbmVk"}


def own_tool(call: ToolCall) -> tuple[str, dict[str, Any]]:
    """The name and the arguments by which gemini knows a tool."""
    match call.name:
        case "WRITE":
            return "write_file", {"file_path": call.arguments["path"], "content": call.arguments["content"]}
        case "READ":
            return "read_file", {"file_path": call.arguments["path"]}
        case "BASH":
            return "run_shell_command", {**call.arguments, "description": "A scripted command"}
    return call.name, call.arguments
