"""An agent on pipes, over a model that does what it is told and remembers what it was asked."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from clawdforge.local_agent.agent import Agent
from clawdforge.local_agent.model import Message, Reply, Usage
from clawdforge.local_agent.protocol import Peer
from harness.acp_lines import PATIENCE_S, AcpLines


@dataclass
class ScriptedModel:
    """Says `pieces`, then ends with `reply`, an error, or once it is cancelled; `asked` is what it was given."""

    pieces: Sequence[str] = ("an ", "answer")
    reply: Reply = field(default_factory=lambda: Reply("end_turn", Usage(7, 2)))
    error: Exception | None = None
    until_cancelled: bool = False
    asked: list[tuple[list[Message], Mapping[str, Any] | None]] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)

    def chat(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        say: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Reply:
        self.asked.append((list(messages), schema))
        self.started.set()
        for piece in self.pieces:
            say(piece)
        if self.error is not None:
            raise self.error
        if self.until_cancelled:
            _until(cancelled)
            return Reply("cancelled", None)
        return self.reply


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def client(model: ScriptedModel) -> Iterator[AcpLines]:
    """The client of an agent that runs in a thread of this process, with the scripted model."""
    agent_source, client_sink = os.pipe()
    client_source, agent_sink = os.pipe()
    with open(agent_source, "rb") as source:
        agent = threading.Thread(target=Agent(Peer(source, agent_sink), model).serve)
        before = set(threading.enumerate())
        agent.start()
        yield AcpLines(client_source, client_sink)
        os.close(client_sink)
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "the agent did not end with its client"
    os.close(agent_sink)
    os.close(client_source)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.002)
