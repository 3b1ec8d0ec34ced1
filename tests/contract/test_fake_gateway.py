"""`FakeGateway` and a real gateway tell the same: one story, played with both, and every answer compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.http.routes import application
from clawdforge.testing import FakeGateway, Prompt, ask, fail, hang, plan, stop, thinking, tool_call, write
from clawdforge.testing.fake_gateway.calls.table import ROUTES
from clawdforge.wire.sse import MEDIA_TYPE
from harness.caller import Answer, Caller
from harness.gateway import Gateway

Say = Callable[..., str]
Told = Iterator[tuple[str, Answer]]
_TOLD = ("result", "locations", "diffs")
_FREE = frozenset({"agents", "modes", "models", "version", "capabilities", "args", "entries", "errors", *_TOLD})
"""Fields whose content is an agent's own matter, or a sentence."""
_HEADERS = ("content-type", "idempotent-replayed", "idempotency-supported", "retry-after", "preference-applied")


def test_it_has_every_path_of_a_gateway() -> None:
    rooms: Any = None  # the table is made of the routes alone
    paths = json.loads(application(rooms).document())["paths"]
    real = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert {(method, path) for method, path, _ in ROUTES} == real - {("GET", "/openapi.json")}


# --- the story -----------------------------------------------------------------------------------------------


def story(call: Caller, say: Say, admin_token: str) -> Told:
    """Calls, and their answers by name. `say` is told a prompt's words and what a fake makes of them."""
    yield "health", call("GET", "/healthz")
    yield from _sessions(call, say)
    yield from _prompts(call, say)
    yield from _ends(call, say)
    yield from _permissions(call, say)
    yield from _files(call, say)
    yield from _runs(call, say)
    yield from _refusals(call, say)
    yield from _admin(call, admin_token)


def _sessions(call: Caller, say: Say) -> Told:
    yield "opened", call("POST", "/sessions", {"agent": "fake", "meta": {"a": 1}})
    session = call.session(agent="fake", model="fake-small", system="be brief", permissions="reads")
    yield "a session", call("GET", session)
    yield "sessions", call("GET", "/sessions")
    yield "a page of sessions", (page := call("GET", "/sessions?limit=1"))
    yield "the next page", call("GET", f"/sessions?limit=1&cursor={page.body['next_cursor']}")
    yield "open sessions", call("GET", "/sessions?include_closed=false")
    yield "a turn", call.turn(session, say("hi"))
    yield "a session with a turn", call("GET", session)
    yield "fork", (forked := call("POST", f"{session}/fork", {"meta": {"b": 2}}))
    yield "a fork", call("GET", f"/sessions/{forked.body['session_id']}")
    yield "turns of a fork", call("GET", f"/sessions/{forked.body['session_id']}/turns")
    yield "close", call("DELETE", session)
    yield "close again", call("DELETE", session)
    yield "a closed session", call("GET", session)
    yield "events of a closed session", call("GET", f"{session}/events", Accept=MEDIA_TYPE)
    yield "a turn after the close", call.turn(session)


def _prompts(call: Caller, say: Say) -> Told:
    session = call.session(agent="fake")
    words = '[[THINK hm]][[TOOL Read {"path": "a"}]][[PLAN one|two]][[SAY done]]'
    parts = (thinking("hm"), tool_call("Read", {"path": "a"}, {"echo": {"path": "a"}}), plan("one", "two"), "done")
    yield "blocking", call.turn(session, say(words, *parts))
    prompt = {"prompt": say("[[SAY x]]", "x")}
    yield "streamed", call("POST", f"{session}/turn", prompt, Accept=MEDIA_TYPE)
    yield "not waited for", call("POST", f"{session}/turn", {"prompt": say("hi")}, Prefer="respond-async")
    call.until(session, "turn_end", turn_index=3)
    yield "turns", call("GET", f"{session}/turns")
    yield "a page of turns", call("GET", f"{session}/turns?limit=1")
    yield "a turn's record", call("GET", f"{session}/turns/1")
    yield "a page of events", call("GET", f"{session}/events?limit=2")
    yield "events to come", call("GET", f"{session}/events?after=100000")
    json_words = say('[[JSON {"a": 1}]]', {"a": 1})
    yield "a schema", call.turn(session, json_words, schema={"type": "object"})
    yield "record of a schema", call("GET", f"{session}/turns/4")
    yield "no json for a schema", call.turn(session, say("[[SAY no]]", "no"), schema={"type": "object"})
    body = {"prompt": say("hi")}
    for name in ("a key", "the key again"):
        yield name, call("POST", f"{session}/turn", body, Idempotency_Key="one")
    yield "the key's events", call("POST", f"{session}/turn", body, Idempotency_Key="one", Accept=MEDIA_TYPE)
    yield (
        "the key, not waited for",
        call("POST", f"{session}/turn", body, Idempotency_Key="one", Prefer="respond-async"),
    )
    yield "another body", call("POST", f"{session}/turn", {"prompt": "x"}, Idempotency_Key="one")
    yield "no key", call("POST", f"{session}/turn", body, Idempotency_Key="a b")


def _ends(call: Caller, say: Say) -> Told:
    session = call.session(agent="fake")
    yield "empty", call.turn(session, say("[[EMPTY]]"))
    for reason in ("max_tokens", "refusal"):
        yield reason, call.turn(session, say(f"[[SAY x]][[STOP {reason}]]", "x", stop(reason)))
    failed = say("[[SAY x]][[EXIT 3]]", "x", fail("agent_failed", exit_code=3))
    yield "agent_failed", call.turn(session, failed)
    yield "record of a failure", call("GET", f"{session}/turns/4")
    yield "events of a failure", call("POST", f"{session}/turn", {"prompt": failed}, Accept=MEDIA_TYPE)
    yield "timeout", call.turn(session, say("[[HANG]]", hang()), timeout_secs=1)
    asked = {"prompt": say("[[SAY x]][[HANG]]", "x", hang())}
    yield "running", call("POST", f"{session}/turn", asked, Prefer="respond-async")
    call.until(session, "text", turn_index=7)
    yield "a turn while one runs", call.turn(session)
    yield "a fork while one runs", call("POST", f"{session}/fork", {})
    queued = {"prompt": say("hi"), "delivery": "queue"}
    yield "queued", call("POST", f"{session}/turn", queued, Prefer="respond-async")
    yield "record of a queued one", call("GET", f"{session}/turns/8")
    yield "cancel the queued", call("POST", f"{session}/cancel", {"turn_index": 8})
    yield "cancel", call("POST", f"{session}/cancel")
    yield "cancel nothing", call("POST", f"{session}/cancel")
    yield "cancel what never was", call("POST", f"{session}/cancel", {"turn_index": 99})
    yield "record of a cancelled one", call("GET", f"{session}/turns/7")
    yield "record of one that never began", call("GET", f"{session}/turns/8")
    yield "usage", call("GET", "/usage")
    for by in ("agent", "model", "day"):
        yield f"usage by {by}", call("GET", f"/usage?by={by}&since=1")


def _permissions(call: Caller, say: Say) -> Told:
    session = call.session(agent="fake", permissions="ask")
    words = say("[[WRITE notes.txt hello]]", ask("Write notes.txt", kind="edit"))
    yield "asking", call("POST", f"{session}/turn", {"prompt": words}, Prefer="respond-async")
    call.until(session, "permission_request")
    waiting = call("GET", f"{session}/permissions")
    yield "permissions", waiting
    place = f"{session}/permissions/{waiting.body['permissions'][0]['permission_id']}"
    yield "no decision", call("POST", place, {})
    yield "no such option", call("POST", place, {"option_id": "what"})
    yield "answer", call("POST", place, {"decision": "allow"})
    yield "answer again", call("POST", place, {"decision": "reject"})
    yield "no such request", call("POST", f"{session}/permissions/perm_0", {"decision": "allow"})
    yield "a policy's answer", call.turn(call.session(agent="fake", permissions="deny"), words)


def _files(call: Caller, say: Say) -> Told:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="ttl_secs"\r\n\r\n60\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'
    )
    kind = "multipart/form-data; boundary=x"
    yield "upload", (sent := call("POST", "/files", form, Content_Type=kind))
    token = sent.body["file_token"]
    yield "an upload", call("GET", f"/files/{token}")
    session = call.session(agent="fake", permissions="allow")
    yield "a turn with a file", call("POST", f"{session}/turn", {"prompt": say("hi"), "files": [token]})
    yield "drop", call("DELETE", f"/files/{token}")
    yield "drop again", call("DELETE", f"/files/{token}")
    yield "a turn with no file", call("POST", f"{session}/turn", {"prompt": "x", "files": [token]})
    words = say("[[WRITE made/notes.txt hello]]", write("made/notes.txt", "hello"))
    call("PUT", f"{session}/files/made/other.txt", b"one\ntwo\n")
    call.turn(session, words)
    yield "diff", call("GET", f"{session}/diff")
    yield "diff of the first", call("GET", f"{session}/diff?turn=1")
    yield "diff of none", call("GET", f"{session}/diff?turn=99")
    yield "list", call("GET", f"{session}/files")
    yield "all", (listed := call("GET", f"{session}/files?recursive=true"))
    assert [each["path"] for each in listed.body["files"]] == ["a.txt", "made", "made/notes.txt", "made/other.txt"]
    yield "a page", call("GET", f"{session}/files?recursive=true&limit=2")
    yield "one directory", call("GET", f"{session}/files?path=made")
    yield "no directory", call("GET", f"{session}/files?path=none")
    file = f"{session}/files/made/notes.txt"
    yield "file", (got := call("GET", file))
    yield "not modified", call("GET", file, If_None_Match=got.headers["etag"])
    yield "part", call("GET", file, Range="bytes=1-2")
    yield "no part", call("GET", file, Range="bytes=99-")
    yield "another version", call("GET", file, If_Match='"x"')
    yield "no file", call("GET", f"{session}/files/none")
    yield "a directory", call("GET", f"{session}/files/made")
    yield "outside", call("GET", f"{session}/files/%2e%2e/x")
    yield "put", call("PUT", file, b"new")
    yield "put only new", call("PUT", file, b"new", If_None_Match="*")
    yield "put over a directory", call("PUT", f"{session}/files/made", b"new")
    yield "remove", call("DELETE", file)
    yield "remove again", call("DELETE", file)
    yield "remove what is not empty", call("DELETE", f"{session}/files/made")
    yield "remove all", call("DELETE", f"{session}/files/made?recursive=true")


def _runs(call: Caller, say: Say) -> Told:
    body = {"agent": "fake", "prompt": say('[[JSON {"a": 1}]]', {"a": 1})}
    yield "run", (run := call("POST", "/run", body))
    place = run.body["run_id"]
    yield "a run", call("GET", f"/runs/{place}")
    yield "events of a run", call("GET", f"/sessions/{place}/events")
    yield "turns of a run", call("GET", f"/sessions/{place}/turns")
    yield "no session", call("GET", f"/sessions/{place}")
    yield "no turn", call.turn(f"/sessions/{place}")
    yield "a run with a schema", call("POST", "/run", {**body, "schema": {"type": "object"}})
    yield "a streamed run", call("POST", "/run", {**body, "prompt": say("[[SAY x]]", "x")}, Accept=MEDIA_TYPE)
    failed = say("[[EXIT 3]]", fail("agent_failed", exit_code=3))
    yield "a failed run", (bad := call("POST", "/run", {**body, "prompt": failed}))
    yield "record of a failed run", call("GET", f"/runs/{bad.body['run_id']}")
    asked = {**body, "prompt": say("[[HANG]]", hang())}
    yield "a run not waited for", (late := call("POST", "/run", asked, Prefer="respond-async"))
    place = late.body["run_id"]
    call.until(f"/sessions/{place}", "agent_start")
    yield "a running run", call("GET", f"/runs/{place}")
    yield "cancel a run", call("POST", f"/sessions/{place}/cancel")
    yield "a cancelled run", call("GET", f"/runs/{place}")
    yield "runs", call("GET", "/runs")
    yield "a page of runs", call("GET", "/runs?limit=2")
    yield "no run", call("GET", "/runs/run_0")


def _refusals(call: Caller, say: Say) -> Told:
    session = call.session(agent="fake")
    yield "agents", call("GET", "/agents")
    yield "an agent", call("GET", "/agents/fake")
    yield "no agent", call("GET", "/agents/nobody")
    yield "an agent that nobody knows", call("POST", "/sessions", {"agent": "nobody"})
    yield "no such path", call("GET", "/nothing")
    yield "no such method", call("DELETE", "/run")
    yield "no such session", call("GET", "/sessions/sess_0")
    yield "no such turn", call("GET", f"{session}/turns/9")
    yield "no token", call("GET", "/sessions", token="cf_wrong")
    yield "empty", call("POST", "/run", {"prompt": ""})
    yield "a wrong type", call("POST", "/run", {"prompt": 1})
    yield "an unknown field", call("POST", "/run", {"prompt": "x", "colour": "red"})
    yield "missing", call("POST", "/run", {})
    yield "out of range", call("POST", "/run", {"prompt": "x", "timeout_secs": 0})
    yield "not one of these", call("POST", "/sessions", {"effort": "some"})
    yield "no json", call("POST", "/run", b"{", Content_Type="application/json")
    yield "another type", call("POST", "/run", b"{}", Content_Type="text/plain")
    for query in ("after=-1", "limit=0", "wait=61", "colour=red"):
        yield query, call("GET", f"{session}/events?{query}")
    yield "a limit of a stream", call("GET", f"{session}/events?limit=3", Accept=MEDIA_TYPE)
    yield "no id", call("GET", f"{session}/events", Accept=MEDIA_TYPE, Last_Event_ID="x")
    yield "no cursor", call("GET", "/sessions?cursor=!")
    yield "no flag", call("GET", "/sessions?include_closed=yes")
    yield "by what", call("GET", "/usage?by=colour")


def _admin(call: Caller, admin_token: str) -> Told:
    yield "mint", call("POST", "/admin/tokens", {"name": "other"}, token=admin_token)
    yield "mint again", call("POST", "/admin/tokens", {"name": "other"}, token=admin_token)
    yield "tokens", call("GET", "/admin/tokens", token=admin_token)
    yield "revoke", call("DELETE", "/admin/tokens/other", token=admin_token)
    yield "revoke nobody", call("DELETE", "/admin/tokens/nobody", token=admin_token)
    yield "an app for the admin", call("GET", "/admin/tokens")
    yield "the admin for an app", call("GET", "/sessions", token=admin_token)


# --- what is compared ----------------------------------------------------------------------------------------


def shape(value: Any, at: str = "") -> Iterator[str]:
    """What there is, as lines: keys and types. Of a list, all that is in it; of events, each in its place."""
    name = at.rpartition(".")[2]
    if name in _FREE:
        yield f"{at}: free"
    elif isinstance(value, dict):
        for each in value:
            yield from shape(value[each], f"{at}.{each}")
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from shape(each, f"{at}[{place}]" if name == "events" else f"{at}[]")
    elif name in ("type", "code", "ok", "status", "stop_reason", "decision", "phase"):
        yield f"{at}: {value!r}"
    else:
        yield f"{at}: {type(value).__name__}"


def told(answer: Answer) -> set[str]:
    """What of an answer is the same from every gateway."""
    headers = {f"{name}: {answer.headers.get(name)}" for name in _HEADERS}
    lines = {f"HTTP {answer.status}", *headers, f"location: {'location' in answer.headers}"}
    kind = answer.headers.get("content-type", "")
    if kind.startswith(MEDIA_TYPE):
        return {*lines, *shape({"events": answer.events()})}
    return {*lines, *shape(answer.body)} if kind == "application/json" else {*lines, repr(answer.raw)}


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    gateway.start()
    yield gateway
    gateway.close()


def test_it_tells_what_a_gateway_tells(real: Gateway) -> None:
    with real.admin() as admin:
        admin_token, token = admin._config.token or "", admin.mint_token("app").token
    with closing(Caller(real.url, token)) as call:
        ours = {name: told(answer) for name, answer in story(call, lambda words, *_: str(words), admin_token)}
    scripted: dict[str, tuple[Any, ...]] = {}

    def say(words: str, *parts: Any) -> str:
        scripted[words] = parts
        return words

    def played(prompt: Prompt) -> Any:
        if prompt.text.startswith("[["):
            return iter(scripted[prompt.text])
        return f"turn {prompt.turn_index}: {prompt.text}"

    with FakeGateway(agents=["fake"]) as fake:
        fake.on_prompt(played)
        with closing(Caller(fake.url, fake.token)) as call:
            theirs = {name: told(answer) for name, answer in story(call, say, fake.admin_token)}
    different = {
        name: {"only the real one": ours[name] - theirs[name], "only the fake": theirs[name] - ours[name]}
        for name in ours
        if ours[name] != theirs[name]
    }
    assert different == {}
