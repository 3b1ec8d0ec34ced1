from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.agents import prompts
from clawdforge.server.agents.base import Attachment, Prompt
from clawdforge.server.agents.offers import Offers
from clawdforge.server.sandbox.base import View
from clawdforge.server.workspaces.contents import Contents, Image, Text

PICTURE = Image("image/png", "iVBOR")
TEXT = Text("first\nsecond", 15)
PATH = Path("/work space/größe (2).md")
URI = "file:///work%20space/gr%C3%B6%C3%9Fe%20%282%29.md"
LINK = {"type": "resource_link", "uri": URI, "name": "größe (2).md", "size": 7, "mimeType": "text/markdown"}
SHOWN_TEXT = {"type": "resource", "resource": {"uri": URI, "mimeType": "text/markdown", "text": "first\nsecond"}}
NAMED = {"type": "text", "text": f"[@größe (2).md]({URI})"}
AS_IT_IS = View("/work space", "/home", "/tmp")
SHOWN_PICTURE = {"type": "image", "mimeType": "image/png", "data": "iVBOR", "uri": URI}


def sent(contents: Contents | None, offers: Offers, **quirks: bool) -> list[dict[str, Any]]:
    prompt = Prompt("read this", [Attachment(PATH, 7, contents)])
    params = prompts.params("s-1", prompt, ["be brief"], offers, AS_IT_IS, **{"literal_uris": False, **quirks})
    assert params.keys() == {"sessionId", "prompt"}
    assert [block["text"] for block in params["prompt"][:2]] == ["be brief", "read this"]
    return list(params["prompt"][2:])


SCHEMA = {"type": "object", "title": "größe"}


def with_schema(schema: dict[str, Any] | None, offers: Offers) -> dict[str, Any]:
    prompt = Prompt("go", [Attachment(PATH, 7)], schema)
    return prompts.params("s-1", prompt, [], offers, AS_IT_IS, literal_uris=False)


def test_an_agent_that_takes_schemas_gets_it_as_it_is() -> None:
    sent = with_schema(SCHEMA, Offers(schemas=True))
    assert sent["_meta"] == {"clawdforge": {"schema": SCHEMA}}
    assert sent["prompt"] == with_schema(None, Offers(schemas=True))["prompt"]


def test_any_other_agent_is_told_it_behind_all_else() -> None:
    sent = with_schema(SCHEMA, Offers())
    assert "_meta" not in sent
    *rest, told = sent["prompt"]
    assert rest == with_schema(None, Offers())["prompt"]
    assert told["text"].startswith(prompts.FITTING)
    assert json.loads(told["text"].removeprefix(prompts.FITTING).partition(":")[2]) == SCHEMA


def test_a_schema_that_asks_for_nothing_is_not_told() -> None:
    for offers in (Offers(), Offers(schemas=True)):
        assert with_schema({}, offers) == with_schema(None, offers)


@pytest.mark.parametrize(
    ("contents", "offers", "blocks"),
    [
        (None, Offers(images=True, texts=True), [LINK]),
        (PICTURE, Offers(images=True, texts=False), [NAMED, SHOWN_PICTURE]),
        (PICTURE, Offers(images=False, texts=True), [LINK]),
        (TEXT, Offers(images=False, texts=True), [SHOWN_TEXT]),
        (TEXT, Offers(images=True, texts=False), [LINK]),
        (TEXT, Offers(), [LINK]),
        (PICTURE, Offers(), [LINK]),
    ],
)
def test_a_file_is_shown_as_far_as_the_agent_takes_it(
    contents: Contents | None, offers: Offers, blocks: list[dict[str, Any]]
) -> None:
    assert sent(contents, offers) == blocks


def test_an_agent_that_does_not_decode_gets_the_path_as_it_is() -> None:
    [link] = sent(None, Offers(), literal_uris=True)
    assert link["uri"] == f"file://{PATH}"


@pytest.mark.parametrize(
    ("literal_uris", "uri"),
    [(False, "file:///workspace/gr%C3%B6%C3%9Fe%20%282%29.md"), (True, "file:///workspace/größe (2).md")],
)
def test_a_file_is_named_as_the_agent_knows_it(literal_uris: bool, uri: str) -> None:
    view = View("/workspace", "/home/agent", "/tmp", (("/work space", "/workspace"),))
    prompt = Prompt("x", [Attachment(PATH, 7)])
    params = prompts.params("s-1", prompt, (), Offers(), view, literal_uris=literal_uris)
    assert params["prompt"][1]["uri"] == uri


def test_a_text_whose_name_tells_no_type_is_plain() -> None:
    prompt = Prompt("x", [Attachment(Path("/LICENSE"), 7, TEXT)])
    params = prompts.params("s-1", prompt, (), Offers(texts=True), AS_IT_IS, literal_uris=False)
    assert params["prompt"][1]["resource"]["mimeType"] == "text/plain"


def test_what_is_left_of_a_prompt_that_was_sent() -> None:
    prompt = Prompt("x", [Attachment(PATH, 7, TEXT)], {"type": "object"})
    assert prompt.without_contents() == Prompt("x", [Attachment(PATH, 7)], {"type": "object"})


@pytest.mark.parametrize("text", ["/init", "/memory show", "/review\nthe diff", "/mcp:fs.list-all x"])
def test_a_command_is_known_by_its_first_word(text: str) -> None:
    assert prompts.is_command(text)


@pytest.mark.parametrize(
    "text", ["", "/", "/ x", "//", "/etc/hosts is broken", " /init", "a /init", "/1st", "x" * 10**6]
)
def test_what_only_looks_like_a_command_is_none(text: str) -> None:
    assert not prompts.is_command(text)
