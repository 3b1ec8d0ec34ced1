"""The clients of a storm: who lives in a session, who interferes with it, who asks for runs."""

from __future__ import annotations

import time
from typing import Any, Final

from chaos import scripts
from chaos.asking import FORMS, Asker, body_of
from chaos.history import Ask, Attempt, now_ms
from chaos.readers import Reader
from chaos.wires import Broken
from chaos.world import INSIST_S, Slot, World

AGENTS: Final = ("fake", "resumes", "loads")
DECISIONS: Final = ("allow", "allow_always", "reject", "reject_always")
CALM_S: Final = 60.0


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
            self.ask_turn(session_id, scripts.draw(self.rng), queued=self.rng.random() < 0.3)
            self.pause(self.rng.choice((0.05, 0.2, 0.2, 2.5)))
        self.close(session_id)

    def _opened(self) -> str | None:
        mark = self.new_mark()
        body: dict[str, Any] = {"agent": self.rng.choice(AGENTS), "meta": {"mark": mark}}
        if self.rng.random() < 0.5:
            body |= {"permissions": "ask", "permission_timeout_secs": 1}
        made = self.insist(Ask(mark, "session", key=self.key(mark)), "/sessions", body)
        if made.status == 200:
            return str(made.body["session_id"])
        self.pause(0.3)
        return None

    def _answers_still(self, session_id: str) -> None:
        """When all is over the session takes a turn as ever: what still runs in it ends by itself."""
        assert self.world.calm.wait(INSIST_S), "the storm does not end"
        give_up_at, answers = time.monotonic() + CALM_S, []
        while time.monotonic() < give_up_at:
            made = self.ask_turn(session_id, scripts.CALM)
            if made.status == 200 and made.body["ok"]:
                return
            answers.append((made.status, made.body))
            self.pause(0.5)  # a turn that hangs has its deadline
        raise AssertionError(f"{session_id} does not answer any more: {answers}")


class Rival(Asker):
    """Interferes with a session that somebody else keeps: asks, cancels, answers its agent's questions."""

    def __init__(self, world: World, slot: Slot) -> None:
        super().__init__(world, f"rival-{slot.name}")
        self._slot = slot

    def run(self) -> None:
        """Until the storm is over."""
        while not self.world.over.is_set():
            if (session_id := self._slot.current) is not None:
                match self.rng.randrange(10):
                    case 0 | 1:
                        self.ask_turn(session_id, scripts.draw(self.rng), queued=self.rng.random() < 0.7)
                    case 2:
                        self._cancel(session_id)
                    case 3 if self.rng.random() < 0.5:
                        self._fork(session_id)
                    case _:
                        self._decide(session_id)
            self.pause(0.3)

    def _cancel(self, session_id: str) -> None:
        index = self.rng.choice((None, None, self.rng.randint(1, 30)))
        mark = self.new_mark()
        ask = Ask(mark, "cancel", session_id, self.key(mark), turn_index=index)
        body = {} if index is None else {"turn_index": index}
        self.insist(ask, f"/sessions/{session_id}/cancel", body)

    def _fork(self, session_id: str) -> None:
        """Goes on by itself from where a session is."""
        mark = self.new_mark()
        ask = Ask(mark, "session", session_id, self.key(mark))
        made = self.insist(ask, f"/sessions/{session_id}/fork", {"meta": {"mark": mark}})
        if made.status == 200:
            forked = str(made.body["session_id"])
            self.ask_turn(forked, scripts.draw(self.rng))
            self.close(forked)

    def _decide(self, session_id: str) -> None:
        try:
            with self.open("GET", f"/sessions/{session_id}/permissions", cut=self.cut()) as exchange:
                waiting = exchange.answer().body.get("permissions", ())
        except Broken:
            return
        for each in waiting:
            for _ in range(self.rng.choice((1, 1, 2))):  # a second one comes too late
                mark, permission_id = self.new_mark(), each["permission_id"]
                ask = Ask(mark, "permission", session_id, self.key(mark), permission_id=permission_id)
                body = {"decision": self.rng.choice(DECISIONS)}
                self.insist(ask, f"/sessions/{session_id}/permissions/{permission_id}", body)


class Runner(Asker):
    """Asks for runs, and reads some of them."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._reader = Reader(world, Slot(name), f"reader-of-{name}")

    def run(self) -> None:
        """Until the storm is over."""
        while not self.world.over.is_set():
            script, mark = scripts.draw(self.rng), self.new_mark()
            ask = Ask(mark, "run", key=self.key(mark), script=script)
            form = self.rng.choice(FORMS[:2])
            made = self.insist(ask, "/run", body_of(ask, agent="fake"), form)
            if form == "async" and made.status in (200, 202) and self.rng.random() < 0.3:
                self._reader.read(made.body["session_id"])
            self.pause(0.5)


class Observer(Asker):
    """Looks at all that there is, when nothing moves any more."""

    def open_sessions(self) -> list[str]:
        """Those that nobody has closed, because nobody had heard of them."""
        with self.open("GET", "/sessions?include_closed=false") as exchange:
            return [row["session_id"] for row in exchange.answer().body["sessions"]]

    def look_at_turns(self, session_id: str) -> None:
        """Records what the gateway tells of all turns of a session."""
        path = f"/sessions/{session_id}/turns?limit=200"
        cursor: str | None = ""
        while cursor is not None:
            with self.open("GET", path + (f"&cursor={cursor}" if cursor else "")) as exchange:
                page = exchange.answer().body
            for item in page["turns"]:
                ask = Ask(self.new_mark(), "record", session_id, turn_index=item["turn_index"])
                self.world.history.attempts.append(Attempt(ask, now_ms(), now_ms(), 200, item))
            cursor = page["next_cursor"]
