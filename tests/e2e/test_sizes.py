"""Large prompts and answers, byte for byte, and many callers at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from clawdforge import Forge
from harness import agents
from harness.gateway import Gateway
from harness.ledger import Ledger
from harness.tenants import close_all

SIZE_BYTES = 10_000_000
PIECE = 'Zeile 1\n\t"quoted" \\ back, größe, €, 😀, \u2028, {"json": [1]}\r\n'


def large_text() -> str:
    """Text of the size, in which no piece is like another, with all that JSON and UTF-8 make difficult."""
    pieces = []
    size = 0
    while size < SIZE_BYTES:
        piece = f"{len(pieces)}: {PIECE}"
        pieces.append(piece)
        size += len(piece.encode())
    return "".join(pieces)


@pytest.fixture(scope="module")
def large() -> str:
    return large_text()


@pytest.fixture
def roomy(new_gateway: agents.NewGateway) -> Gateway:
    """A gateway of its own: other tests need not read these prompts in their agents' logs."""
    return new_gateway().start()


def prompts_of(gateway: Gateway) -> Iterator[str]:
    for each in gateway.agent_log.entries("session/prompt"):
        yield each["m"]["params"]["prompt"][0]["text"]


def test_a_prompt_and_an_answer_of_ten_megabytes_arrive_byte_for_byte(roomy: Gateway, large: str) -> None:
    with roomy.app() as app:
        session = app.create_session(agent="fake")
        session.turn("warm up")
        answer = session.turn(large)
        assert answer.text() == f"turn 2: {large}"
        assert list(prompts_of(roomy)) == ["warm up", large]
        stored = Ledger(roomy.data_dir).events(session.session_id)
        texts = [each["data"]["content"] for each in stored if each["type"] == "text" and each["turn_index"] == 2]
        assert "".join(texts) == answer.text()
        [_, line] = Ledger(roomy.data_dir).audit(session.session_id)
        assert line["prompt_bytes"] == len(large.encode())
        close_all(app)


def test_a_run_of_ten_megabytes_arrives_byte_for_byte(roomy: Gateway, large: str) -> None:
    with roomy.app() as app:
        assert app.run(large, agent="fake").result == f"turn 1: {large}"
        assert list(prompts_of(roomy)) == [large]


def test_an_answer_of_ten_megabytes_in_pieces_is_one_text(app: Forge) -> None:
    answer = app.create_session(agent="fake").turn(f"[[BIGTEXT {SIZE_BYTES}]]")
    [text] = answer.events
    assert text["content"] == "x" * SIZE_BYTES


def test_thirty_runs_at_once_get_each_its_own_answer(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    words = [f"run {number} of {id(app)}" for number in range(30)]
    results = list(pool.map(lambda word: app.run(word, agent="fake").result, words))
    assert results == [f"turn 1: {word}" for word in words]
    assert [gateway.heard(word) for word in words] == [1] * 30


def test_many_sessions_with_many_turns_keep_their_own_context(app: Forge, pool: ThreadPoolExecutor) -> None:
    def talk(number: int) -> list[str]:
        with app.session(agent="fake") as session:
            return [session.turn(f"{number}.{turn}").text() for turn in range(5)]

    talks = list(pool.map(talk, range(12)))
    assert talks == [[f"turn {turn + 1}: {number}.{turn}" for turn in range(5)] for number in range(12)]


def test_a_result_that_is_large_json_is_parsed(app: Forge) -> None:
    rows = [{"n": number, "text": PIECE.strip()} for number in range(20_000)]
    run = app.run(json.dumps(rows).join(("[[SAY ", "]]")), agent="fake")
    assert run.result == rows
