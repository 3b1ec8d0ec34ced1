"""Turns of real agents as they happen: streamed as the model speaks, cut, found again, cancelled in mid answer."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from clawdforge import Session
from clawdforge.testing.stories import Stage
from clawdforge.wire.events import Event
from clawdforge.wire.fold import Fold
from clawdforge.wire.sse import MEDIA_TYPE, Decoder
from harness import http as plain
from harness.streams import Stream

AGENTS = ("claude", "codex", "gemini")
ON_THE_WAY = "[[SLOW 20 0.05]]"
WITHOUT_END = "[[SLOW 600 0.05]]"

pytestmark = pytest.mark.parametrize("stage", AGENTS, indirect=True)


@contextmanager
def streamed(stage: Stage, session: Session, prompt: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of a turn by the answer to its own POST, as they come; hung up on when the block ends."""
    connection = plain.connect(stage.forge.base_url)
    path = f"/sessions/{session.session_id}/turn"
    head = {"Accept": MEDIA_TYPE}
    plain.send(connection, "POST", path, token=stage.forge._config.token, body={"prompt": prompt}, headers=head)
    try:
        yield events_of(connection.getresponse())
    finally:
        connection.close()


def events_of(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    assert response.status == 200, response.read()
    decoder = Decoder()
    while data := response.read1(1 << 16):
        for frame in decoder.feed(data):
            yield json.loads(frame.data)


def up_to(type_: str, coming: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events up to the first of a type."""
    seen = []
    for event in coming:
        seen.append(event)
        if event["type"] == type_:
            return seen
    raise AssertionError(f"they ended before {type_}: {seen}")


def turn_of(stage: Stage, session: Session, turn_index: int) -> dict[str, Any]:
    record = plain.ask(stage.forge, "GET", f"/sessions/{session.session_id}/turns/{turn_index}").body
    assert isinstance(record, dict)
    return record


def folded(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    fold = Fold()
    for each in events:
        data = {name: value for name, value in each.items() if name not in ("seq", "type", "turn_index", "ts")}
        fold.add(Event(each["seq"], each["type"], each["turn_index"], each["ts"], data))
    return fold.result()


@pytest.mark.guarantee
def test_a_turn_is_told_while_the_model_speaks_and_found_again_after_a_cut(stage: Stage) -> None:
    session = stage.session()
    with streamed(stage, session, f"{stage.word()} {ON_THE_WAY}") as coming:
        seen = up_to("text", coming)
        turn_index = seen[0]["turn_index"]
        assert turn_of(stage, session, turn_index)["status"] == "running"
    with Stream(stage.forge, session.session_id, headers={"Last-Event-ID": str(seen[-1]["seq"])}) as rest:
        seen += rest.until("turn_end")
    assert [each["seq"] for each in seen] == list(range(seen[0]["seq"], seen[-1]["seq"] + 1))
    record = turn_of(stage, session, turn_index)
    assert (record["status"], record["stop_reason"], record["ok"]) == ("done", "end_turn", True)
    assert record["events"] == folded(seen)


@pytest.mark.guarantee
def test_a_cancel_in_mid_answer_ends_the_turn_and_the_model_s_work_and_the_session_lives_on(stage: Stage) -> None:
    session, word = stage.session(), stage.word()
    with streamed(stage, session, f"{word} {WITHOUT_END}") as coming:
        up_to("text", coming)
        request = stage.request(word)
        answer = plain.ask(stage.forge, "POST", f"/sessions/{session.session_id}/cancel")
        assert (answer.status, answer.body["cancelled"]) == (200, True)
        end = up_to("turn_end", coming)[-1]
    assert (end["stop_reason"], end["ok"]) == ("cancelled", False)
    record = turn_of(stage, session, end["turn_index"])
    assert (record["status"], record["stop_reason"]) == ("done", "cancelled")
    assert record["turn_index"] == answer.body["turn_index"]
    stage.until(lambda: request in stage.model.hung_up, "the agent to hang up on the model")
    assert "still here" in stage.turn("[[SAY still here]]").text()
