"""One entry of a workspace in which anything may be planted: nothing outside is read, changed or removed."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from clawdforge.server.workspaces import entries, openat2
from clawdforge.server.workspaces.entries import Condition
from clawdforge.wire.problems import Problem
from harness.leases import held
from harness.swapping import swapping

OWNER = 64_001 if os.geteuid() == 0 else os.geteuid()
ANY = Condition()
NO_SUCH_CALL = 9_999
SECRET = "of somebody else"
ROUNDS = 300


@pytest.fixture(params=["kernel", "steps"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With openat2, and with a kernel that answers that it has none."""
    if request.param == "steps":
        monkeypatch.setattr(openat2, "_NUMBER", NO_SUCH_CALL)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace"
    path.mkdir()
    os.chown(path, OWNER, OWNER)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "file").write_text(SECRET)
    return folder


@pytest.fixture
def staged(tmp_path: Path) -> Callable[[bytes], Path]:
    """Makes files that are to be put in place."""

    def make(content: bytes) -> Path:
        path = tmp_path / "staged"
        path.write_bytes(content)
        return path

    return make


def fetched(workspace: Path, path: str) -> bytes:
    file = entries.open_file(workspace, path)
    try:
        return os.pread(file.fd, file.size + 1, 0)
    finally:
        os.close(file.fd)


def refused(code: str, work: Callable[[], object]) -> str:
    with pytest.raises(Problem) as caught:
        work()
    assert caught.value.code == code
    return caught.value.detail


def untouched(elsewhere: Path) -> bool:
    return {each.name: each.read_text() for each in elsewhere.iterdir()} == {"file": SECRET}


def test_a_file_is_read_and_its_version_is_another_one_with_each_change(workspace: Path) -> None:
    path = workspace / "a" / "file"
    path.parent.mkdir()
    path.write_text("first")
    file = entries.open_file(workspace, "a/file")
    with closing(os.fdopen(file.fd, "rb")) as opened:
        assert opened.read() == b"first"
        assert (file.size, file.modified_at) == (5, int(path.stat().st_mtime))
        path.write_text("other")
        os.utime(path, ns=(0, 0))
        assert entries.version_of(os.fstat(file.fd)) != file.version


def plant(workspace: Path, elsewhere: Path) -> None:
    (workspace / "to_file").symlink_to(elsewhere / "file")
    (workspace / "to_folder").symlink_to(elsewhere)
    (workspace / "up").symlink_to("..")
    (workspace / "circle").symlink_to("circle")
    (workspace / "magic").symlink_to(f"/proc/self/cwd{elsewhere}")
    (workspace / "absolute").symlink_to("/")
    (workspace / "folder").mkdir()
    (workspace / "folder" / "out").symlink_to("../../elsewhere")
    os.mkfifo(workspace / "pipe")


OUT = ["to_folder/file", "up/elsewhere/file", "folder/out/file", "magic/file", "absolute/etc/passwd", "circle/x"]


@pytest.mark.parametrize("path", OUT)
def test_no_link_on_the_way_is_followed(
    workspace: Path, elsewhere: Path, staged: Callable[[bytes], Path], path: str
) -> None:
    plant(workspace, elsewhere)
    refused("not_found", lambda: fetched(workspace, path))
    refused("not_found", lambda: entries.remove(workspace, path, ANY, recursive=True))
    refused("invalid", lambda: entries.place(workspace, path, staged(b"planted"), ANY))
    assert untouched(elsewhere)


@pytest.mark.parametrize("path", ["../elsewhere/file", "folder/../../elsewhere/file", "", "/etc/passwd", "./x"])
def test_a_path_that_does_not_lead_below_is_a_mistake_of_ours(workspace: Path, elsewhere: Path, path: str) -> None:
    plant(workspace, elsewhere)
    with pytest.raises(ValueError):
        fetched(workspace, path)


@pytest.mark.parametrize(("path", "kind"), [("to_file", "symlink"), ("folder", "directory"), ("pipe", "other")])
def test_what_is_no_file_is_not_opened(workspace: Path, elsewhere: Path, path: str, kind: str) -> None:
    plant(workspace, elsewhere)
    assert kind in refused("invalid", lambda: fetched(workspace, path))


def test_a_socket_is_not_opened(workspace: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(workspace / "socket"))
        assert "other" in refused("invalid", lambda: fetched(workspace, "socket"))


def test_a_hard_link_to_a_file_of_another_user_is_not_read() -> None:
    """Made by hand: whether it can be made at all is the kernel's matter (fs.protected_hardlinks)."""
    alone = os.stat_result((stat.S_IFREG | 0o600, 1, 1, 1, 0, 0, 5, 0, 0, 0))
    linked = os.stat_result((stat.S_IFREG | 0o600, 1, 1, 2, 0, 0, 5, 0, 0, 0))
    entries.check_readable(alone, owner=64_001)
    entries.check_readable(linked, owner=0)
    assert "another name" in refused("invalid", lambda: entries.check_readable(linked, owner=64_001))


def test_a_hard_link_is_replaced_and_removed_by_its_name_alone(
    workspace: Path, elsewhere: Path, staged: Callable[[bytes], Path]
) -> None:
    for work in (
        lambda: entries.place(workspace, "linked", staged(b"new"), ANY),
        lambda: entries.remove(workspace, "linked", ANY, recursive=False),
    ):
        (workspace / "linked").unlink(missing_ok=True)
        os.link(elsewhere / "file", workspace / "linked")
        work()
        assert untouched(elsewhere)


def test_what_is_put_is_there_whole_and_belongs_to_the_agent_with_all_that_was_made_for_it(
    workspace: Path, staged: Callable[[bytes], Path]
) -> None:
    unplaced = staged(b"text")
    placed = entries.place(workspace, "a/b/file", unplaced, ANY)
    assert not unplaced.exists()
    assert (placed.size, placed.created) == (4, True)
    assert fetched(workspace, "a/b/file") == b"text"
    made = [workspace / each for each in ("a", "a/b", "a/b/file")]
    assert {each.stat().st_uid for each in made} == {OWNER}
    assert [stat.S_IMODE(each.stat().st_mode) for each in made] == [0o755, 0o755, 0o644]
    assert entries.version_of((workspace / "a/b/file").stat()) == placed.version


def test_a_file_that_is_replaced_leaves_its_mode_and_nothing_else(
    workspace: Path, staged: Callable[[bytes], Path]
) -> None:
    (workspace / "run.sh").write_text("old")
    (workspace / "run.sh").chmod(0o4755)
    with (workspace / "run.sh").open() as old:
        placed = entries.place(workspace, "run.sh", staged(b"new"), ANY)
        assert (placed.created, old.read()) == (False, "old")
    assert stat.S_IMODE((workspace / "run.sh").stat().st_mode) == 0o755


@pytest.mark.parametrize("what", ["to_file", "circle", "pipe"])
def test_what_stands_in_a_file_s_place_is_replaced_and_not_followed(
    workspace: Path, elsewhere: Path, staged: Callable[[bytes], Path], what: str
) -> None:
    plant(workspace, elsewhere)
    assert not entries.place(workspace, what, staged(b"new"), ANY).created
    assert fetched(workspace, what) == b"new"
    assert untouched(elsewhere)


def test_a_directory_is_never_replaced_and_nothing_is_made_beside_it(
    workspace: Path, staged: Callable[[bytes], Path]
) -> None:
    (workspace / "folder").mkdir()
    (workspace / "file").write_text("text")
    unplaced = staged(b"new")
    refused("invalid", lambda: entries.place(workspace, "folder", unplaced, ANY))
    refused("invalid", lambda: entries.place(workspace, "file/below", unplaced, ANY))
    assert unplaced.exists()
    assert sorted(os.listdir(workspace)) == ["file", "folder"]


def test_directories_that_were_made_for_nothing_are_gone_again(
    workspace: Path, staged: Callable[[bytes], Path]
) -> None:
    (workspace / "there").mkdir()
    only_if_there = Condition(match=("*",))
    refused(
        "precondition_failed",
        lambda: entries.place(workspace, "there/a/b/file", staged(b"new"), only_if_there),
    )
    assert os.listdir(workspace / "there") == []


def test_conditions_hold_of_what_is_there(workspace: Path, staged: Callable[[bytes], Path]) -> None:
    only_new = Condition(none_match=("*",))
    first = entries.place(workspace, "file", staged(b"first"), only_new)
    refused("precondition_failed", lambda: entries.place(workspace, "file", staged(b"again"), only_new))
    this = Condition(match=(first.version, "another"))
    second = entries.place(workspace, "file", staged(b"second"), this)
    refused("precondition_failed", lambda: entries.place(workspace, "file", staged(b"third"), this))
    refused("precondition_failed", lambda: entries.remove(workspace, "file", this, recursive=False))
    assert fetched(workspace, "file") == b"second"
    entries.remove(workspace, "file", Condition(match=(second.version,)), recursive=False)
    assert os.listdir(workspace) == []


@pytest.mark.parametrize("attempt", range(20))
def test_of_many_that_make_a_file_one_does(workspace: Path, tmp_path: Path, attempt: int) -> None:
    made = []
    begin = threading.Barrier(8)

    def make(number: int) -> None:
        unplaced = tmp_path / f"staged{number}"
        unplaced.write_text(str(number))
        begin.wait()
        try:
            entries.place(workspace, "lock", unplaced, Condition(none_match=("*",)))
        except Problem as problem:
            assert problem.code == "precondition_failed"
        else:
            made.append(number)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert fetched(workspace, "lock") == str(*made).encode()


def test_a_file_of_another_file_system_is_put_in_place_too(workspace: Path) -> None:
    unplaced = Path("/dev/shm") / f"staged-{os.getpid()}"
    unplaced.write_bytes(b"x" * 100_000)
    assert unplaced.stat().st_dev != workspace.stat().st_dev
    placed = entries.place(workspace, "a/file", unplaced, ANY)
    assert (placed.size, unplaced.exists()) == (100_000, False)
    assert os.listdir(workspace / "a") == ["file"]
    assert (workspace / "a/file").stat().st_uid == OWNER


def test_a_directory_is_removed_where_that_is_asked_for(workspace: Path, elsewhere: Path) -> None:
    plant(workspace, elsewhere)
    refused("invalid", lambda: entries.remove(workspace, "folder", ANY, recursive=False))
    entries.remove(workspace, "folder", ANY, recursive=True)
    (workspace / "empty").mkdir()
    entries.remove(workspace, "empty", ANY, recursive=False)
    for each in ("to_file", "to_folder", "up", "circle", "magic", "absolute", "pipe"):
        entries.remove(workspace, each, ANY, recursive=True)
    assert os.listdir(workspace) == []
    assert untouched(elsewhere)
    refused("not_found", lambda: entries.remove(workspace, "folder", ANY, recursive=True))


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o500])
def test_what_an_agent_has_shut_can_be_read_written_and_removed(
    workspace: Path, staged: Callable[[bytes], Path], mode: int
) -> None:
    def shut() -> None:
        for each in ("a/b/file", "a/b", "a", "."):
            (workspace / each).chmod(mode)

    entries.place(workspace, "a/b/file", staged(b"text"), ANY)
    shut()
    assert fetched(workspace, "a/b/file") == b"text"
    shut()
    entries.place(workspace, "a/b/file", staged(b"new"), ANY)
    shut()
    entries.remove(workspace, "a", ANY, recursive=True)
    assert os.listdir(workspace) == []


def test_a_workspace_that_is_no_more_holds_nothing(tmp_path: Path, staged: Callable[[bytes], Path]) -> None:
    gone = tmp_path / "gone"
    refused("not_found", lambda: fetched(gone, "file"))
    refused("not_found", lambda: entries.place(gone, "file", staged(b"new"), ANY))
    refused("not_found", lambda: entries.remove(gone, "file", ANY, recursive=True))


@pytest.fixture
def swapped(workspace: Path, elsewhere: Path) -> Iterator[None]:
    (workspace / "folder").mkdir()
    (workspace / "folder" / "file").write_text("own")
    (workspace / "link").symlink_to(elsewhere)
    with swapping(workspace / "folder", workspace / "link"):
        yield


@pytest.mark.usefixtures("swapped")
def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(workspace: Path, elsewhere: Path) -> None:
    seen = set()
    for _ in range(ROUNDS):
        try:
            seen.add(fetched(workspace, "folder/file"))
        except Problem as problem:
            assert problem.code == "not_found"
    assert seen <= {b"own"}
    assert untouched(elsewhere)


@pytest.mark.usefixtures("swapped")
def test_nothing_is_put_or_removed_by_way_of_a_link_that_comes_meanwhile(
    workspace: Path, elsewhere: Path, staged: Callable[[bytes], Path]
) -> None:
    for number in range(ROUNDS):
        for work in (
            lambda: entries.place(workspace, f"folder/{number}/file", staged(b"new"), ANY),  # noqa: B023
            lambda: entries.remove(workspace, f"folder/{number}", ANY, recursive=True),  # noqa: B023
            lambda: entries.remove(workspace, "folder/file", ANY, recursive=True),
        ):
            try:
                work()
            except Problem as problem:
                assert problem.code in ("not_found", "invalid")
    assert untouched(elsewhere)


def test_a_file_that_a_program_keeps_to_itself_is_not_waited_for(workspace: Path) -> None:
    (workspace / "file").write_text("text")
    with held(workspace / "file"), pytest.raises(Problem) as caught:
        entries.open_file(workspace, "file")
    assert caught.value.code == "overloaded"
