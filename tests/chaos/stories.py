"""A small history in which every law holds, made by hand: what sabotage begins with."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from chaos.history import Ask, Attempt, History, Reading, Script, Strike
from chaos.truth import Event, Heard, Stored, Truth

SESSION: Final = "sess_a"
RUN: Final = "run_a"
FORK: Final = "sess_f"
USAGE: Final = {"total_tokens": 1}
SAYS: Final = Script("[[SAY hi]]", text="hi")
HANGS: Final = Script("[[HANG]]", "timeout", ok=False, timeout_s=1)
TOLD: Final = {"decision": "allow", "option_id": "o", "by": "app:a"}


@dataclass(frozen=True, slots=True)
class Story:
    """Sabotage changes what is in it."""

    history: History
    truth: Truth

    @property
    def stored(self) -> Stored:
        return self.truth.sessions[SESSION]

    @property
    def events(self) -> list[Event]:
        return self.stored.events

    def attempt(self, mark: str, place: int = -1) -> int:
        """Where an ask's attempt stands."""
        found = [at for at, each in enumerate(self.history.attempts) if each.ask.mark == mark]
        return found[place]

    def change(self, mark: str, place: int = -1, **body: Any) -> None:
        """Has an answer say something else."""
        self.history.attempts[self.attempt(mark, place)].body.update(body)

    def row(self, turn: int) -> dict[str, Any]:
        """A turn's row."""
        return self.stored.rows[turn - 1]


class Log:
    """Events of a session as they come."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []

    def add(self, type_: str, turn: int | None, **data: Any) -> None:
        seq = len(self.events) + 1
        self.events.append({"seq": seq, "type": type_, "turn_index": turn, "ts": 1000 * seq, **data})

    def end(self, turn: int, stop_reason: str, *, ok: bool, error: str | None = None) -> None:
        how = {"stop_reason": stop_reason, "ok": ok, "duration_ms": 1500, "usage": USAGE}
        self.add("turn_end", turn, **how)
        status = "done" if error is None else "failed"
        self.rows.append({"turn_index": turn, "status": status, "error": error, **how})

    def stored(self, session_id: str, kind: str, mark: str | None) -> Stored:
        meta = {} if mark is None else {"mark": mark}
        lines = [{**row} for row in self.rows]
        return Stored(session_id, kind, True, meta, self.events, self.rows, lines)


def good() -> Story:
    """Six turns, each of another fate, a run, a fork, two readers, two strikes."""
    asks = {
        mark: Ask(mark, "turn", SESSION, f"key-{mark}", script)
        for mark, script in (
            ("ok", SAYS),
            ("asks", Script("[[ASK edit -]]", text=None)),
            ("killed", SAYS),
            ("hangs", HANGS),
            ("waits", SAYS),
            ("cancelled", SAYS),
            ("refused", SAYS),
            ("lost", SAYS),
        )
    }
    run = Ask("run", "run", None, None, SAYS)
    log = _log(asks)
    ran = Log()
    ran.add("turn_start", 1, prompt=run.prompt)
    ran.add("text", 1, content="hi")
    ran.end(1, "end_turn", ok=True)
    ran.add("session_closed", None, reason="run")
    fork = Log()
    fork.events += [{**event} for event in log.events[:5]]
    fork.rows.append({**log.rows[0]})
    fork.add("session_closed", None, reason="client")
    forked = replace(
        fork.stored(FORK, "session", "forks"), audit=[], forked_from={"session_id": SESSION, "turn_index": 1}
    )
    truth = Truth(
        {SESSION: log.stored(SESSION, "session", "opens"), RUN: ran.stored(RUN, "run", None), FORK: forked},
        [Heard(SESSION, mark) for mark in ("ok", "asks", "killed", "hangs", "cancelled")] + [Heard(RUN, "run")],
    )
    history = History(_attempts(asks, run, log), _readings(log))
    history.strikes += [
        Strike("agent", 10_500, 10_501, SESSION),
        Strike("kill", 15_500, 16_500),
    ]
    return Story(history, truth)


def _log(asks: dict[str, Ask]) -> Log:
    log = Log()
    log.add("agent_start", None, how="new")  # 1
    log.add("turn_start", 1, prompt=asks["ok"].prompt)
    log.add("text", 1, content="h")
    log.add("text", 1, content="i")
    log.end(1, "end_turn", ok=True)  # 5
    log.add("turn_start", 2, prompt=asks["asks"].prompt)
    log.add("permission_request", 2, permission_id="p", expires_at=99_000)
    log.add("permission_answer", 2, permission_id="p", **TOLD)
    log.end(2, "end_turn", ok=True)  # 9
    log.add("turn_start", 3, prompt=asks["killed"].prompt)
    log.end(3, "agent_failed", ok=False, error="agent_failed")  # 11
    log.add("turn_start", 4, prompt=asks["hangs"].prompt)
    log.add("turn_queued", 5, prompt=asks["waits"].prompt)
    log.end(4, "timeout", ok=False, error="timeout")  # 14
    log.add("error", 5, code="interrupted", detail="no agent has heard of it")
    log.end(5, "interrupted", ok=False, error="interrupted")  # 16
    log.add("turn_start", 6, prompt=asks["cancelled"].prompt)
    log.end(6, "cancelled", ok=False)  # 18
    log.add("session_closed", None, reason="client")
    return log


def _attempts(asks: dict[str, Ask], run: Ask, log: Log) -> list[Attempt]:
    def answered(mark: str, status: int, *, replayed: bool = False, **body: Any) -> Attempt:
        return Attempt(asks[mark], 2000, 17_000, status, body, replayed)

    def of_turn(index: int) -> dict[str, Any]:
        row = log.rows[index - 1]
        told = {"session_id": SESSION, "turn_index": index, "usage": USAGE, "stop_reason": row["stop_reason"]}
        return {**told, "code": row["error"]} if row["error"] else told | {"ok": row["ok"], "duration_ms": 1500}

    said = {"seq": 4, "type": "text", "turn_index": 1, "ts": 4000, "content": "hi"}
    opens = Ask("opens", "session", None, "key-opens")
    cancel = Ask("cancels", "cancel", SESSION)
    decides = Ask("decides", "permission", SESSION, permission_id="p")
    record = Ask("looks", "record", SESSION, turn_index=1)
    ran = {"session_id": RUN, "turn_index": 1, "ok": True, "stop_reason": "end_turn", "duration_ms": 1500}
    return [
        Attempt(opens, 0, 1, None),
        Attempt(Ask("forks", "session", SESSION), 0, 1, 200, {"session_id": FORK}),
        Attempt(opens, 0, 1, 200, {"session_id": SESSION}, True),
        Attempt(asks["ok"], 2000, 2001, None),
        answered("ok", 200, replayed=True, **of_turn(1), events=[said]),
        answered("ok", 200, replayed=True, **of_turn(1), events=[{**said}]),
        Attempt(asks["asks"], 0, 1, 202, {"session_id": SESSION, "turn_index": 2}, form="async"),
        answered("killed", 502, **of_turn(3)),
        answered("hangs", 504, **of_turn(4)),
        answered("waits", 502, **of_turn(5)),
        Attempt(asks["cancelled"], 0, 1, 200, {**log.events[17], "session_id": SESSION}, form="stream"),
        answered("refused", 409, code="turn_in_progress"),
        Attempt(asks["lost"], 0, 1, None),
        Attempt(cancel, 17_000, 17_500, 200, {"ok": True, "cancelled": True, "turn_index": 6}),
        Attempt(decides, 7000, 8000, 200, {"ok": True, **TOLD}),
        Attempt(record, 0, 1, 200, {"status": "done", **log.rows[0], "events": [said]}),
        Attempt(run, 0, 1, 200, {**ran, "usage": USAGE}),
    ]


def _readings(log: Log) -> list[Reading]:
    texts = [json.dumps(event) for event in log.events]
    return [
        Reading("x", SESSION, "sse", 0, texts[:7]),
        Reading("x", SESSION, "page", 7, texts[7:]),
        Reading("y", SESSION, "replay", 0, [*texts]),
        Reading("resident", SESSION, "turn", 0, texts[1:4]),
    ]
