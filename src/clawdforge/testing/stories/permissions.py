"""Stories of what a session's policy lets an agent do. Each is of a real file that is there afterwards, or is not.

An agent may refuse by itself what the policy would refuse: then nobody is asked, and nothing happens either.
"""

from __future__ import annotations

import json
from pathlib import Path

from clawdforge.client.session import Session
from clawdforge.testing.stories.stage import Stage, expect
from clawdforge.wire.permissions import Decision
from clawdforge.wire.turns import TurnResult


def decisions(turn: TurnResult) -> list[str]:
    """How each request for permission in a turn was answered."""
    return [event["decision"] for event in turn.events if event["type"] == "permission_answer"]


def workspace(stage: Stage) -> None:
    session = stage.session()
    inside, outside = Path(session.cwd) / f"{stage.word()}.txt", stage.outside / f"{stage.word()}.txt"
    turn = session.turn(f"[[WRITE {inside.name} mine]]")
    expect("allow" in decisions(turn), "it to ask before it writes, and to be allowed", decisions(turn))
    expect(inside.is_file(), f"the file {inside.name} in the workspace", turn.events)
    _refused(session, f"[[WRITE {outside} mine]]", outside)
    _refused(session, f"[[BASH touch {outside}]]", outside)


def allow(stage: Stage) -> None:
    session = stage.session(permissions="allow")
    file = Path(session.cwd) / f"{stage.word()}.txt"
    turn = session.turn(f"[[BASH echo mine > {file.name}]]")
    expect("reject" not in decisions(turn), "nothing to be refused", decisions(turn))
    expect(file.is_file(), "the command to have run", turn.events)


def reads(stage: Stage) -> None:
    content, near = f"read {stage.word()}", stage.word()
    with stage.forge.session(stage.agent, permissions="reads") as session:
        (Path(session.cwd) / "notes.txt").write_text(content)
        turn = session.turn("[[READ notes.txt]]")
        expect(content in json.dumps(turn.events), "the file's content in the answer", turn.events)
        _asked_and_refused(session, f"[[WRITE {near} mine]]", Path(session.cwd) / near)
        _refused(session, f"[[BASH touch {near}]]", Path(session.cwd) / near)


def deny(stage: Stage) -> None:
    near = stage.word()
    with stage.forge.session(stage.agent, permissions="deny") as session:
        _asked_and_refused(session, f"[[WRITE {near} mine]]", Path(session.cwd) / near)
        _refused(session, f"[[BASH touch {near}]]", Path(session.cwd) / near)


def ask(stage: Stage) -> None:
    with stage.forge.session(stage.agent, permissions="ask") as session:
        wanted, unwanted = (Path(session.cwd) / f"{stage.word()}.txt" for _ in range(2))
        turn = _answered(session, f"[[WRITE {wanted.name} mine]]", "allow")
        expect(wanted.is_file(), f"the file {wanted.name} in the workspace", turn.events)
        turn = _answered(session, f"[[WRITE {unwanted.name} mine]]", "reject")
        expect(not unwanted.exists(), f"no file {unwanted.name}", turn.events)
        turn = session.turn("Still there?")
        expect(turn.ok, "an answer in the turn after that", turn.events)


def _answered(session: Session, prompt: str, decision: Decision) -> TurnResult:
    """A turn in which the agent asks, and the app answers it in this one way."""
    told = session.turn(prompt, on_permission=lambda _: decision)
    expect(set(decisions(told)) == {decision}, f"it to ask before it writes, and to hear {decision}", told.events)
    return told


def _asked_and_refused(session: Session, prompt: str, file: Path) -> None:
    turn = _refused(session, prompt, file)
    expect("reject" in decisions(turn), "it to ask first, and to be refused", turn.events)


def _refused(session: Session, prompt: str, file: Path) -> TurnResult:
    turn = session.turn(prompt)
    expect("allow" not in decisions(turn), "nothing to be allowed", decisions(turn))
    expect(not file.exists(), f"no file {file.name}", turn.events)
    return turn
