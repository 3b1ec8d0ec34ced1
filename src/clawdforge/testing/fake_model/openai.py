"""OpenAI Responses: a request read into an `Ask`, a `Reply` written whole or as server-sent events."""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Final

from clawdforge.testing.fake_model.script import Ask, Reply, Text, Thinking, ToolCall

RESPONSES = "/v1/responses"
USAGE: Final[dict[str, Any]] = {
    "input_tokens": 110,
    "input_tokens_details": {"cached_tokens": 10},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 130,
}
ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
OUTPUTS = ("function_call_output", "custom_tool_call_output")
INCOMPLETE_REASONS = {"max_tokens": "max_output_tokens"}


def takes(method: str, path: str) -> bool:
    return method == "POST" and path == RESPONSES


def read(path: str, body: dict[str, Any]) -> Ask:
    """Raises LookupError or TypeError if the body is no Responses request."""
    items = body["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    said = [(item["role"], texts_of(item["content"])) for item in items if "role" in item]
    results = list(takewhile(lambda item: item.get("type") in OUTPUTS, reversed(items)))
    user_texts = [texts for role, texts in said if role == "user"]
    orders = [text for role, texts in said if role in ("system", "developer") for text in texts]
    reasoning = body.get("reasoning") or {}
    return Ask(
        model=body["model"],
        streams=bool(body.get("stream")),
        # A result is no message here: with an empty one in its place, the prompt before it gives no orders again.
        user_texts=(*user_texts, ()) if results else tuple(user_texts),
        system="\n\n".join([body.get("instructions") or "", *orders]).strip(),
        effort=reasoning.get("effort"),
        thinks=reasoning.get("summary") is not None,
        tools=frozenset(tool["name"] for tool in body.get("tools") or () if "name" in tool),
        tool_result="\n".join(output_of(item["output"]) for item in reversed(results)) if results else None,
        side=not body.get("tools"),
    )


def texts_of(content: str | list[dict[str, Any]]) -> tuple[str, ...]:
    if isinstance(content, str):
        return (content,)
    return tuple(part["text"] for part in content if "text" in part)


def output_of(output: str | list[dict[str, Any]]) -> str:
    return "\n".join(texts_of(output))


def error(status: int, message: str) -> dict[str, Any]:
    kind = ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def whole(path: str, ask: Ask, reply: Reply) -> dict[str, Any]:
    """The answer in one piece."""
    return ended(envelope(ask), reply, [item(ask, reply, part) for part in parts_of(reply)])


def envelope(ask: Ask) -> dict[str, Any]:
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "model": ask.model,
        "status": "in_progress",
        "output": [],
        "error": None,
        "incomplete_details": None,
        "usage": None,
    }


def ended(response: dict[str, Any], reply: Reply, output: list[dict[str, Any]]) -> dict[str, Any]:
    """The response as it is at its end; a stop reason other than a refusal makes it incomplete."""
    if not reply.stop or refuses(reply):
        return {**response, "status": "completed", "output": output, "usage": USAGE}
    reason = INCOMPLETE_REASONS.get(reply.stop, reply.stop)
    details = {"reason": reason}
    return {**response, "status": "incomplete", "incomplete_details": details, "output": output, "usage": USAGE}


def refuses(reply: Reply) -> bool:
    return reply.stop == "refusal"


def parts_of(reply: Reply) -> tuple[Text | Thinking | ToolCall, ...]:
    """A refusal is words of a kind of their own here, not only a reason."""
    return reply.parts or ((Text(("I cannot help with that.",)),) if refuses(reply) else ())


def item(ask: Ask, reply: Reply, part: Text | Thinking | ToolCall) -> dict[str, Any]:
    match part:
        case Text(pieces):
            text = "".join(pieces)
            content = {"type": "output_text", "text": text, "annotations": []}
            if refuses(reply):
                content = {"type": "refusal", "refusal": text}
            return {**named("msg"), "type": "message", "role": "assistant", "content": [content]}
        case Thinking(text):
            summary = [{"type": "summary_text", "text": text}]
            return {**named("rs"), "type": "reasoning", "summary": summary, "encrypted_content": "c2VjcmV0"}
        case ToolCall():
            name, arguments = own_tool(ask, part)
            call = {"call_id": f"call_{uuid.uuid4().hex[:24]}", "name": name}
            if isinstance(arguments, str):
                return {**named("ctc"), "type": "custom_tool_call", **call, "input": arguments}
            return {**named("fc"), "type": "function_call", **call, "arguments": json.dumps(arguments)}


def named(prefix: str) -> dict[str, str]:
    return {"id": f"{prefix}_{uuid.uuid4().hex}", "status": "completed"}


def own_tool(ask: Ask, call: ToolCall) -> tuple[str, dict[str, Any] | str]:
    """The name and the arguments by which codex knows a tool; a string is the input of a free-form one.

    A command is one that its model wants outside the sandbox: codex asks before it.
    """
    match call.name:
        case "WRITE":
            lines = "".join(f"+{line}\n" for line in call.arguments["content"].split("\n"))
            patch = f"*** Begin Patch\n*** Add File: {call.arguments['path']}\n{lines}*** End Patch\n"
            if "apply_patch" in ask.tools:
                return "apply_patch", patch
            return command(f"apply_patch <<'PATCH'\n{patch}PATCH")
        case "READ":
            return command(f"cat -- {shlex.quote(call.arguments['path'])}")
        case "BASH":
            escalated = {
                "sandbox_permissions": "require_escalated",
                "justification": "May a scripted command run?",
            }
            name, arguments = command(call.arguments["command"])
            return name, {**arguments, **escalated}
    if call.name == "apply_patch":
        return call.name, str(call.arguments["input"])
    return call.name, call.arguments


def command(line: str) -> tuple[str, dict[str, Any]]:
    return "exec_command", {"cmd": line}


def stream(ask: Ask, reply: Reply) -> Iterator[bytes]:
    """One server-sent event an item."""
    response = envelope(ask)
    events = spoken_events(ask, reply, response)
    for number, (kind, fields) in enumerate(events):
        data = {"type": kind, "sequence_number": number, **fields}
        yield f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def spoken_events(ask: Ask, reply: Reply, response: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "response.created", {"response": response}
    yield "response.in_progress", {"response": response}
    output = []
    for index, part in enumerate(parts_of(reply)):
        made = item(ask, reply, part)
        place = {"item_id": made["id"], "output_index": index}
        yield "response.output_item.added", {"output_index": index, "item": hollow(made)}
        yield from ((kind, {**place, **fields}) for kind, fields in deltas(reply, part, made))
        yield "response.output_item.done", {"output_index": index, "item": made}
        output.append(made)
    end = ended(response, reply, output)
    yield f"response.{end['status']}", {"response": end}


def hollow(made: dict[str, Any]) -> dict[str, Any]:
    """An item as its start announces it: everything but what the deltas bring."""
    empty = {"content": [], "summary": [], "arguments": "", "input": "", "status": "in_progress"}
    return {key: empty.get(key, value) for key, value in made.items()}


def deltas(
    reply: Reply, part: Text | Thinking | ToolCall, made: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    match part:
        case Text(pieces):
            kind = "refusal" if refuses(reply) else "output_text"
            whole_part = made["content"][0]
            place = {"content_index": 0}
            yield "response.content_part.added", {**place, "part": hollow_part(whole_part)}
            yield from ((f"response.{kind}.delta", {**place, "delta": piece}) for piece in pieces)
            yield "response.content_part.done", {**place, "part": whole_part}
        case Thinking(text):
            place = {"summary_index": 0}
            whole_part = made["summary"][0]
            yield "response.reasoning_summary_part.added", {**place, "part": hollow_part(whole_part)}
            yield "response.reasoning_summary_text.delta", {**place, "delta": text}
            yield "response.reasoning_summary_text.done", {**place, "text": text}
            yield "response.reasoning_summary_part.done", {**place, "part": whole_part}
        case ToolCall():
            field, kind = (
                ("input", "custom_tool_call_input")
                if "input" in made
                else (
                    "arguments",
                    "function_call_arguments",
                )
            )
            middle = len(made[field]) // 2
            for half in (made[field][:middle], made[field][middle:]):
                yield f"response.{kind}.delta", {"delta": half}
            yield f"response.{kind}.done", {field: made[field]}


def hollow_part(part: dict[str, Any]) -> dict[str, Any]:
    return {key: "" if key in ("text", "refusal") else value for key, value in part.items()}
