"""Stories of what goes wrong, and of the end: each time an honest answer, and a session that lives on."""

from __future__ import annotations

import json

from clawdforge.testing.stories.stage import Stage, expect

DEADLINE_SECS = 3  # long enough for the model to be asked on a busy machine
GIVE_UP_SECS = 2
# Waited for: an agent may end what its command left in its group, and the daemon must have left that before.
DAEMON = (
    "(setsid sh -c 'touch runs; exec sleep 300' > /dev/null 2>&1 &) ; while ! test -e runs; do sleep 0.05; done"
)


def deadline(stage: Stage) -> None:
    word = stage.word()
    with stage.fails((504, "timeout")) as body:
        stage.turn(f"{word} [[SLOW 600 0.1]]", timeout_secs=DEADLINE_SECS)
    expect(body["phase"] == "total", "the turn's own deadline to end it", body)
    request = stage.request(word)
    stage.until(lambda: request in stage.model.hung_up, "the agent to hang up on the model")
    _lives_on(stage)


def model_error(stage: Stage) -> None:
    with stage.fails((502, "agent_failed")):
        stage.turn("[[ERR 400]]")
    _lives_on(stage)


def model_drops(stage: Stage) -> None:
    """Some agents retry for minutes without a word: then the turn's deadline is the honest end."""
    with stage.fails((502, "agent_failed"), (504, "timeout")):
        stage.turn("[[DROP]]", timeout_secs=GIVE_UP_SECS)
    _lives_on(stage)


def killed(stage: Stage) -> None:
    word, session = stage.word(), stage.session()
    fact = f"My boat is called {stage.word()}."
    stage.turn(f"{fact} [[SAY noted]]")
    with stage.meanwhile(lambda: session.turn(f"{word} [[SLOW 600 0.1]]")) as turn:
        stage.until_asked(word)
        stage.kill_agent(session)
        with stage.fails((502, "agent_failed")) as body:
            turn.result()
    expect(body["exit_code"] == -9, "the signal that killed it", body)
    word = stage.word()
    stage.turn(f"What is it called? {word} [[SAY noted]]")
    told = json.dumps(stage.request(word).body)
    expect(fact in told, "the model to be told what was said before", "nothing of it")


def _lives_on(stage: Stage) -> None:
    turn = stage.turn("[[SAY still here]]")
    expect("still here" in turn.text(), "the next turn to work", turn.events)


def closed(stage: Stage) -> None:
    with stage.forge.session(stage.agent, permissions="allow") as session:
        session.turn(f"[[BASH {DAEMON}]]")
        running = stage.processes(session)
        expect(bool(running), "processes that run for the session", running)
        expect(any("sleep 300" in each.command for each in running), "the daemon that it started", running)
    left = [each for each in (*running, *stage.processes(session)) if each.runs()]
    expect(not left, "nothing of it to run on", left)
