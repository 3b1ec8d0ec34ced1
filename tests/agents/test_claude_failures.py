"""What goes wrong with the real `claude`, beside what goes wrong with all agents (`test_stories`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from clawdforge import Forge, ForgeAPIError, Session
from clawdforge.testing.fake_model import FakeModel
from harness.gateway import Gateway, until

RETRIES = 4  # what the catalog allows claude


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@contextmanager
def fails(status: int, code: str) -> Iterator[dict[str, Any]]:
    """The block's call ends in this error; gives its body, filled in when the block is over."""
    body: dict[str, Any] = {}
    with pytest.raises(ForgeAPIError) as caught:
        yield body
    assert (caught.value.status_code, caught.value.code) == (status, code), caught.value
    body |= caught.value.body


@pytest.mark.parametrize(("status", "words"), [(403, "authenticate"), (404, "model")])
def test_a_model_that_says_no_is_an_error_at_once(
    session: Session, model: FakeModel, status: int, words: str
) -> None:
    before = len(model.turns)
    with fails(502, "agent_failed") as body:
        session.turn(f"[[ERR {status}]]")
    assert words in body["detail"]
    assert (body["session_id"], body["stop_reason"]) == (session.session_id, "agent_failed")
    assert body["turn_index"] == session.state()["turn_count"]
    assert len(model.turns) - before <= 2
    assert session.turn("[[SAY still here]]").text() == "still here"


def test_a_failure_that_passes_is_survived(session: Session, model: FakeModel) -> None:
    before = len(model.turns)
    assert session.turn("[[ERR 500 2]]").text() == "recovered"
    assert len(model.turns) - before == 3


def test_failures_that_last_are_told_after_a_few_tries(
    gateway: Gateway, model: FakeModel, threads: ThreadPoolExecutor
) -> None:
    """One endpoint fails, one is overloaded, one hangs up: side by side, for claude waits between tries."""
    faults = {"[[ERR 500]]": "API Error: 500", "[[ERR 529]]": "Overloaded", "[[DROP]]": "Unable to connect"}
    with gateway.app("unlucky", default_timeout_secs=60) as app:
        runs = {fault: threads.submit(app.run, fault) for fault in faults}
        for fault, words in faults.items():
            with fails(502, "agent_failed") as body:
                runs[fault].result()
            assert words in body["detail"]
            assert 1 < len([each for each in model.turns if each.last_text == fault]) <= 1 + RETRIES


def test_an_agent_that_is_killed_in_mid_turn_takes_its_whole_tree_with_it(
    app: Forge, threads: ThreadPoolExecutor, tree: Callable[[Session], list[psutil.Process]]
) -> None:
    with app.session(permissions="allow") as session:
        turn = threads.submit(session.turn, "[[BASH (setsid sleep 987 &) ; sleep 988 && touch survived]]")
        until(lambda: {"987", "988"} <= {sleeping_for(each) for each in tree(session)}, "both commands to run")
        processes = tree(session)
        assert len(processes) >= 5, "the adapter, claude, bash and two commands"
        processes[0].kill()
        with fails(502, "agent_failed") as body:
            turn.result()
        assert body["exit_code"] == -9
        assert "signal 9" in body["detail"]
        assert [each for each in processes if each.is_running()] == []
        assert session.turn("[[ECHO again]]").text() == "turns=2 last=again", "the next one knows what was asked"
        assert not (Path(session.cwd) / "survived").exists()


def sleeping_for(process: psutil.Process) -> str:
    try:
        name, *arguments = process.cmdline() or [""]
    except psutil.Error:
        return ""
    return arguments[0] if os.path.basename(name) == "sleep" else ""
