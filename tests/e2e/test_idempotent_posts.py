"""`Idempotency-Key` where no prompt is asked: uploads, cancels, sessions; and what becomes of keys in the end."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from clawdforge import Forge
from harness import http, prompts
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.prompts import cancel, ended, running

MISMATCH = (409, "idempotency_mismatch")


def replayed(answer: Answer) -> bool:
    assert answer.headers["idempotency-supported"] == "true"
    return answer.headers.get("idempotent-replayed") == "true"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/healthz", {}, 200),
        ("GET", "/openapi.json", {}, 401),
        ("GET", "/sessions", {}, 401),
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/healthz", {}, 405),
        ("GET", "/healthz", {"X-Large": "x" * 70_000}, 431),
        ("GET", "/healthz", {"Upgrade": "websocket", "Connection": "upgrade"}, 400),
    ],
)
def test_every_answer_says_that_keys_count(
    gateway: Gateway, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    found = http.call(gateway.url, method, path, headers=headers)
    assert (found.status, found.headers["idempotency-supported"]) == (status, "true")


# --- uploads ------------------------------------------------------------------------------------------------


def upload(
    app: Forge, content: bytes, key: str | None, *, name: str = "notes.txt", ttl_secs: int | None = None
) -> Answer:
    """A multipart upload; each is written with a boundary of its own."""
    edge = uuid.uuid4().hex
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode(),
        content,
    ]
    if ttl_secs is not None:
        parts.append(f'\r\n--{edge}\r\nContent-Disposition: form-data; name="ttl_secs"\r\n\r\n{ttl_secs}'.encode())
    body = b"".join([*parts, f"\r\n--{edge}--\r\n".encode()])
    with closing(http.connect(app.base_url)) as connection:
        head = {
            "Authorization": f"Bearer {app._config.token}",
            "Content-Type": f"multipart/form-data; boundary={edge}",
            **prompts.keyed(key),
        }
        connection.request("POST", "/files", body, head)
        return http.receive(connection)


def uploads(gateway: Gateway) -> int:
    return len(Ledger(gateway.data_dir).rows("SELECT * FROM uploads"))


def blobs(gateway: Gateway) -> int:
    """Files among the blobs, those that are not placed too."""
    return sum(each.is_file() for each in (gateway.data_dir / "blobs").rglob("*"))


@pytest.mark.guarantee
def test_an_upload_is_kept_once(app: Forge, gateway: Gateway) -> None:
    content = uuid.uuid4().bytes
    first = upload(app, content, "one")
    rows, files = uploads(gateway), blobs(gateway)
    again = [upload(app, content, "one"), upload(app, content, "one", ttl_secs=3600)]
    assert [replayed(each) for each in (first, *again)] == [False, True, True]
    assert [each.raw for each in again] == [first.raw, first.raw]
    assert (uploads(gateway), blobs(gateway)) == (rows, files)
    assert app.get_file(first.body["file_token"])["size"] == 16


def test_an_upload_without_a_key_is_another_each_time(app: Forge) -> None:
    first, second = (upload(app, b"the same", None) for _ in range(2))
    assert first.body["file_token"] != second.body["file_token"]


def test_another_upload_by_the_same_key_is_refused_and_leaves_nothing(app: Forge, gateway: Gateway) -> None:
    content = uuid.uuid4().bytes
    assert upload(app, content, "one").status == 200
    rows, files = uploads(gateway), blobs(gateway)
    assert upload(app, uuid.uuid4().bytes, "one").problem() == MISMATCH
    assert upload(app, content, "one", name="other.txt").problem() == MISMATCH
    assert upload(app, content, "one", ttl_secs=60).problem() == MISMATCH
    assert ask(app, "POST", "/sessions", {"agent": "fake"}, prompts.keyed("one")).problem() == MISMATCH
    assert (uploads(gateway), blobs(gateway)) == (rows, files)


def test_equal_uploads_at_once_are_one(app: Forge, gateway: Gateway, pool: ThreadPoolExecutor) -> None:
    content = uuid.uuid4().bytes * 50_000
    rows, files = uploads(gateway), blobs(gateway)
    answers = [*pool.map(lambda _: upload(app, content, "one"), range(6))]
    assert {each.status for each in answers} == {200}
    assert len({each.raw for each in answers}) == 1
    assert sorted(map(replayed, answers)) == [False] + [True] * 5
    assert (uploads(gateway), blobs(gateway)) == (rows + 1, files + 1)


def test_a_key_that_is_none_is_refused_with_the_upload(app: Forge, gateway: Gateway) -> None:
    rows = uploads(gateway)
    assert upload(app, b"content", "two words").problem() == (422, "invalid")
    assert uploads(gateway) == rows


def test_an_upload_that_was_dropped_is_not_kept_again(app: Forge) -> None:
    first = upload(app, b"content", "one")
    token = first.body["file_token"]
    app.delete_file(token)
    again = upload(app, b"content", "one")
    assert (again.raw, replayed(again)) == (first.raw, True)
    assert ask(app, "GET", f"/files/{token}").problem() == (404, "not_found")


# --- cancels ------------------------------------------------------------------------------------------------


def test_a_cancel_again_is_answered_as_the_first_and_ends_no_other_turn(
    app: Forge, pool: ThreadPoolExecutor
) -> None:
    session_id = app.create_session(agent="fake").session_id
    first = running(pool, app, session_id, "[[HANG]]")
    told = cancel(app, session_id, key="one")
    assert (told.body, replayed(told)) == ({"ok": True, "cancelled": True, "turn_index": 1}, False)
    assert first.result().body["stop_reason"] == "cancelled"
    second = running(pool, app, session_id, "[[HANG]]")
    again = cancel(app, session_id, key="one")
    assert (again.raw, replayed(again)) == (told.raw, True)
    assert prompts.record(app, session_id, 2)["status"] == "running"
    assert cancel(app, session_id, 2, key="one").problem() == MISMATCH
    assert cancel(app, session_id, key="two").body["cancelled"] is True
    assert second.result().body["stop_reason"] == "cancelled"


def test_a_cancel_of_what_never_was_has_not_used_its_key(app: Forge) -> None:
    session_id = app.create_session(agent="fake").session_id
    assert cancel(app, session_id, 1, key="one").problem() == (404, "not_found")
    assert prompts.turn(app, session_id, "hi").status == 200
    told = cancel(app, session_id, 1, key="one")
    assert (told.body, replayed(told)) == ({"ok": True, "cancelled": False, "turn_index": 1}, False)


# --- sessions and runs --------------------------------------------------------------------------------------


def test_a_session_whose_agent_does_not_start_has_not_used_its_key(app: Forge) -> None:
    body = {"agent": "fake-exit1"}
    answers = [ask(app, "POST", "/sessions", body, prompts.keyed("one")) for _ in range(2)]
    assert [each.problem() for each in answers] == [(502, "agent_failed")] * 2
    assert not any(map(replayed, answers))
    made = ask(app, "POST", "/sessions", {"agent": "fake"}, prompts.keyed("one"))
    assert (made.status, replayed(made)) == (200, False)


def test_a_run_whose_agent_does_not_start_is_a_run_and_is_not_tried_again(app: Forge, gateway: Gateway) -> None:
    answers = [prompts.run(app, "hi", agent="fake-exit1", key="one") for _ in range(3)]
    assert [each.problem() for each in answers] == [(502, "agent_failed")] * 3
    assert [replayed(each) for each in answers] == [False, True, True]
    assert len({each.body["run_id"] for each in answers}) == 1
    assert ask(app, "GET", "/runs").body["count"] == 1


def test_in_another_form_the_same_run_is_followed(app: Forge, gateway: Gateway) -> None:
    mark = uuid.uuid4().hex
    prompt = f"[[ECHO {mark}]] [[SLEEP 0.3]]"
    later = prompts.run_later(app, prompt, key="one")
    again = prompts.run_later(app, prompt, key="one")
    assert (again.status, again.body, replayed(again)) == (202, later.body, True)
    with prompts.run_streamed(app, prompt, key="one") as stream:
        assert stream.headers["idempotent-replayed"] == "true"
        seen = [*stream.events()]
    assert (seen[0]["type"], seen[-1]["type"]) == ("turn_start", "turn_end")
    told = prompts.run(app, prompt, key="one")
    assert (told.status, replayed(told), told.body["run_id"]) == (200, True, later.body["run_id"])
    assert prompts.run_later(app, prompt, key="one").body == {**later.body, "status": "done"}
    assert gateway.heard(mark) == 1


@pytest.mark.parametrize(
    ("prompt", "more"),
    [
        ('[[THINK hm]] [[TOOL look {"a": [1.5, null]}]] [[PLAN a|b]] [[SAY é 𝄞]] [[USAGE]] [[COST 0.001]]', {}),
        ('[[ASK read -]] [[JSON {"b": 1, "a": 2}]]', {"schema": {"type": "object", "required": ["c"]}}),
        ("[[BIGTEXT 700000]]", {}),
        ("[[STOP refusal]]", {}),
        ("[[EMPTY]]", {}),
    ],
    ids=["busy", "schema", "large", "refused", "empty"],
)
def test_an_answer_is_given_again_to_the_byte(app: Forge, prompt: str, more: dict[str, Any]) -> None:
    session_id = app.create_session(agent="fake").session_id
    for answers in (
        [prompts.turn(app, session_id, prompt, key="turn", **more) for _ in range(2)],
        [prompts.run(app, prompt, key="run", **more) for _ in range(2)],
    ):
        first, again = answers
        assert (first.status, replayed(first), replayed(again)) == (200, False, True)
        assert again.raw == first.raw


def test_an_error_is_given_again_with_another_request_s_id_alone(app: Forge) -> None:
    first, again = (prompts.run(app, "[[SAY a]] [[STDERR 100]] [[EXIT 3]]", key="one") for _ in range(2))
    assert first.problem() == again.problem() == (502, "agent_failed")
    ids = [each.body["request_id"].encode() for each in (first, again)]
    assert ids[0] != ids[1]
    assert again.raw.replace(ids[1], ids[0]) == first.raw


# --- the end of keys ----------------------------------------------------------------------------------------


@pytest.mark.guarantee
def test_keys_outlive_the_gateway(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        token = app._config.token
        kept = upload(app, b"content", "upload")
        session = ask(app, "POST", "/sessions", {"agent": "fake"}, prompts.keyed("session"))
        nothing = cancel(app, session.body["session_id"], key="cancel")
        gateway.kill()
    gateway.start()
    with Forge(base_url=gateway.url, token=token) as app:
        again = [
            upload(app, b"content", "upload"),
            ask(app, "POST", "/sessions", {"agent": "fake"}, prompts.keyed("session")),
            cancel(app, session.body["session_id"], key="cancel"),
        ]
        assert [each.raw for each in again] == [kept.raw, session.raw, nothing.raw]
        assert all(map(replayed, again))
        assert app.list_sessions()["count"] == 1
    assert gateway.stop() == 0


@pytest.mark.parametrize("form", ["turn", "turn_later"])
def test_the_key_of_a_session_that_is_gone_finds_nothing_and_asks_nobody(
    new_gateway: NewGateway, form: str
) -> None:
    settings = {"session_hard_ttl_secs": 2, "reap_interval_secs": 0.1}
    gateway = new_gateway(settings=settings).start()
    with gateway.app() as app:
        session_id = app.create_session(agent="fake").session_id
        asked = getattr(prompts, form)
        assert asked(app, session_id, "once", key="turn").status in (200, 202)
        ended(app, session_id, 1)
        run = prompts.run(app, "once", key="run")
        app.attach_session(session_id).close()
        closed = prompts.turn(app, session_id, "once", key="turn")
        assert (closed.status, replayed(closed)) == (200, True)
        for path in (f"/sessions/{session_id}", f"/runs/{run.body['run_id']}"):
            until(lambda: ask(app, "GET", path).status == 404, "it to be removed")  # noqa: B023
        assert asked(app, session_id, "once", key="turn").problem() == (404, "not_found")
        assert prompts.run(app, "once", key="run").problem() == (404, "not_found")
        assert prompts.run(app, "another", key="run").problem() == MISMATCH
    assert gateway.heard("once") == 0  # what was heard before went with the homes
    assert gateway.stop() == 0
