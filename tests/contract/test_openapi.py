"""The contract as it is written (docs/api.md) and the OpenAPI document that the gateway serves tell the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.http.routes import application
from clawdforge.wire.problems import STATUS

Calls = set[tuple[str, str]]

TEXT, TEXT_OR_NULL = {"string"}, {"string", "null"}
NUMBER, NUMBER_OR_NULL = {"integer"}, {"integer", "null"}
FLAG, LIST, OBJECT = {"boolean"}, {"array"}, {"object"}
ANYTHING: set[str] = set()
TYPES = {
    **dict.fromkeys(("ok", "claude_present", "acpx_present", "live"), FLAG),
    **dict.fromkeys(("version", "stop_reason", "file_token", "session_id", "agent", "cwd", "name", "token"), TEXT),
    **dict.fromkeys(("app_name",), TEXT),
    **dict.fromkeys(("claude_version", "acpx_version"), TEXT_OR_NULL),
    **dict.fromkeys(("open_sessions", "duration_ms", "ttl_secs", "size", "turn_index", "turn_count"), NUMBER),
    **dict.fromkeys(("created_at", "count"), NUMBER),
    **dict.fromkeys(("last_turn_at", "closed_at", "last_used_at", "revoked_at"), NUMBER_OR_NULL),
    **dict.fromkeys(("events", "sessions", "ip_cidrs", "tokens"), LIST),
    "meta": OBJECT,
    "result": ANYTHING,
}


@pytest.fixture(scope="module")
def contract(repo_root: Path) -> str:
    return (repo_root / "docs/api.md").read_text()


@pytest.fixture(scope="module")
def part_a(contract: str) -> str:
    return contract.partition("\n## B. ")[0]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    rooms: Any = None  # the document is made of the routes alone
    return json.loads(application(rooms).document())


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the table that has this header."""
    lines = text.partition(f"| {header} |\n")[2].splitlines()[1:]
    table = [line for line in lines[: lines.index("")] if line] if "" in lines else lines
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table if line.startswith("| ")
    ]


def nameless(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def calls_of(cell: str) -> Calls:
    """The calls that a table's first cell names; `…` and a path without method go on from the call before."""
    found: Calls = set()
    methods: list[str] = []
    for methods_text, path in re.findall(r"`(?:([A-Z/]+) )?(…?/[^`?\s]*)[^`]*`", cell):
        methods = methods_text.split("/") if methods_text else methods
        whole = path if methods_text and not path.startswith("…") else f"/sessions/{{id}}{path.lstrip('…')}"
        found |= {(method, nameless(whole)) for method in methods}
    return found


def served(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), nameless(path)): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def fields_of(text: str) -> list[str]:
    """The names at the top of an object as the contract writes it."""
    flat = re.sub(r"\[.*?\]", "", text.strip("{}"))
    names = [part.partition(":")[0].strip() for part in flat.split(",")]
    return [name for name in names if name != "…"]


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def answer_of(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    return resolved(document, operation["responses"]["200"]["content"]["application/json"]["schema"])


def types(schema: dict[str, Any]) -> set[str]:
    if "anyOf" in schema:
        return {each for arm in schema["anyOf"] for each in types(arm)}
    return {schema["type"]} if "type" in schema else set()


def has(schema: dict[str, Any], names: list[str]) -> None:
    assert names
    for name in names:
        assert name in schema["properties"], f"{name} is missing in {schema['title']}"
        assert name in schema["required"], f"{name} may be left out of {schema['title']}"
        assert types(schema["properties"][name]) == TYPES[name], f"{name} in {schema['title']}"


def test_every_frozen_call_is_served(part_a: str, document: dict[str, Any]) -> None:
    frozen = [calls_of(row[0]) for row in rows(part_a, "call | body in | 200 body out")]
    assert len(frozen) == 11
    assert all(len(calls) == 1 for calls in frozen)
    assert set().union(*frozen) | {("GET", "/agents"), ("GET", "/agents/{}")} <= set(served(document))


def test_nothing_is_served_that_the_contract_does_not_have(contract: str, document: dict[str, Any]) -> None:
    written = [row[0] for row in rows(contract, "call | body in | 200 body out")]
    written += [row[0] for row in rows(contract, "call | what")]
    known = set().union(*map(calls_of, written))
    assert ("DELETE", "/sessions/{}/files/{}") in known
    assert ("GET", "/sessions/{}/turns/{}") in known
    assert set(served(document)) - known == {("GET", "/openapi.json")}


def test_every_frozen_answer_has_its_fields_and_their_types(part_a: str, document: dict[str, Any]) -> None:
    operations = served(document)
    for call, _, body in rows(part_a, "call | body in | 200 body out"):
        (which,) = calls_of(call)
        text = re.match(r"`(\{.*?\})`", body)
        assert text is not None, body
        has(answer_of(document, operations[which]), fields_of(text[1]))


def test_rows_have_their_fields_and_their_types(part_a: str, document: dict[str, Any]) -> None:
    operations = served(document)
    session = re.search(r"A session row in a list: `(\{.*?\})`", part_a)
    token = re.search(r"tokens: \[(\{.*?\})…\]", part_a)
    assert session is not None
    assert token is not None
    for path, name, text in (("/sessions", "sessions", session[1]), ("/admin/tokens", "tokens", token[1])):
        page = answer_of(document, operations["GET", path])
        has(resolved(document, page["properties"][name]["items"]), fields_of(text))


def test_every_answer_has_a_schema(document: dict[str, Any]) -> None:
    for (method, path), operation in served(document).items():
        if (method, path) == ("GET", "/sessions/{}/files/{}"):
            assert "application/octet-stream" in operation["responses"]["200"]["content"]
        elif path != "/openapi.json":
            assert answer_of(document, operation).get("properties"), f"{method} {path}"


def codes_of(part_a: str) -> Iterator[tuple[str, int]]:
    for text in re.findall(r"(\d{3}) `([a-z_]+)`", part_a):
        yield text[1], int(text[0])
    for first, second in rows(part_a, "status | codes"):
        codes = re.findall(r"`([a-z_]+)`", second)
        statuses = [int(each) for each in first.split(", ")]
        if "as above; 503" in second:
            statuses = [503]
        pairs = zip(codes, statuses * (len(codes) if len(statuses) == 1 else 1), strict=True)
        yield from pairs


def test_every_error_code_has_the_status_of_the_contract_and_none_is_unwritten(part_a: str) -> None:
    written = list(codes_of(part_a))
    assert len(dict(written)) == len(set(written)), "a code with two statuses"
    assert dict(written) == dict(STATUS)


def test_what_refuses_unknown_parameters_says_so(document: dict[str, Any]) -> None:
    for (method, path), operation in served(document).items():
        if path not in ("/healthz", "/openapi.json"):
            assert "`invalid`" in operation["responses"]["422"]["description"], f"{method} {path}"


def test_the_document_speaks_of_the_gateway_and_not_of_how_it_is_made(document: dict[str, Any]) -> None:
    assert "FastAPI" not in json.dumps(document)
