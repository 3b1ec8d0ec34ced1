"""A session forked: the same history in a workspace of its own, and from there on two sessions."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge, Session
from harness.agents import NewGateway, scripted
from harness.gateway import Gateway, until
from harness.http import Answer, ask, call, connect, send
from harness.leases import held

NEVER = "sess_" + "0" * 32
LONG = "[[SLEEP 600]]"
OWNER = 64_001 if os.geteuid() == 0 else os.geteuid()
FORKS = {"loadSession": True, "sessionCapabilities": {"fork": {}, "resume": {}}}
RESUMES = {"sessionCapabilities": {"resume": {}}}


@pytest.fixture
def session(app: Forge) -> Iterator[Session]:
    with app.session(agent="fake", permissions="allow", meta={"for": "tests"}) as session:
        yield session


def fork(app: Forge, session: Session, body: Any = None, **headers: str) -> Answer:
    path = f"/sessions/{session.session_id}/fork"
    return call(app.base_url, "POST", path, token=app._config.token, body=body, headers=headers)


def forked(app: Forge, session: Session, body: Any = None) -> Session:
    answer = fork(app, session, body)
    assert answer.status == 200, answer.raw
    return app.attach_session(answer.body["session_id"])


def events(app: Forge, session: Session) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := ask(app, "GET", f"/sessions/{session.session_id}/events?after={len(found)}").body["events"]:
        found += page
    return found


def starts(app: Forge, session: Session) -> list[str]:
    return [each["how"] for each in events(app, session) if each["type"] == "agent_start"]


def workspace(app: Forge, session: Session) -> Path:
    return Path(ask(app, "GET", f"/sessions/{session.session_id}").body["cwd"])


@pytest.mark.guarantee
def test_a_fork_has_the_history_and_the_files_and_goes_its_own_way(app: Forge, session: Session) -> None:
    session.turn("[[WRITE a.txt one]]")
    session.turn("second")
    answer = fork(app, session)
    body = answer.body
    assert answer.status == 200
    assert body["forked_from"] == {"session_id": session.session_id, "turn_index": 2}
    assert (body["ok"], body["agent"]) == (True, "fake")
    assert body["session_id"] != session.session_id
    other = app.attach_session(body["session_id"])
    told = ask(app, "GET", f"/sessions/{other.session_id}").body
    assert told["forked_from"] == body["forked_from"]
    assert (told["turn_count"], told["live"], told["meta"]) == (2, True, {"for": "tests"})
    assert (told["cwd"], told["agent_cwd"]) == (body["cwd"], body["agent_cwd"])
    assert "forked_from" not in ask(app, "GET", f"/sessions/{session.session_id}").body
    assert events(app, other) == events(app, session)
    for path in ("turns", "turns/1", "turns/2"):
        theirs = ask(app, "GET", f"/sessions/{session.session_id}/{path}").raw.decode()
        assert ask(app, "GET", f"/sessions/{other.session_id}/{path}").raw.decode() == theirs.replace(
            session.session_id, other.session_id
        )
    assert (workspace(app, other) / "a.txt").read_text() == "one"
    assert other.turn("[[SH echo more >> a.txt; cat a.txt]]").turn_index == 3
    assert session.turn("[[READ a.txt]]").text() == "one"
    assert [each["seq"] for each in events(app, other)] == list(range(1, len(events(app, other)) + 1))


def test_a_fork_may_have_a_meta_of_its_own(app: Forge, session: Session) -> None:
    other = forked(app, session, {"meta": {"branch": "b"}})
    assert ask(app, "GET", f"/sessions/{other.session_id}").body["meta"] == {"branch": "b"}
    assert fork(app, session, {"agent": "fake"}).problem() == (422, "invalid")


def test_a_session_without_a_turn_can_be_forked(app: Forge, session: Session) -> None:
    (Path(session.cwd) / "given").write_text("text")
    other = forked(app, session)
    assert (workspace(app, other) / "given").read_text() == "text"
    assert other.turn("hello").turn_index == 1
    assert starts(app, other) == ["new", "new"]


def test_a_fork_can_be_forked(app: Forge, session: Session) -> None:
    session.turn("first")
    child = forked(app, session)
    child.turn("second")
    grandchild = forked(app, child)
    told = ask(app, "GET", f"/sessions/{grandchild.session_id}").body
    assert told["forked_from"] == {"session_id": child.session_id, "turn_index": 2}
    assert grandchild.turn("third").turn_index == 3


def test_a_fork_outlives_its_source(app: Forge, session: Session) -> None:
    session.turn("[[WRITE a.txt one]]")
    other = forked(app, session)
    session.close()
    assert other.turn("[[READ a.txt]]").text() == "one"


def test_a_closed_session_can_be_forked_and_the_fork_is_open(app: Forge, session: Session) -> None:
    session.turn("[[WRITE a.txt one]]")
    session.close()
    other = forked(app, session)
    assert "session_closed" not in [each["type"] for each in events(app, other)]
    assert other.turn("[[READ a.txt]]").text() == "one"


def test_what_is_copied_belongs_to_the_agent_and_links_stay_links(app: Forge, session: Session) -> None:
    (Path(session.cwd) / "secret-of-others").symlink_to("/etc/shadow")
    session.turn("[[SH mkdir d; echo x > d/f; chmod 750 d; mkfifo pipe; ln -s d link]]")
    root = workspace(app, forked(app, session))
    assert {path.name for path in root.iterdir()} == {"d", "link", "secret-of-others"}
    assert os.readlink(root / "secret-of-others") == "/etc/shadow"
    assert {path.lstat().st_uid for path in (root, *root.rglob("*"))} == {OWNER}
    assert [stat.S_IMODE((root / name).lstat().st_mode) for name in ("", "d")] == [0o700, 0o750]


def test_a_file_that_a_program_keeps_to_itself_is_not_waited_for(app: Forge, session: Session) -> None:
    session.turn("[[WRITE a.txt one]]")
    with held(workspace(app, session) / "a.txt"):
        assert fork(app, session).problem() == (503, "overloaded")
        assert session.turn("still there").ok
    assert (workspace(app, forked(app, session)) / "a.txt").read_text() == "one"


def test_a_running_turn_is_in_the_way(app: Forge, session: Session, pool: ThreadPoolExecutor) -> None:
    running = pool.submit(session.turn, f"[[WRITE a.txt one]] {LONG}")
    until(lambda: (Path(session.cwd) / "a.txt").exists(), "the file")
    assert fork(app, session).problem() == (409, "turn_in_progress")
    ask(app, "POST", f"/sessions/{session.session_id}/cancel", {})
    running.result()
    assert fork(app, session).status == 200


def test_the_same_key_forks_once(app: Forge, session: Session) -> None:
    session.turn("first")
    key = {"Idempotency-Key": "fork-1"}
    first, again = fork(app, session, None, **key), fork(app, session, None, **key)
    assert first.body == again.body
    assert again.headers["idempotent-replayed"] == "true"
    assert fork(app, session, {"meta": {}}, **key).problem() == (409, "idempotency_mismatch")
    assert len(app.list_sessions()["sessions"]) == 2


def test_sessions_that_cannot_be_forked(app: Forge, session: Session, gateway: Gateway) -> None:
    run = ask(app, "POST", "/run", {"prompt": "hello", "agent": "fake"}).body["run_id"]
    for session_id in (NEVER, run, "x"):
        assert ask(app, "POST", f"/sessions/{session_id}/fork", {}).problem() == (404, "not_found")
    with gateway.app("another app") as stranger:
        assert fork(stranger, session).problem() == (404, "not_found")


def test_forks_count_as_sessions(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"max_sessions_per_app": 2}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        forked(app, session)
        assert fork(app, session).problem() == (429, "too_many_sessions")


@pytest.mark.guarantee
def test_a_fork_that_has_no_room_leaves_nothing(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"workspace_bytes": 8 * 1024 * 1024}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        session.turn("first")
        # Twice the same bytes take their room once, and twice where they are copied.
        session.turn("[[SH head -c 5000000 /dev/zero > a; ln a b]]")
        assert fork(app, session).problem() == (413, "too_large")
        assert len(app.list_sessions()["sessions"]) == 1
        for place in ("workspaces", "homes"):
            assert os.listdir(gateway.data_dir / place) == [session.session_id]
        assert session.turn("[[SH rm b]]").ok
        assert forked(app, session).turn("and on").turn_index == 4


def remembering(caps: dict[str, Any]) -> dict[str, Any]:
    return scripted(env={"FAKE_AGENT_CAPS": json.dumps(caps)})


@pytest.fixture(scope="module")
def remembers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose agents keep their conversations, or do not."""
    agents = {"forks": remembering(FORKS), "resumes": remembering(RESUMES)}
    gateway = Gateway(tmp_path_factory.mktemp("remembers"), agents=agents).start()
    yield gateway
    assert gateway.stop() == 0
    gateway.close()


@pytest.mark.guarantee
@pytest.mark.parametrize(("agent", "how"), [("forks", "native"), ("resumes", "native"), ("fake", "replayed")])
def test_the_fork_s_agent_knows_what_was_said(remembers: Gateway, agent: str, how: str) -> None:
    with remembers.app(f"app of {agent}") as app:
        session = app.create_session(agent=agent, permissions="allow")
        session.turn("the word is swordfish")
        other = forked(app, session)
        asked = "[[RECALL]]" if how == "native" else "[[HANDED]]"
        assert "swordfish" in other.turn(asked).text()
        assert starts(app, other) == ["new", how]
        other.turn("only the fork hears this")
        assert "only the fork" not in session.turn(asked).text()
        session.close()
        other.close()


def test_the_fork_s_agent_is_woken_with_the_fork_s_own_conversation(remembers: Gateway) -> None:
    with remembers.app("app that wakes") as app:
        session = app.create_session(agent="forks", permissions="allow")
        session.turn("the word is swordfish")
        other = forked(app, session)
        other.turn("only the fork hears this")
        assert ask(app, "POST", f"/sessions/{other.session_id}/turn", {"prompt": "[[KILL9]]"}).status == 502
        recalled = other.turn("[[RECALL]]").text()
        assert "swordfish" in recalled
        assert "only the fork" in recalled
        assert len(remembers.agent_log.of(other.session_id, "session/fork")) == 1
        assert starts(app, other) == ["new", "native", "native"]
        session.close()
        other.close()


def test_no_login_is_copied(new_gateway: NewGateway, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".fake").mkdir(parents=True)
    (home / ".fake/login.json").write_text('{"token": "of the user"}')
    agents = {"mine": {**remembering(RESUMES), "login_files": ["~/.fake/login.json"]}}
    gateway = new_gateway(agents=agents, env={"HOME": str(home)}).start()
    with gateway.app() as app:
        session = app.create_session(agent="mine", permissions="allow")
        session.turn("[[SH echo note > ~/note]]")
        homes = gateway.data_dir / "homes"
        assert (homes / session.session_id / ".fake/login.json").exists()
        other = forked(app, session)
        assert (homes / other.session_id / "note").read_text() == "note\n"
        assert not (homes / other.session_id / ".fake/login.json").exists()
        assert (homes / other.session_id).stat().st_uid == OWNER
        other.turn("[[SH cat ~/.fake/login.json]]")


def test_a_long_log_is_copied_whole_and_others_go_on(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    session.turn("[[FLOOD 20000]]")
    with app.session(agent="fake") as neighbour:
        forking = pool.submit(fork, app, session)
        while not forking.done():
            neighbour.turn("hello")
        other = app.attach_session(forking.result().body["session_id"])
        assert ask(app, "GET", f"/sessions/{other.session_id}/turns/1").body["status"] == "done"
        assert len(events(app, other)) == len(events(app, session))


SLOW_DISK = """
import os, runpy, time
def copy_file_range(source, target, size, *at, quick=os.copy_file_range):
    time.sleep(0.02)
    return quick(source, target, 4096, *at)
os.copy_file_range = copy_file_range
runpy.run_module("clawdforge", run_name="__main__", alter_sys=True)
"""


def begun(gateway: Gateway, app: Forge, session: Session, pool: ThreadPoolExecutor) -> Future[Answer]:
    """A fork that takes a hundred seconds, and has begun."""
    (Path(session.cwd) / "large").write_bytes(b"x" * 20_000_000)
    forking = pool.submit(fork, app, session)
    copies = "workspaces/*/large"
    until(lambda: len(list(gateway.data_dir.glob(copies))) == 2, "the copy to begin")
    return forking


@pytest.mark.guarantee
def test_a_fork_that_a_kill_cut_off_leaves_nothing(new_gateway: NewGateway, pool: ThreadPoolExecutor) -> None:
    gateway = new_gateway(program=("-c", SLOW_DISK), settings={"reap_interval_secs": 0.05}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        session.turn("first")
        cut = begun(gateway, app, session, pool)
        turn = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "x"})
        assert turn.problem() == (409, "turn_in_progress")
        gateway.kill()
        assert cut.exception() is not None
    gateway.start()
    workspaces = gateway.data_dir / "workspaces"
    until(lambda: os.listdir(workspaces) == [session.session_id], "what was copied to be removed")
    with Forge(base_url=gateway.url, token=app._config.token) as again:
        assert len(again.list_sessions()["sessions"]) == 1
        assert again.attach_session(session.session_id).turn("and on").turn_index == 2


def test_a_disk_that_becomes_full_leaves_nothing(new_gateway: NewGateway) -> None:
    full = SLOW_DISK.replace("    time.sleep(0.02)\n", '    raise OSError(28, "No space left on device")\n')
    gateway = new_gateway(program=("-c", full)).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        session.turn("[[WRITE a.txt one]]")
        assert fork(app, session).problem() == (507, "storage_full")
        assert len(app.list_sessions()["sessions"]) == 1
        for place in ("workspaces", "homes"):
            assert os.listdir(gateway.data_dir / place) == [session.session_id]
        assert session.turn("and on").turn_index == 2


def test_a_gateway_that_stops_ends_a_fork_and_leaves_nothing(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(program=("-c", SLOW_DISK), settings={"drain_timeout_secs": 0.2}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        session.turn("first")
        cut = begun(gateway, app, session, pool)
        assert gateway.stop() == 0
        assert cut.result().problem() == (503, "shutting_down")
    for place in ("workspaces", "homes"):
        assert os.listdir(gateway.data_dir / place) == [session.session_id]


def test_a_caller_that_hangs_up_does_not_stop_a_fork(app: Forge, session: Session, gateway: Gateway) -> None:
    connection = connect(app.base_url)
    send(connection, "POST", f"/sessions/{session.session_id}/fork", token=app._config.token, body={})
    connection.close()
    until(lambda: len(app.list_sessions()["sessions"]) == 2, "the fork")


def test_a_source_that_is_closed_meanwhile_is_copied_all_the_same(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    quick = SLOW_DISK.replace("0.02", "0.0001")
    gateway = new_gateway(program=("-c", quick), settings={"session_hard_ttl_secs": 1, "reap_interval_secs": 0.05})
    with gateway.start().app() as app:
        session = app.create_session(agent="fake", permissions="allow")
        session.turn("first")
        forking = begun(gateway, app, session, pool)
        session.close()
        other = app.attach_session(forking.result().body["session_id"])
        assert (workspace(app, other) / "large").stat().st_size == 20_000_000
        until(lambda: ask(app, "GET", f"/sessions/{session.session_id}").status == 404, "the source to be removed")
        assert other.turn("and on").turn_index == 2
