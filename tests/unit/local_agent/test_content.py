"""Prompts and system prompts, as the text that the model reads."""

from __future__ import annotations

from typing import Any

import pytest

from clawdforge.local_agent.content import DEFAULT_SYSTEM, prompt_text, system_prompt
from clawdforge.local_agent.protocol import RpcError

TEXT = {"type": "text", "text": "Look:"}


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"type": "text", "text": "more"}, "more"),
        (
            {"type": "resource_link", "uri": "file:///w/a%20b.txt", "name": "a b.txt"},
            "Attached file, not shown: a b.txt",
        ),
        ({"type": "resource_link", "uri": "file:///w/c.txt"}, "Attached file, not shown: c.txt"),
        ({"type": "resource_link", "uri": "http://[bad"}, "Attached file, not shown: http://[bad"),
        ({"type": "resource", "resource": {"uri": "file:///w/d.txt", "text": "d\n"}}, "Attached file d.txt:\nd\n"),
        (
            {"type": "resource", "resource": {"uri": "file:///w/e.png", "blob": "AA=="}},
            "Attached file, not shown because it is no text: e.png",
        ),
    ],
)
def test_blocks(block: dict[str, Any], said: str) -> None:
    assert prompt_text([TEXT, block]) == f"Look:\n\n{said}"


@pytest.mark.parametrize(
    "blocks",
    [
        None,
        "text",
        [],
        [{"type": "text", "text": " \n"}],
        [{"type": "text"}],
        [TEXT, {"type": "image", "data": "AA==", "mimeType": "image/png"}],
        [TEXT, {"type": "x" * 10_000}],
        [TEXT, "text"],
        [{"type": "text", "text": "half \ud800"}],
    ],
)
def test_what_is_no_prompt(blocks: Any) -> None:
    with pytest.raises(RpcError) as caught:
        prompt_text(blocks)

    assert caught.value.code == -32602
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("meta", "system"),
    [
        (None, DEFAULT_SYSTEM),
        ({}, DEFAULT_SYSTEM),
        ({"systemPrompt": ""}, DEFAULT_SYSTEM),
        ({"systemPrompt": {"other": 1}}, DEFAULT_SYSTEM),
        ({"systemPrompt": "Be brief."}, "Be brief."),
        ({"systemPrompt": {"append": "Be brief."}}, f"{DEFAULT_SYSTEM}\n\nBe brief."),
    ],
)
def test_system_prompts(meta: Any, system: str) -> None:
    assert system_prompt(meta) == system
