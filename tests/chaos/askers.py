"""Clients that ask: sessions one after the other, turns in them, runs, and a rival who asks in between."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from chaos import scripts, wires
from chaos.history import Ask, Attempt, Script
from chaos.wires import WHOLE, Cut
from chaos.world import INSIST_S, Actor, Slot, World

AGENT: Final = "fake"
RETRY: Final = (409, 429, 503)
CALM_TRIES: Final = 20


class Asker(Actor):
    """Somebody who asks for turns, and again where the answer did not come."""

    def ask_turn(self, session_id: str, script: Script) -> Attempt:
        """One prompt, with all attempts that it takes; the last of them."""
        mark = self.new_mark()
        ask = Ask(mark, "turn", session_id, self._key(mark), script)
        body = {"prompt": ask.prompt}
        return self.insist(ask, f"/sessions/{session_id}/turn", _with_deadline(body, script))

    def insist(self, ask: Ask, path: str, body: object) -> Attempt:
        """Asks until there is an answer where the ask has a key, else once."""
        give_up_at = time.monotonic() + INSIST_S
        refusals_left = self.rng.randrange(4)
        tries = 0
        while True:
            tries += 1
            cut = self.cut() if tries <= 3 else WHOLE
            made = self.attempt(ask, "POST", path, body, cut=cut)
            if ask.key is None:
                return made
            if made.status is not None and (made.status not in RETRY or refusals_left == 0):
                return made
            refusals_left -= made.status is not None
            assert time.monotonic() < give_up_at, f"{ask.mark} has no answer after {tries} tries"
            self.pause(0.1)

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

    def _key(self, mark: str) -> str | None:
        return None


class Resident(Asker):
    """Keeps a slot: opens a session, has turns in it, closes it, opens the next."""

    def __init__(self, world: World, slot: Slot) -> None:
        super().__init__(world, f"resident-{slot.name}")
        self._slot = slot

    def run(self) -> None:
        """Until the storm is over, and its last session has answered once more in the calm."""
        try:
            while not self.world.over.is_set():
                if (session_id := self._opened()) is not None:
                    self._slot.add(session_id)
                    self._live(session_id)
        finally:
            self._slot.end()

    def _live(self, session_id: str) -> None:
        for _ in range(self.rng.randint(3, 20)):
            if self.world.over.is_set():
                self._answers_still(session_id)
                break
            self.ask_turn(session_id, scripts.draw(self.rng))
            self.pause(0.2)
        self.close(session_id)

    def _opened(self) -> str | None:
        mark = self.new_mark()
        body = {"agent": AGENT, "meta": {"mark": mark}}
        made = self.insist(Ask(mark, "session", key=self._key(mark)), "/sessions", body)
        if made.status == 200:
            return str(made.body["session_id"])
        self.pause(0.3)
        return None

    def _answers_still(self, session_id: str) -> None:
        """When all is over the session takes a turn as ever: what still runs in it ends by itself."""
        assert self.world.calm.wait(INSIST_S), "the storm does not end"
        answers = []
        for _ in range(CALM_TRIES):
            made = self.ask_turn(session_id, scripts.CALM)
            if made.status == 200 and made.body["ok"]:
                return
            answers.append((made.status, made.body))
            time.sleep(self.rng.uniform(0.1, 0.5))  # a turn that hangs has its deadline
        raise AssertionError(f"{session_id} does not answer any more: {answers}")


class Rival(Asker):
    """Asks in a session that somebody else keeps."""

    def __init__(self, world: World, slot: Slot) -> None:
        super().__init__(world, f"rival-{slot.name}")
        self._slot = slot

    def run(self) -> None:
        """Until the storm is over."""
        while not self.world.over.is_set():
            if (session_id := self._slot.current) is not None:
                self.ask_turn(session_id, scripts.draw(self.rng))
            self.pause(1.0)


class Runner(Asker):
    """Asks for runs."""

    def run(self) -> None:
        """Until the storm is over."""
        while not self.world.over.is_set():
            script, mark = scripts.draw(self.rng), self.new_mark()
            ask = Ask(mark, "run", key=self._key(mark), script=script)
            self.insist(ask, "/run", _with_deadline({"prompt": ask.prompt, "agent": AGENT}, script))
            self.pause(0.5)


def _with_deadline(body: Mapping[str, object], script: Script) -> Mapping[str, object]:
    return body if script.timeout_s is None else {**body, "timeout_secs": script.timeout_s}
