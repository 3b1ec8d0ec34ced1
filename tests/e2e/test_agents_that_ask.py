"""Agents that ask when nobody listens, or ask for more than anybody could answer: none waits for ever."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clawdforge import Forge
from harness import agents
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger
from harness.permissions import until_asked, waiting
from harness.tenants import tenant

MIB = 1024 * 1024

# How agents talk.
BEGINS = """
import json, os, sys, time
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def hear():
    return json.loads(sys.stdin.readline())
def tell(text):
    content = {"type": "text", "text": text}
    update = {"sessionUpdate": "agent_message_chunk", "content": content}
    say(method="session/update", params={"sessionId": "s", "update": update})
def ask(method, **params):
    say(id=method, method=method, params={"sessionId": "s", **params})
    return hear()
def permission():
    call = {"toolCallId": "a", "kind": "edit", "title": "Write", "locations": [{"path": "a"}]}
    options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]
    answer = ask("session/request_permission", toolCall=call, options=options)
    return answer["result"]["outcome"]["outcome"]
"""
# Its first prompt is what it does.
OBEYS = """
say(id=hear()["id"], result={"protocolVersion": 1})
say(id=hear()["id"], result={"sessionId": "s"})
prompt = hear()
exec(prompt["params"]["prompt"][-1]["text"])
"""

BEFORE_IT_IS_OPEN = """
say(id=hear()["id"], result={"protocolVersion": 1})
new = hear()
asked, wrote = permission(), "error" in ask("fs/write_text_file", path="a", content="x")
say(id=new["id"], result={"sessionId": "s"})
prompt = hear()
tell(f"{asked} {wrote}")
say(id=prompt["id"], result={"stopReason": "end_turn"})
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that has the patience to hear what an agent says after a cancel."""
    scripts = {"early": BEGINS + BEFORE_IT_IS_OPEN, "obedient": BEGINS + OBEYS}
    started = Gateway(
        tmp_path_factory.mktemp("gateway"),
        agents={name: agents.python(code) for name, code in scripts.items()},
        settings={"cancel_timeout_secs": 10},
    ).start()
    yield started
    assert started.stop() == 0, started.log()
    started.close()


@pytest.fixture
def app(gateway: Gateway) -> Iterator[Forge]:
    with tenant(gateway) as forge:
        forge.healthz()  # its connection is open before a test looks
        yield forge


def test_one_that_asks_before_its_session_is_open_is_refused_and_starts(app: Forge) -> None:
    session = app.create_session(agent="early", permissions="allow")
    assert session.turn("hi").text() == "cancelled True"
    assert list(Path(session.cwd).iterdir()) == []


BETWEEN_TURNS = """
tell("first")
say(id=prompt["id"], result={"stopReason": "end_turn"})
asked = permission()
open("answered", "w").close()
prompt = hear()
tell(asked)
say(id=prompt["id"], result={"stopReason": "end_turn"})
sys.stdin.read()
"""


@pytest.mark.parametrize(("policy", "told"), [("allow", "selected"), ("deny", "cancelled"), ("ask", "cancelled")])
def test_one_that_asks_between_turns_is_answered_by_the_policy_at_once(
    app: Forge, db: Ledger, policy: str, told: str
) -> None:
    session = app.create_session(agent="obedient", permissions=policy)
    assert session.turn(BETWEEN_TURNS).text() == "first"
    until(Path(session.cwd, "answered").exists, "the agent to be answered")
    assert session.turn("two").text() == told
    asked = [each for each in db.events(session.session_id) if "permission" in each["type"]]
    assert [(each["type"], each["turn_index"]) for each in asked] == [
        ("permission_request", None),
        ("permission_answer", None),
    ]


AFTER_THE_CANCEL = """
cancel = hear()
assert cancel["method"] == "session/cancel"
asked, wrote = permission(), "error" in ask("fs/write_text_file", path="a", content="x")
tell(f"{asked} {wrote}")
say(id=prompt["id"], result={"stopReason": "cancelled"})
sys.stdin.read()
"""


def test_one_that_asks_after_its_prompt_was_cancelled_is_refused(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="obedient", permissions="allow")
    body = {"prompt": AFTER_THE_CANCEL, "timeout_secs": 1}
    assert ask(app, "POST", f"/sessions/{session.session_id}/turn", body).problem() == (504, "timeout")
    events = db.events(session.session_id)
    assert [each["data"]["content"] for each in events if each["type"] == "text"] == ["cancelled True"]
    assert list(Path(session.cwd).iterdir()) == []


ENDS_WHILE_IT_ASKS = """
call = {"toolCallId": "a", "kind": "other", "title": "Ask"}
lines = [
    {"id": "ask", "method": "session/request_permission", "params": {"toolCall": call, "options": []}},
    {"id": prompt["id"], "result": {"stopReason": "end_turn"}},
]
sys.stdout.write("".join(json.dumps({"jsonrpc": "2.0", **each}) + "\\n" for each in lines))
sys.stdout.flush()
assert hear()["result"]["outcome"] == {"outcome": "cancelled"}
prompt = hear()
tell("was answered")
say(id=prompt["id"], result={"stopReason": "end_turn"})
sys.stdin.read()
"""


def test_one_that_ends_its_turn_while_it_asks_is_answered_too(app: Forge) -> None:
    session = app.create_session(agent="obedient")
    first = [each["type"] for each in session.turn(ENDS_WHILE_IT_ASKS).events]
    assert first == ["tool_call", "permission_request", "permission_answer"]
    assert session.turn("two").text() == "was answered"


ASKS_AN_APP = """
call = {"toolCallId": "a", "kind": "other", "title": "Ask"}
for number in (1, 2):
    say(id=f"ask {number}", method="session/request_permission", params={"toolCall": call, "options": []})
while not os.path.exists("go"):
    time.sleep(0.01)
"""
ENDS: dict[str, tuple[str, int, str]] = {
    "it exits": ("sys.exit(3)", 502, "agent_failed"),
    "it is killed": ("os.kill(os.getpid(), 9)", 502, "agent_failed"),
    "it fails": (
        "say(id=prompt['id'], error={'code': 1, 'message': 'no'}); sys.stdin.read()",
        502,
        "agent_failed",
    ),
    "it speaks nonsense": ("say(id=prompt['id'], result=7); sys.stdin.read()", 502, "agent_failed"),
    "it goes on without": (
        "say(id=prompt['id'], result={'stopReason': 'refusal'}); sys.stdin.read()",
        200,
        "refusal",
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_what_one_asks_an_app_and_does_not_wait_for_has_its_answer_before_the_turn_s_end(
    app: Forge, db: Ledger, pool: ThreadPoolExecutor, how: str
) -> None:
    code, status, stop_reason = ENDS[how]
    session = app.create_session(agent="obedient", permissions="ask")
    path = f"/sessions/{session.session_id}"
    turn = pool.submit(ask, app, "POST", f"{path}/turn", {"prompt": ASKS_AN_APP + code})
    asked = until_asked(app, session.session_id, 2)
    Path(session.cwd, "go").touch()
    ended = turn.result()
    assert (ended.status, ended.body["stop_reason"]) == (status, stop_reason)
    told = [each["data"] for each in db.events(session.session_id) if each["type"] == "permission_answer"]
    assert [(each["permission_id"], each["decision"], each["by"]) for each in told] == [
        (each["permission_id"], "cancelled", "cancel") for each in asked
    ]
    assert waiting(app, session.session_id) == []


FLOODS_WITHOUT_LISTENING = """
block = "".join(
    json.dumps({"jsonrpc": "2.0", "id": number, "method": "nobody/knows", "params": {}}) + "\\n"
    for number in range(10_000)
)
while True:
    sys.stdout.write(block)
"""


def test_one_that_asks_without_end_and_hears_no_answer_fails_before_memory_does(
    app: Forge, gateway: Gateway
) -> None:
    session, other = app.create_session(agent="obedient"), app.create_session(agent="fake")
    before = gateway.forget_peak()
    path = f"/sessions/{session.session_id}/turn"
    answer = ask(app, "POST", path, {"prompt": FLOODS_WITHOUT_LISTENING})
    assert answer.problem() == (502, "agent_failed")
    assert "does not read its input" in answer.body["detail"]
    assert gateway.peak_bytes() - before < 64 * MIB
    assert other.turn("hi").text() == "turn 1: hi"
