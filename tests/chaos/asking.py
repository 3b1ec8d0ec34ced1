"""How clients ask: with a key or without, in any form, on connections that break, again where no answer came."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from chaos import wires
from chaos.history import Ask, Attempt, Form, Script
from chaos.wires import WHOLE, Cut
from chaos.world import INSIST_S, Actor

RETRY: Final = (409, 429, 503)
ACCEPTED: Final = 202
FORMS: Final[tuple[Form, ...]] = ("blocking", "async", "stream")


class Asker(Actor):
    """Somebody who asks for turns."""

    def ask_turn(self, session_id: str, script: Script, *, queued: bool = False) -> Attempt:
        """One prompt, with all attempts that it takes; what it was answered."""
        mark = self.new_mark()
        ask = Ask(mark, "turn", session_id, self.key(mark), script)
        body = body_of(ask, delivery="queue") if queued else body_of(ask)
        return self.insist(ask, f"/sessions/{session_id}/turn", body, self.rng.choices(FORMS, (5, 2, 2))[0])

    def insist(self, ask: Ask, path: str, body: object, form: Form = "blocking") -> Attempt:
        """Asks until there is an answer where the ask has a key, and now and then once more; else once."""
        give_up_at = time.monotonic() + INSIST_S
        refusals_left = self.rng.randrange(4)
        tries = 0
        while True:
            tries += 1
            made = self.attempt(ask, "POST", path, body, form=form, cut=self.cut() if tries <= 3 else WHOLE)
            if ask.key is None:
                break
            if made.status is not None and (made.status not in RETRY or refusals_left == 0):
                if self.rng.random() < 0.2:
                    again = self.rng.choice(FORMS) if ask.what == "turn" else form
                    self.attempt(ask, "POST", path, body, form=again, cut=self.cut())
                break
            refusals_left -= made.status is not None
            assert time.monotonic() < give_up_at, f"{ask.mark} has no answer after {tries} tries"
            self.pause(0.1)
        return self._followed(made) if made.status == ACCEPTED and self.rng.random() < 0.7 else made

    def close(self, session_id: str) -> None:
        """Closes a session, however often that must be said."""
        ask = Ask(self.new_mark(), "close", session_id)
        give_up_at = time.monotonic() + INSIST_S
        while self.attempt(ask, "DELETE", f"/sessions/{session_id}", cut=self.cut()).status != 200:
            assert time.monotonic() < give_up_at, f"{session_id} does not close"
            self.pause(0.1)

    def cut(self) -> Cut:
        """How the next connection ends; in calm, well."""
        often = 0.0 if self.world.calm.is_set() else 0.25
        return wires.draw(self.rng, often=often)

    def key(self, mark: str) -> str | None:
        """The key of an ask, or none."""
        return f"key-{self.world.seed}-{mark}" if self.rng.random() < 0.75 else None

    def _followed(self, accepted: Attempt) -> Attempt:
        """The record of a turn that was accepted, once it has ended."""
        session_id, index = accepted.body["session_id"], accepted.body["turn_index"]
        ask = Ask(self.new_mark(), "record", session_id, turn_index=index)
        give_up_at = time.monotonic() + INSIST_S
        while True:
            made = self.attempt(ask, "GET", f"/sessions/{session_id}/turns/{index}", cut=self.cut())
            if made.status == 200 and made.body["status"] in ("done", "failed"):
                return made
            assert time.monotonic() < give_up_at, f"turn {index} of {session_id} does not end: {made}"
            self.pause(0.3)


def body_of(ask: Ask, **more: Any) -> Mapping[str, Any]:
    """The JSON of a prompt."""
    assert ask.script is not None
    if ask.script.timeout_s is not None:
        more["timeout_secs"] = ask.script.timeout_s
    return {"prompt": ask.prompt, **more}
