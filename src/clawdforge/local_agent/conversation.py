"""One conversation: what was said, and what the next prompt adds to it. Knows no JSON-RPC and no threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from clawdforge.local_agent.model import Message, Model, ModelFailed, Reply, WindowFull


class Conversation:
    """A system prompt, and the turns so far; nothing of it is ever dropped to make room."""

    def __init__(self, system: str) -> None:
        self._messages: list[Message] = [{"role": "system", "content": system}]

    def ask(
        self,
        model: Model,
        prompt: str,
        schema: Mapping[str, Any] | None,
        say: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Reply:
        """Answers a prompt, and remembers both once something was said.

        A conversation that no longer fits the model's window is told so instead of an answer, ends `max_tokens`
        and stays as it was.

        Args:
            model: called once.
            prompt: as text.
            schema: a JSON Schema for the answer.
            say: gets the answer piece by piece.
            cancelled: whether to stop.

        Raises:
            ModelFailed: also where a schema was given and the answer ended, but is no JSON.
            RequestRefused: the model cannot take this schema.
        """
        question: Message = {"role": "user", "content": prompt}
        pieces: list[str] = []

        def hear(piece: str) -> None:
            pieces.append(piece)
            say(piece)

        try:
            reply = model.chat([*self._messages, question], schema, hear, cancelled)
        except WindowFull as full:
            say(self._apology(full))
            return Reply("max_tokens", None)
        answer = "".join(pieces)
        if answer:
            self._messages += [question, {"role": "assistant", "content": answer}]
        if schema is not None and reply.stop_reason == "end_turn" and not _is_json(answer):
            raise ModelFailed("the model ended its answer before it was the JSON that the schema asks for")
        return reply

    def _apology(self, full: WindowFull) -> str:
        needs = "far more" if full.needed_tokens is None else str(full.needed_tokens)
        sizes = f"it takes {needs} tokens, and the model reads {full.window_tokens}"
        if len(self._messages) == 1:
            return f"This prompt does not fit the model's context window: {sizes}. Please send a shorter one."
        return (
            f"With this prompt the conversation no longer fits the model's context window: {sizes}. "
            "Please start a new session, or send a shorter prompt."
        )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
