"""What a turn changed, as an app is told it: by a real gateway, whatever becomes of turn, agent and gateway."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge, Session
from harness import patching
from harness.agents import NewGateway
from harness.files import Files
from harness.gateway import Gateway, until
from harness.http import ask

NEVER = "sess_" + "0" * 32
LONG = "[[SLEEP 600]]"


@pytest.fixture
def session(app: Forge) -> Iterator[Session]:
    with app.session(agent="fake", permissions="allow") as session:
        yield session


def diff(app: Forge, session: Session, turn: int | None = None) -> dict[str, Any]:
    query = "" if turn is None else f"?turn={turn}"
    answer = ask(app, "GET", f"/sessions/{session.session_id}/diff{query}")
    assert answer.status == 200, answer.raw
    body: dict[str, Any] = answer.body
    assert (body["ok"], body["session_id"]) == (True, session.session_id)
    return body


def changes(app: Forge, session: Session, turn: int | None = None) -> dict[str, str]:
    return {each["path"]: each["change"] for each in diff(app, session, turn)["files"]}


@pytest.mark.guarantee
def test_each_turn_tells_what_it_changed(app: Forge, session: Session, tmp_path: Path) -> None:
    session.turn("[[WRITE notes.txt one]]")
    session.turn("nothing at all")
    session.turn(
        "[[WRITE notes.txt two]] [[SH mkdir -p src && printf 'x\\ny\\n' > src/new.py && chmod 755 src/new.py]]"
    )
    session.turn("[[SH mv src/new.py src/old.py; rm notes.txt]]")
    told = [diff(app, session, turn) for turn in (1, 2, 3, 4)]
    assert [each["turn_index"] for each in told] == [1, 2, 3, 4]
    assert not any(each["running"] or each["late"] or each["truncated"] for each in told)
    assert [changes(app, session, turn) for turn in (1, 2, 3, 4)] == [
        {"notes.txt": "added"},
        {},
        {"notes.txt": "modified", "src/new.py": "added"},
        {"notes.txt": "deleted", "src/old.py": "renamed"},
    ]
    assert diff(app, session) == told[3]
    for each in told:
        patching.apply(tmp_path, "".join(file["patch"] for file in each["files"]))
    assert (tmp_path / "src/old.py").read_text() == "x\ny\n"
    assert os.access(tmp_path / "src/old.py", os.X_OK)
    assert not (tmp_path / "notes.txt").exists()


def test_a_file_is_told_with_all_that_there_is_to_know_of_it(app: Forge, session: Session) -> None:
    session.turn("[[WRITE a.txt one]]")
    session.turn("[[WRITE a.txt other]]")
    assert diff(app, session)["files"] == [
        {
            "path": "a.txt",
            "change": "modified",
            "old_mode": "100644",
            "new_mode": "100644",
            "old_size": 3,
            "new_size": 5,
            "binary": False,
            "too_large": False,
            "patch": "diff --git a/a.txt b/a.txt\n"
            "index 43dd47ea691c90a5fa7827892c70241913351963..27fa34919ae70aa0d7eaccdfbf393cfc440e7d25 100644\n"
            "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n"
            "-one\n\\ No newline at end of file\n+other\n\\ No newline at end of file\n",
        }
    ]


def test_what_others_do_between_turns_is_no_turn_s(app: Forge, session: Session) -> None:
    session.turn("[[WRITE a.txt one]]")
    Files(app, session.session_id).put("/b.txt", b"by the app")
    (Path(session.cwd) / "c.txt").write_text("by a person")
    session.turn("[[WRITE d.txt two]]")
    assert changes(app, session, 1) == {"a.txt": "added"}
    assert changes(app, session, 2) == {"d.txt": "added"}


def test_uploads_of_a_turn_are_not_what_it_changed(app: Forge, session: Session, tmp_path: Path) -> None:
    upload = tmp_path / "given.txt"
    upload.write_text("given\n")
    token = app.upload_file(upload).file_token
    session.turn("nothing", files=[token])
    session.turn("[[SH echo more >> given.txt]]")
    assert changes(app, session, 1) == {}
    assert changes(app, session, 2) == {"given.txt": "modified"}


def test_a_turn_that_runs_tells_what_it_changed_so_far(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    running = pool.submit(session.turn, f"[[WRITE a.txt one]] {LONG}")
    until(lambda: (Path(session.cwd) / "a.txt").exists(), "the file")
    for turn in (None, 1):
        told = diff(app, session, turn)
        assert (told["turn_index"], told["running"]) == (1, True)
        assert [each["path"] for each in told["files"]] == ["a.txt"]
    assert ask(app, "POST", f"/sessions/{session.session_id}/cancel", {}).body["cancelled"]
    assert running.result().stop_reason == "cancelled"
    told = diff(app, session)
    assert (told["turn_index"], told["running"]) == (1, False)
    assert [each["path"] for each in told["files"]] == ["a.txt"]


def test_a_turn_that_waits_has_changed_nothing_yet(app: Forge, session: Session, pool: ThreadPoolExecutor) -> None:
    running = pool.submit(session.turn, f"[[WRITE a.txt one]] {LONG}")
    until(lambda: (Path(session.cwd) / "a.txt").exists(), "the file")
    path = f"/sessions/{session.session_id}"
    queued = pool.submit(ask, app, "POST", f"{path}/turn", {"prompt": "[[WRITE b.txt two]]", "delivery": "queue"})
    until(lambda: ask(app, "GET", f"{path}/turns/2").status == 200, "the second turn")
    assert ask(app, "GET", f"{path}/diff?turn=2").problem() == (404, "not_found")
    assert diff(app, session)["turn_index"] == 1
    ask(app, "POST", f"{path}/cancel", {})
    running.result()
    assert queued.result().status == 200
    assert changes(app, session, 1) == {"a.txt": "added"}
    assert changes(app, session, 2) == {"b.txt": "added"}


@pytest.mark.guarantee
def test_an_agent_s_own_repository_is_left_alone(app: Forge, session: Session) -> None:
    session.turn("[[SH mkdir -p lib/.git && echo ref > lib/.git/HEAD && echo text > lib/file]]")
    assert changes(app, session) == {"lib/file": "added"}
    assert os.listdir(Path(session.cwd) / "lib/.git") == ["HEAD"]


def test_nothing_is_told_of_what_a_link_leads_to(app: Forge, session: Session, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "secret").write_text("of somebody else")
    session.turn(f"[[SH ln -s {tmp_path}/secret file; ln -s {tmp_path} folder; mkfifo pipe; ln -s / root]]")
    told = diff(app, session)
    assert changes(app, session) == {"file": "added", "folder": "added", "root": "added"}
    assert "of somebody else" not in str(told)
    assert {each["new_mode"] for each in told["files"]} == {"120000"}


def test_no_workspace_is_too_much(app: Forge, session: Session) -> None:
    many = "mkdir many deep && cd many && seq -f f%g 25000 | xargs touch"
    deep = "cd ../deep && for i in $(seq 300); do mkdir d && cd d; done"
    session.turn(f"[[SH {many}; {deep}]] [[SH truncate -s 4G huge; printf '\\0\\1' > binary; echo text > near]]")
    told = diff(app, session)
    assert told["truncated"]
    files = {each["path"]: each for each in told["files"]}
    assert set(files) == {"huge", "binary", "near"}
    assert (files["huge"]["new_size"], files["huge"]["too_large"], files["huge"]["patch"]) == (
        4 * 2**30,
        True,
        None,
    )
    assert (files["binary"]["binary"], files["binary"]["patch"]) == (True, None)
    assert files["near"]["patch"].endswith("+text\n")


def test_turns_that_never_were_are_not_found(app: Forge, session: Session) -> None:
    path = f"/sessions/{session.session_id}/diff"
    assert ask(app, "GET", path).problem() == (404, "not_found")
    session.turn("one")
    assert ask(app, "GET", f"{path}?turn=2").problem() == (404, "not_found")
    assert ask(app, "GET", f"/sessions/{NEVER}/diff").problem() == (404, "not_found")
    for nonsense in ("0", "-1", "x", "", "1e3", "9" * 40):
        assert ask(app, "GET", f"{path}?turn={nonsense}").problem() == (422, "invalid")
    assert ask(app, "GET", f"{path}?turns=1").problem() == (422, "invalid")


def test_another_app_s_turns_are_not_found(app: Forge, session: Session, gateway: Gateway) -> None:
    session.turn("[[WRITE a.txt one]]")
    with gateway.app("a stranger") as stranger:
        theirs = ask(stranger, "GET", f"/sessions/{session.session_id}/diff")
        never = ask(stranger, "GET", f"/sessions/{NEVER}/diff")
    assert theirs.problem() == never.problem() == (404, "not_found")
    assert theirs.body["detail"] == never.body["detail"]


def test_a_closed_session_tells_until_it_is_removed(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"session_hard_ttl_secs": 1, "reap_interval_secs": 0.05}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        session.turn("[[WRITE a.txt one]]")
        session.close()
        assert changes(app, session) == {"a.txt": "added"}
        kept = gateway.data_dir / "snapshots" / session.session_id
        assert kept.is_dir()
        until(lambda: not kept.exists(), "what was kept to be removed")
        until(
            lambda: ask(app, "GET", f"/sessions/{session.session_id}/diff").status == 404, "the session to be gone"
        )
        assert not kept.exists()


def test_what_a_gateway_that_was_stopped_has_kept_is_told_by_the_next(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        session.turn("[[WRITE a.txt one]]")
        before = diff(app, session)
    assert gateway.stop() == 0
    (Path(session.cwd) / "meanwhile").write_text("by a person")
    gateway.start()
    with Forge(base_url=gateway.url, token=app._config.token) as again:
        assert diff(again, session) == before
        again.attach_session(session.session_id).turn("[[WRITE a.txt two]]")
        assert changes(again, session) == {"a.txt": "modified"}


@pytest.mark.parametrize("first", ["a look", "a turn"])
def test_a_turn_whose_gateway_was_killed_tells_what_it_left(
    new_gateway: NewGateway, pool: ThreadPoolExecutor, first: str
) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        session.turn("[[WRITE a.txt one]]")
        lost = pool.submit(
            ask, app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": f"[[WRITE b.txt two]] {LONG}"}
        )
        until(lambda: (Path(session.cwd) / "b.txt").exists(), "the file")
        gateway.kill()
        assert lost.exception() is not None
    gateway.start()
    with Forge(base_url=gateway.url, token=app._config.token) as again:
        if first == "a turn":
            again.attach_session(session.session_id).turn("[[WRITE c.txt three]]")
            assert changes(again, session, 3) == {"c.txt": "added"}
        told = diff(again, session, 2)
        assert (told["late"], told["running"]) == (True, False)
        assert [each["path"] for each in told["files"]] == ["b.txt"]
        assert not diff(again, session, 1)["late"]


def test_a_gateway_that_keeps_nothing_says_so(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"snapshot_bytes": 0}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        session.turn("[[WRITE a.txt one]]")
        answer = ask(app, "GET", f"/sessions/{session.session_id}/diff")
        assert answer.problem() == (404, "not_found")
        assert "not kept" in answer.body["detail"]
    assert not (gateway.data_dir / "snapshots").exists()


def test_turns_that_were_dropped_are_said_to_be(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"snapshot_bytes": 64 * 1024}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        for number in range(12):
            session.turn(f"[[SH seq {number} 5000 > numbers]]")
        answer = ask(app, "GET", f"/sessions/{session.session_id}/diff?turn=1")
        assert answer.problem() == (404, "not_found")
        assert "turn 1" in answer.body["detail"]
        (file,) = diff(app, session)["files"]
        assert file["patch"].endswith("-10\n 11\n 12\n 13\n")


def test_agents_cannot_see_what_is_kept(app: Forge, session: Session, gateway: Gateway) -> None:
    session.turn("[[WRITE a.txt one]]")
    kept = gateway.data_dir / "snapshots" / session.session_id
    until(kept.is_dir, "the snapshots")
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o700, 0o700)
    answer = session.turn(f"[[SH ls {kept} {kept.parent} 2>&1; cat {kept}/turns 2>&1]]").text()
    assert "turns" not in answer.replace(f"{kept}/turns", "")
