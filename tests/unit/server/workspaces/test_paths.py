from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clawdforge.server.workspaces import paths, removal
from clawdforge.wire.problems import Problem


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return paths.make_workspace(tmp_path, "sess_1")


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    source = tmp_path / "blob"
    source.write_bytes(b"content" * 1000)
    source.chmod(0o600)
    return source


def lay(root: Path, source: Path, name: str, go_on: Callable[[], None] = lambda: None) -> Path:
    with source.open("rb") as file:
        return paths.lay(root, file.fileno(), name, go_on)


# --- places -------------------------------------------------------------------------------------------------


def test_a_workspace_is_made_private_and_once(tmp_path: Path) -> None:
    path = paths.make_workspace(tmp_path, "sess_1")
    assert path == paths.workspace_of(tmp_path, "sess_1") == tmp_path / "workspaces" / "sess_1"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o700, 0o700]
    with pytest.raises(FileExistsError):
        paths.make_workspace(tmp_path, "sess_1")


@pytest.mark.parametrize("session_id", ["", ".", "..", "../x", "a/b", "a\0", "a\n", "x" * 200, "é"])
def test_an_id_that_could_lead_elsewhere_is_refused(tmp_path: Path, session_id: str) -> None:
    for use in (paths.workspace_of, paths.make_workspace, paths.remove_session):
        with pytest.raises(ValueError, match="session id"):
            use(tmp_path, session_id)
    assert os.listdir(tmp_path) == []


# --- inside -------------------------------------------------------------------------------------------------


def test_paths_inside_are_made_real(root: Path) -> None:
    (root / "dir").mkdir()
    (root / "link").symlink_to("dir")
    (root / "absolute").symlink_to(root / "dir")
    expected = {
        ".": root,
        "": root,
        "new.txt": root / "new.txt",
        "dir/../new.txt": root / "new.txt",
        "link/deep/new.txt": root / "dir" / "deep" / "new.txt",
        str(root / "absolute" / "a"): root / "dir" / "a",
        str(root): root,
    }
    assert {path: paths.inside(root, path) for path in expected} == expected


@pytest.mark.parametrize(
    "path",
    ["..", "../", "../sess_2/a", "/etc/passwd", "/", "dir/../../a", "out/a", "out", "up/../a", "a\0b", "\ud800",
     "circle", "circle/a", "hop/a"],
)  # fmt: skip
def test_paths_outside_are_none(root: Path, path: str) -> None:
    (root.parent / "sess_2").mkdir()
    (root / "dir").mkdir()
    (root / "out").symlink_to("/etc")
    (root / "up").symlink_to("dir/../..")
    (root / "circle").symlink_to("circle2")
    (root / "circle2").symlink_to("circle")
    (root / "hop").symlink_to("hop2")
    (root / "hop2").symlink_to(root.parent / "sess_2")
    assert paths.inside(root, path) is None


def test_a_neighbour_whose_name_begins_alike_is_outside(root: Path) -> None:
    assert paths.inside(root, str(root) + "0/a") is None


def test_a_workspace_that_is_reached_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(tmp_path / "workspaces")
    assert paths.inside(tmp_path / "way" / "sess_1", "a") == root / "a"
    assert paths.inside(root, str(tmp_path / "way" / "sess_1" / "a")) == root / "a"
    assert not paths.protected(tmp_path / "way" / "sess_1", root / "a")


def test_everything_is_inside_of_the_root_directory() -> None:
    assert paths.inside(Path("/"), "etc") == Path("/etc")


# --- protected ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_protected"),
    [
        (".claude/settings.json", True), (".git", True), ("a/b/.GIT/hooks/x", True), (".Codex", True),
        ("x/.gemini/y", True), ("new/.claude", True), ("link/settings.json", True), ("git/.gitignore", False),
        ("claude", False), (".github/a", False), (".", False), ("a.git/config", False),
    ],
)  # fmt: skip
def test_places_that_arm_an_agent_are_protected(root: Path, path: str, is_protected: bool) -> None:
    (root / ".claude").mkdir()
    (root / "link").symlink_to(".claude")
    real = paths.inside(root, path)
    assert real is not None
    assert paths.protected(root, real) is is_protected


def test_a_protected_name_above_the_root_does_not_count(tmp_path: Path) -> None:
    root = tmp_path / ".git" / "workspaces" / "s"
    root.mkdir(parents=True)
    assert not paths.protected(root, root / "a")


# --- lay ----------------------------------------------------------------------------------------------------


def test_a_file_is_laid_whole_and_readable(root: Path, blob: Path) -> None:
    laid = lay(root, blob, "../a.txt")
    assert laid == root / "a.txt"
    assert laid.read_bytes() == blob.read_bytes()
    assert stat.S_IMODE(laid.stat().st_mode) == 0o644
    laid.write_text("changed")
    assert blob.read_bytes() == b"content" * 1000


def test_whatever_has_the_name_is_left_alone(root: Path, blob: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("not yours")
    (root / "a.txt").symlink_to(victim)
    (root / "a (2).txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "a (3).txt")
    os.link(victim, root / "a (4).txt")
    (root / "a (5).txt").mkdir()
    (root / "a (6).txt").write_text("mine")
    assert lay(root, blob, "a.txt").name == "a (7).txt"
    assert victim.read_text() == "not yours"
    assert not (tmp_path / "nowhere").exists()
    assert (root / "a (6).txt").read_text() == "mine"


def test_names_that_are_twins_to_a_person_are_one_name(root: Path, blob: Path) -> None:
    assert [lay(root, blob, name).name for name in ("e\u0301", "é")] == ["é", "é (2)"]


def test_when_every_name_is_taken(root: Path, blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "NAMES_TRIED", 3)
    for _ in range(3):
        lay(root, blob, "a")
    with pytest.raises(FileExistsError):
        lay(root, blob, "a")


def test_a_workspace_that_became_a_link_is_not_followed(root: Path, blob: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root.rmdir()
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        lay(root, blob, "a")
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("refused", [errno.ENOSYS, errno.EXDEV])
def test_where_the_kernel_cannot_copy_a_range(
    root: Path, blob: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert lay(root, blob, "a").read_bytes() == blob.read_bytes()


def test_a_copy_that_fails_leaves_nothing(root: Path, blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="full"):
        lay(root, blob, "a")
    assert os.listdir(root) == []


def test_a_copy_that_is_called_off_leaves_nothing(root: Path, blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def until_there_is_half() -> None:
        seen.extend(path.stat().st_size for path in root.iterdir())
        if seen[-1] > 3000:
            raise KeyboardInterrupt

    monkeypatch.setattr(paths, "COPY_BYTES", 1000)
    with pytest.raises(KeyboardInterrupt):
        lay(root, blob, "a", until_there_is_half)
    assert seen == [0, 1000, 2000, 3000, 4000]
    assert os.listdir(root) == []


def test_what_was_laid_can_be_taken_back_whatever_became_of_it(root: Path, blob: Path, tmp_path: Path) -> None:
    kept, gone, linked, directory = (lay(root, blob, "a") for _ in range(4))
    gone.unlink()
    linked.unlink()
    linked.symlink_to(blob)
    directory.unlink()
    directory.mkdir()
    for path in (gone, linked, directory):
        paths.take_back(path)
    assert blob.exists()
    assert sorted(root.iterdir()) == [kept, directory]
    paths.take_back(kept)
    assert not kept.exists()
    root.rename(tmp_path / "elsewhere")
    root.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "a").write_text("")
    paths.take_back(kept)
    assert (tmp_path / "elsewhere" / "a").exists()


def test_an_agent_that_plants_links_all_the_time_gains_nothing(root: Path, blob: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("not yours")
    victim.chmod(0o600)
    stop = threading.Event()

    def plant() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            name = root / f"planted{number % 5}"
            name.unlink(missing_ok=True)
            name.symlink_to(victim)
            name.replace(root / ("a.txt" if number % 2 else "a (2).txt"))

    planting = threading.Thread(target=plant)
    planting.start()
    try:
        for _ in range(300):
            lay(root, blob, "a.txt").unlink(missing_ok=True)
    finally:
        stop.set()
        planting.join()
    assert victim.read_text() == "not yours"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


# --- removal ------------------------------------------------------------------------------------------------


def test_a_workspace_is_removed_and_nothing_that_it_points_to(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "dir").mkdir(parents=True)
    (outside / "file").write_text("stays")
    (root / "to-dir").symlink_to(outside)
    (root / "to-file").symlink_to(outside / "file")
    os.link(outside / "file", root / "hard")
    os.mkfifo(root / "fifo")
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "to-dir").symlink_to(outside / "dir")
    (root / os.fsdecode(b"\xff\xfe")).mkdir()
    (root / "1.removed" / "2.removed").mkdir(parents=True)
    (root / "2.removed").write_text("")
    paths.remove_session(tmp_path, "sess_1")
    assert not root.exists()
    assert (outside / "file").read_text() == "stays"
    assert (outside / "dir").is_dir()


def test_a_workspace_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    paths.remove_session(tmp_path, "sess_1")
    (tmp_path / "workspaces").mkdir()
    paths.remove_session(tmp_path, "sess_1")


def test_a_link_in_the_place_of_a_workspace_goes_and_its_target_stays(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    root.rmdir()
    root.symlink_to(tmp_path / "outside")
    paths.remove_session(tmp_path, "sess_1")
    assert not root.is_symlink()
    assert (tmp_path / "outside").is_dir()


def test_a_tree_far_deeper_than_a_path_can_be_long(root: Path, tmp_path: Path) -> None:
    fd = os.open(root, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("a directory with a rather long name", dir_fd=fd)
        below = os.open("a directory with a rather long name", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    paths.remove_session(tmp_path, "sess_1")
    assert not root.exists()


def test_directories_that_nobody_may_read_or_write(root: Path, tmp_path: Path) -> None:
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "a" / "b" / "file").write_text("")
    for each in (root / "a" / "b" / "c", root / "a" / "b", root / "a", root):
        each.chmod(0)
    paths.remove_session(tmp_path, "sess_1")
    assert not root.exists()


def test_more_than_the_limit_is_left_to_another_call(root: Path, tmp_path: Path) -> None:
    for number in range(30):
        (root / f"d{number}").mkdir()
        (root / f"d{number}" / "file").write_text("")
    with pytest.raises(OSError, match="more than"):
        removal.remove(root, entry_limit=40)
    assert 0 < len(os.listdir(root)) < 30
    removal.remove(root, entry_limit=60)
    assert not root.exists()


@pytest.fixture
def agent_uid() -> int:
    """Who agents are: another user, where there can be one."""
    return 64_001 if os.geteuid() == 0 else os.geteuid()


def test_the_directories_of_a_session_are_its_agent_s_and_those_above_can_be_passed(
    tmp_path: Path, agent_uid: int
) -> None:
    path = paths.make_workspace(tmp_path, "sess_1", agent_uid)
    paths.make_own(paths.home_of(tmp_path, "sess_1"), agent_uid)
    for each in (path, paths.home_of(tmp_path, "sess_1")):
        assert (each.stat().st_uid, stat.S_IMODE(each.stat().st_mode)) == (agent_uid, 0o700)
        assert (each.parent.stat().st_uid, stat.S_IMODE(each.parent.stat().st_mode)) == (os.geteuid(), 0o711)


def test_what_is_laid_belongs_to_whom_the_workspace_belongs(tmp_path: Path, agent_uid: int) -> None:
    root = paths.make_workspace(tmp_path, "sess_1", agent_uid)
    source = tmp_path / "source"
    source.write_text("text")
    with source.open("rb") as file:
        laid = paths.lay(root, file.fileno(), "name.txt", lambda: None)
    assert (laid.stat().st_uid, laid.stat().st_gid) == (root.stat().st_uid, root.stat().st_gid)


def test_all_directories_of_a_session_go_together(tmp_path: Path) -> None:
    for session in ("sess_1", "sess_2"):
        paths.make_workspace(tmp_path, session)
        for place in (paths.home_of, paths.tmp_of, paths.snapshots_of):
            paths.make_own(place(tmp_path, session), None)
    (tmp_path / "homes" / "not an id").mkdir()
    assert paths.session_ids(tmp_path) == {"sess_1", "sess_2"}
    paths.remove_session(tmp_path, "sess_1")
    assert not list(tmp_path.glob("*/sess_1"))
    assert len(list(tmp_path.glob("*/sess_2"))) == 4
    assert paths.session_ids(tmp_path) == {"sess_2"}
    assert paths.session_ids(tmp_path / "nowhere") == set()


# --- paths from outside ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw", [b"a", b"a/b.txt", b"...", b"-", b" ", b"a\\b", b"C:", b"\xff/\xfe", "é".encode(), b"n" * 255, b"a\n"]
)
def test_a_path_is_kept_to_the_byte(raw: bytes) -> None:
    assert os.fsencode(paths.relative(raw)) == raw


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        *(
            (each, "invalid")
            for each in (b"", b"/", b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a/.", b"../a")
        ),
        *((each, "invalid") for each in (b"n" * 256, b"/".join([b"n" * 255] * 17))),
        (b"a\0", "bad_request"),
    ],
)
def test_a_path_that_leads_elsewhere_or_nowhere_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(Problem) as caught:
        paths.relative(raw)
    assert caught.value.code == code


def test_the_longest_path_is_one_that_the_kernel_takes() -> None:
    longest = b"/".join([b"n" * 127] * 32)
    assert len(longest) == paths.PATH_LIMIT_BYTES
    assert paths.relative(longest)


@pytest.mark.parametrize("path", ["a/b.txt", ".hidden", "é", "a:b", "con", "a b", "日本", "\U0001f600"])
def test_a_name_that_everybody_can_read_is_made(path: str) -> None:
    paths.check_new(path)


@pytest.mark.parametrize(
    "path", ["a\\b", "a\nb", "\x1b[m", "a\x7f", "a\u2028b", "a\u202eb/c", os.fsdecode(b"\xff"), "\u200f"]
)
def test_a_name_that_means_something_else_to_others_is_not_made(path: str) -> None:
    with pytest.raises(Problem) as caught:
        paths.check_new(path)
    assert caught.value.code == "invalid"
