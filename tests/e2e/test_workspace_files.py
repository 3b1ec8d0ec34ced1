"""The workspace as data: what an app lists, fetches, puts and removes, and that it never leaves the workspace."""

from __future__ import annotations

import hashlib
import http.client
import os
import resource
import stat
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from clawdforge import Forge, Session
from harness.agents import NewGateway
from harness.files import Files
from harness.gateway import Gateway, until
from harness.http import Answer, ask, call, receive
from harness.swapping import swapping

MIB = 1024 * 1024
ENDLESS_BYTES = 1 << 39  # of holes: it takes no room, and nobody reads it to its end
NEVER = "sess_" + "0" * 32
SECRET = b"of somebody else"
OWNER = 64_001 if os.geteuid() == 0 else os.geteuid()
COMPOSED = unicodedata.normalize("NFC", "réport")
DECOMPOSED = unicodedata.normalize("NFD", "réport")
MAIMED = [
    *("/../x", "/a/../../x", "/%2e%2e/x", "/.%2E/x", "/..%2fx", "/%2e%2e%2f%2e%2e%2fetc/passwd", "/a/%2e/x", "/."),
    *("//etc/passwd", "/%2fetc%2fpasswd", "/", "/a/", "/a//b", "/" + "n" * 256, "/" + "/".join(["d" * 200] * 21)),
]
NO_LISTS = [
    *("?limit=0", "?limit=10001", "?limit=many", "?recursive=1", "?unknown=1", "?path=a&path=b"),
    *("?path=..", "?path=a/../..", "?path=/etc", "?path=a/", "?path=" + "n" * 256),
    *(
        "?cursor=",
        "?cursor=%21",
        "?cursor=Li4",
        "?cursor=L2V0Yw",
        "?path=a&cursor=Yg",
        "?cursor=" + "A" * 9999,
    ),
]
PARTS: list[tuple[str, int, str | None, bytes | None]] = [
    ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
    ("bytes=7-", 206, "bytes 7-9/10", b"789"),
    ("bytes=-3", 206, "bytes 7-9/10", b"789"),
    ("bytes=-99", 206, "bytes 0-9/10", b"0123456789"),
    ("bytes=9-99", 206, "bytes 9-9/10", b"9"),
    ("bytes=10-", 416, "bytes */10", None),
    ("bytes=-0", 416, "bytes */10", None),
    ("bytes=0-1,3-4", 200, None, b"0123456789"),
    ("bytes=4-2", 200, None, b"0123456789"),
    ("bytes=-", 200, None, b"0123456789"),
    ("lines=1-2", 200, None, b"0123456789"),
    ("bytes=" + "9" * 30 + "-", 200, None, b"0123456789"),
]


@pytest.fixture
def session(app: Forge) -> Iterator[Session]:
    with app.session(agent="fake", permissions="allow") as session:
        yield session


@pytest.fixture
def files(app: Forge, session: Session) -> Files:
    return Files(app, session.session_id)


@pytest.fixture
def prize(tmp_path: Path) -> Path:
    """A directory that nobody must reach by way of a workspace."""
    folder = tmp_path / "prize"
    folder.mkdir(mode=0o755)
    (folder / "file").write_bytes(SECRET)
    return folder


def untouched(prize: Path) -> bool:
    return {each.name: each.read_bytes() for each in prize.iterdir()} == {"file": SECRET}


def left_in(gateway: Gateway) -> list[str]:
    """What lies where files are that still come in."""
    return os.listdir(gateway.data_dir / "blobs" / "tmp")


def open_files(gateway: Gateway) -> list[str]:
    """Files of workspaces that the gateway holds open."""
    found = []
    for each in Path(f"/proc/{gateway.pid}/fd").iterdir():
        try:
            target = os.readlink(each)
        except FileNotFoundError:
            continue
        if "/workspaces/" in target:
            found.append(target)
    return found


def is_cut_off(response: http.client.HTTPResponse) -> bool:
    """Whether an answer ends before its length is there."""
    try:
        while response.read(MIB):
            pass
    except (http.client.HTTPException, ConnectionError):
        return True
    return bool(response.length)


# --- what is promised of each call --------------------------------------------------------------------------


def test_what_an_app_puts_its_agent_reads_and_what_the_agent_writes_the_app_fetches(
    files: Files, session: Session
) -> None:
    put = files.put("/docs/a/in.txt", b"from the app\n")
    assert put == {
        "ok": True,
        "path": "docs/a/in.txt",
        "size": 13,
        "sha256": hashlib.sha256(b"from the app\n").hexdigest(),
        "created": True,
        "etag": put["etag"],
    }
    session.turn("[[SH cat docs/a/in.txt > docs/a/out.txt; echo more >> docs/a/in.txt]]")
    assert files.get("/docs/a/out.txt") == b"from the app\n"
    assert files.get("/docs/a/in.txt") == b"from the app\nmore\n"
    again = files.put("/docs/a/in.txt", b"")
    assert (again["created"], again["size"]) == (False, 0)
    assert files.get("/docs/a/in.txt") == b""
    assert files.call("DELETE", "/docs/a/in.txt").body == {"ok": True, "path": "docs/a/in.txt"}
    assert files.call("GET", "/docs/a/in.txt").problem() == (404, "not_found")
    assert files.call("DELETE", "/docs/a/in.txt").problem() == (404, "not_found")


def test_what_is_put_is_the_agent_s_own(files: Files, session: Session) -> None:
    files.put("/a/b/file", b"x")
    made = [Path(session.cwd, each).stat() for each in ("a", "a/b", "a/b/file")]
    assert {each.st_uid for each in made} == {OWNER}
    assert [stat.S_IMODE(each.st_mode) for each in made] == [0o755, 0o755, 0o644]
    Path(session.cwd, "a/b/file").chmod(0o755)
    files.put("/a/b/file", b"#!/bin/sh")
    assert stat.S_IMODE(Path(session.cwd, "a/b/file").stat().st_mode) == 0o755


def test_a_file_is_told_as_one_that_nobody_shows_or_runs(files: Files) -> None:
    put = files.put("/page.html", b"<script>")
    answer = files.call("GET", "/page.html")
    wanted = {
        "content-type": "application/octet-stream",
        "content-length": "8",
        "x-content-type-options": "nosniff",
        "content-disposition": "attachment; filename*=UTF-8''page.html",
        "cache-control": "private, no-cache",
        "etag": put["etag"],
    }
    assert {name: answer.headers[name] for name in wanted} == wanted
    head = files.call("HEAD", "/page.html")
    assert (head.status, head.raw) == (200, b"")
    assert {name: head.headers[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense", ""],
)
def test_a_body_is_the_file_whatever_it_says_to_be(files: Files, media_type: str) -> None:
    content = b'{"a": 1, "a": NaN, \xff\x00'
    files.put("/file", content, {"Content-Type": media_type})
    assert files.get("/file") == content


def test_a_body_that_is_not_the_file_as_it_is_is_refused(files: Files) -> None:
    packed = files.call("PUT", "/file", b"x", {"Content-Encoding": "gzip"})
    assert packed.problem() == (415, "unsupported_media_type")
    part = files.call("PUT", "/file", b"x", {"Content-Range": "bytes 0-0/2"})
    assert part.problem() == (400, "bad_request")
    assert files.listed() == []


def test_a_body_may_come_in_chunks(files: Files) -> None:
    pieces = [bytes([number]) * 100_000 for number in range(40)]
    assert files.call("PUT", "/file", iter(pieces)).body["size"] == 4_000_000
    assert files.get("/file") == b"".join(pieces)


def test_a_part_of_a_file(files: Files) -> None:
    files.put("/file", b"0123456789")
    for asked, status, told, part in PARTS:
        answer = files.call("GET", "/file", headers={"Range": asked})
        assert (answer.status, answer.headers.get("content-range")) == (status, told), asked
        if part is None:
            assert answer.problem() == (416, "range_not_satisfiable")
        else:
            assert answer.raw == part, asked


def test_a_part_of_another_version_is_not_one(files: Files) -> None:
    etag = files.put("/file", b"0123456789")["etag"]
    headers = {"Range": "bytes=5-", "If-Range": etag}
    assert files.call("GET", "/file", headers=headers).raw == b"56789"
    files.put("/file", b"abcdefghij")
    answer = files.call("GET", "/file", headers=headers)
    assert (answer.status, answer.raw) == (200, b"abcdefghij")


def test_a_file_that_is_known_is_not_sent_again(files: Files, session: Session) -> None:
    etag = files.put("/file", b"one")["etag"]
    for tags in (etag, f'"a,b", {etag}', f'""\t,W/{etag} , "c"', "*", " * "):
        answer = files.call("GET", "/file", headers={"If-None-Match": tags})
        assert (answer.status, answer.raw, answer.headers["etag"]) == (304, b"", etag)
    session.turn("[[SH printf two > file; touch -d @0 file]]")
    assert files.call("GET", "/file", headers={"If-None-Match": etag}).raw == b"two"
    assert files.call("GET", "/file", headers={"If-Match": etag}).problem() == (412, "precondition_failed")
    for tags in ("nonsense", "", f"{etag},", f"*, {etag}", f"{etag} {etag}", "W/", '"a"b"'):
        assert files.call("GET", "/file", headers={"If-Match": tags}).problem() == (400, "bad_request")
    etag = files.put("/file", b"three")["etag"]
    assert files.call("GET", "/file", headers={"If-Match": etag}).raw == b"three"
    assert files.call("GET", "/file", headers={"If-Match": f"W/{etag}"}).problem() == (412, "precondition_failed")


def test_a_file_is_made_or_replaced_only_where_that_is_meant(files: Files) -> None:
    first = files.put("/file", b"first", {"If-None-Match": "*"})
    refused = [
        files.call("PUT", "/file", b"again", {"If-None-Match": "*"}),
        files.call("PUT", "/file", b"again", {"If-Match": '"another"'}),
        files.call("PUT", "/new/file", b"again", {"If-Match": "*"}),
        files.call("DELETE", "/file", headers={"If-Match": '"another"'}),
    ]
    assert {answer.problem() for answer in refused} == {(412, "precondition_failed")}
    assert files.paths() == ["file"]
    second = files.put("/file", b"second", {"If-Match": first["etag"]})
    assert files.call("DELETE", "/file", headers={"If-Match": second["etag"]}).status == 200


def test_of_many_at_once_one_makes_a_file(files: Files, pool: ThreadPoolExecutor) -> None:
    answers = list(
        pool.map(lambda each: files.call("PUT", "/lock", bytes([each]), {"If-None-Match": "*"}), range(16))
    )
    (made,) = [number for number, answer in enumerate(answers) if answer.status == 200]
    assert files.get("/lock") == bytes([made])
    assert {answer.problem() for answer in answers if answer.status != 200} == {(412, "precondition_failed")}


def test_of_many_at_once_one_replaces_a_version(files: Files, pool: ThreadPoolExecutor) -> None:
    asked = {"If-Match": files.put("/file", b"first")["etag"]}
    calls = [("PUT", bytes([each])) for each in range(12)] + [("DELETE", None)] * 4
    answers = list(pool.map(lambda each: files.call(each[0], "/file", each[1], asked), calls))
    assert [answer.status for answer in answers].count(200) == 1
    refused = {answer.problem() for answer in answers if answer.status != 200}
    assert refused <= {(412, "precondition_failed"), (404, "not_found")}


def test_a_directory_is_removed_with_what_it_holds_where_that_is_meant(files: Files) -> None:
    for path in ("/a/b/c", "/a/d", "/e"):
        files.put(path, b"x")
    assert files.call("DELETE", "/a").problem() == (422, "invalid")
    assert files.call("DELETE", "/a?recursive=perhaps").problem() == (422, "invalid")
    assert files.paths() == ["a", "a/b", "a/b/c", "a/d", "e"]
    assert files.call("DELETE", "/a/b?recursive=true").status == 200
    assert files.call("DELETE", "/a/d").status == 200
    assert files.call("DELETE", "/a").body == {"ok": True, "path": "a"}
    assert files.paths() == ["e"]
    assert files.call("DELETE", "?recursive=true").problem() == (405, "method_not_allowed")


def test_what_arms_an_agent_is_listed_and_put_like_all_else(files: Files) -> None:
    for path in ("/.claude/settings.json", "/.git/config", "/node_modules/a/index.js"):
        files.put(path, b"{}")
    assert files.paths("") == [".claude", ".git", "node_modules"]


# --- lists --------------------------------------------------------------------------------------------------


def test_a_list_tells_what_lies_there(files: Files, session: Session) -> None:
    before = int(time.time())
    session.turn("[[SH mkdir d; printf 12345 > d/f; ln -s /etc/passwd link; mkfifo pipe]]")
    rows = files.listed()
    assert all(before <= row.pop("modified_at") <= time.time() for row in rows)
    assert rows == [
        {"path": "d", "type": "directory", "size": None},
        {"path": "d/f", "type": "file", "size": 5},
        {"path": "link", "type": "symlink", "size": None},
        {"path": "pipe", "type": "other", "size": None},
    ]
    assert files.paths("") == ["d", "link", "pipe"]
    assert files.paths("?path=d") == ["d/f"]


def test_a_list_comes_in_pages(files: Files, session: Session) -> None:
    for number in range(25):
        folder = Path(session.cwd, f"d{number % 5}")
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").touch()
    whole = files.paths()
    assert whole == sorted(whole, key=lambda path: path.split("/"))
    assert len(whole) == 30
    found: list[str] = []
    query = "?recursive=true&limit=7"
    while True:
        page = files.call("GET", query).body
        found += [each["path"] for each in page["files"]]
        if page["next_cursor"] is None:
            break
        assert page["count"] == 7
        query = f"?recursive=true&limit=7&cursor={page['next_cursor']}"
    assert found == whole


def test_a_list_of_nonsense_is_refused(files: Files) -> None:
    files.put("/a/b", b"x")
    for query in NO_LISTS:
        assert files.call("GET", query).problem() == (422, "invalid"), query


def test_a_list_of_what_is_no_directory_is_refused(files: Files, session: Session) -> None:
    files.put("/file", b"x")
    session.turn("[[SH ln -s /etc link]]")
    assert files.call("GET", "?path=none").problem() == (404, "not_found")
    assert files.call("GET", "?path=file").problem() == (422, "invalid")
    assert files.call("GET", "?path=link").problem() == (422, "invalid")
    assert files.call("GET", "?path=link/ssl").problem() == (404, "not_found")
    assert files.call("GET", "?path=%ff").problem() == (400, "bad_request")
    assert files.call("GET", "?path=a%00b").problem() == (400, "bad_request")


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_path_that_is_none_is_refused(files: Files, method: str) -> None:
    files.put("/a/kept", b"x")
    body = b"planted" if method == "PUT" else None
    for path in MAIMED:
        assert files.call(method, path, body).problem() == (422, "invalid"), path
    assert files.paths() == ["a", "a/kept"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_path_that_holds_nul_is_refused(files: Files, method: str) -> None:
    body = b"planted" if method == "PUT" else None
    assert files.call(method, "/file%00.txt", body).problem() == (400, "bad_request")


@pytest.mark.parametrize("name", ["a%0d%0ab", "a%0a", "a%1b%5b31m", "a%5cb", "..%5c..%5cx", "%ff", "a%e2%80%aeb"])
def test_a_name_that_would_mean_something_else_to_others_is_not_made(files: Files, name: str) -> None:
    assert files.call("PUT", f"/{name}", b"x").problem() == (422, "invalid")
    assert files.call("PUT", f"/{name}/below", b"x").problem() == (422, "invalid")
    assert files.listed() == []


@pytest.mark.parametrize(
    "raw",
    [
        b"a\r\nb",
        b"a\n",
        b"\x1b[31m",
        b"a\\b",
        b"..\\..\\x",
        b"\xff\xfe",
        b"a\xe2\x80\xaeb",
        b'";filename=x',
        b" ",
        b"%41",
    ],
    ids=repr,
)
def test_whatever_an_agent_calls_a_file_it_is_listed_fetched_and_removed(
    files: Files, session: Session, raw: bytes
) -> None:
    folder = os.fsencode(session.cwd) + b"/in"
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/" + raw)).write_bytes(raw)
    (row,) = files.listed("?path=in")
    assert row["path"] == "in/" + raw.decode(errors="replace")
    path = row.get("encoded_path", quote(row["path"]))
    answer = files.call("GET", f"/{path}")
    assert (answer.status, answer.raw) == (200, raw)
    disposition = answer.headers["content-disposition"]
    assert disposition.isascii()
    assert disposition.isprintable()
    assert set(disposition.removeprefix("attachment; filename*=UTF-8''")).isdisjoint('"; =\\/')
    assert files.call("DELETE", f"/{path}").status == 200
    assert files.listed("?path=in") == []


@pytest.mark.parametrize(
    "name", [COMPOSED, DECOMPOSED, "a:b", "con", "AUX.txt", ".hidden", "trailing.", "n" * 255, "ü" * 127, "<>|?*"]
)
def test_a_name_is_kept_to_the_byte(files: Files, session: Session, name: str) -> None:
    files.put(f"/{quote(name)}", b"x")
    assert os.listdir(os.fsencode(session.cwd)) == [name.encode()]
    assert files.paths() == [name]
    assert files.get(f"/{quote(name)}") == b"x"


def test_twins_of_composed_and_decomposed_letters_are_two_files(files: Files) -> None:
    for name in (COMPOSED, DECOMPOSED):
        files.put(f"/{quote(name)}", name.encode())
    assert len(files.listed()) == 2
    assert [files.get(f"/{quote(name)}") for name in (COMPOSED, DECOMPOSED)] == [
        COMPOSED.encode(),
        DECOMPOSED.encode(),
    ]


@pytest.mark.parametrize(
    ("name", "suggested"), [("con", "_con"), ("a:b", "a_b"), ("..a", "a"), ('a"b', "a_b"), ("é.txt", "é.txt")]
)
def test_a_name_is_suggested_for_saving_as_every_system_takes_it(files: Files, name: str, suggested: str) -> None:
    files.put(f"/{quote(name)}", b"x")
    answer = files.call("HEAD", f"/{quote(name)}")
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote(suggested, safe='')}"


def test_a_slash_is_one_however_it_is_written(files: Files) -> None:
    files.put("/a%2Fb", b"x")
    assert files.paths() == ["a", "a/b"]
    assert files.get("/a/b") == b"x"


# --- what an agent plants -----------------------------------------------------------------------------------


PLANTED = "ln -s {0}/file file; ln -s {0} folder; ln -s / root; ln -s .. up; ln -s loop loop; mkfifo pipe"


@pytest.mark.guarantee
@pytest.mark.parametrize(
    "path", ["/file", "/folder/file", "/root/etc/passwd", "/up/up", "/loop", "/pipe", "/loop/x"]
)
def test_nothing_is_reached_by_way_of_what_an_agent_planted(
    files: Files, session: Session, prize: Path, path: str
) -> None:
    session.turn(f"[[SH {PLANTED.format(prize)}]]")
    assert files.call("GET", path).problem() in ((404, "not_found"), (422, "invalid"))
    answers = [files.call("PUT", path, b"planted"), files.call("DELETE", f"{path}?recursive=true")]
    assert untouched(prize)
    assert Path("/etc/passwd").exists()
    below = path.count("/") > 1
    wanted = [(422, "invalid"), (404, "not_found")] if below else [200, 200]
    assert [each.problem() if each.status != 200 else 200 for each in answers] == wanted


def test_a_socket_and_a_device_are_told_and_never_opened(files: Files, session: Session) -> None:
    session.turn("""[[SH python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")']]""")
    os.mknod(f"{session.cwd}/null", stat.S_IFCHR | 0o666, os.makedev(0, 0))  # the one that needs no root
    assert [(row["path"], row["type"]) for row in files.listed()] == [("null", "other"), ("socket", "other")]
    for path in ("/null", "/socket"):
        assert files.call("GET", path).problem() == (422, "invalid")
        files.put(path, b"a file now")
        assert files.get(path) == b"a file now"


def test_a_hard_link_to_a_file_of_another_user_is_not_read_nor_written(
    files: Files, session: Session, prize: Path
) -> None:
    os.link(prize / "file", Path(session.cwd, "linked"))
    foreign = (prize / "file").stat().st_uid != Path(session.cwd).stat().st_uid
    assert files.call("GET", "/linked").status == (422 if foreign else 200)
    files.put("/linked", b"new")
    assert untouched(prize)
    assert files.get("/linked") == b"new"


@pytest.mark.guarantee
def test_a_directory_that_becomes_a_link_and_back_leads_nowhere(
    files: Files, session: Session, prize: Path
) -> None:
    session.turn("[[SH mkdir folder; echo own > folder/file]]")
    Path(session.cwd, "link").symlink_to(prize)
    calls = [
        ("GET", "/folder/file", None),
        ("PUT", "/folder/new", b"new"),
        ("DELETE", "/folder/new", None),
        ("GET", "?recursive=true", None),
    ]
    seen = set()
    with swapping(Path(session.cwd, "folder"), Path(session.cwd, "link")):
        for _ in range(100):
            for method, path, body in calls:
                answer = files.call(method, path, body)
                if answer.status != 200:
                    assert answer.problem() in ((404, "not_found"), (422, "invalid")), answer.raw
                elif path == "/folder/file":
                    seen.add(answer.raw)
    assert seen <= {b"own\n"}
    assert untouched(prize)


# --- large files, and calls that break off ------------------------------------------------------------------


def test_a_file_of_any_size_is_streamed(gateway: Gateway, files: Files, session: Session) -> None:
    size = 256 * MIB
    with Path(session.cwd, "big").open("wb") as big:
        big.truncate(size)
    before = gateway.forget_peak()
    with closing(files.open("GET", "/big")) as connection:
        response = connection.getresponse()
        buffer, received = bytearray(MIB), 0
        while count := response.readinto(buffer):
            received += count
    assert received == size
    assert gateway.peak_bytes() - before < 24 * MIB


def test_a_body_of_any_size_is_streamed(gateway: Gateway, files: Files) -> None:
    before = gateway.forget_peak()
    piece = os.urandom(MIB)
    assert files.call("PUT", "/big", iter([piece] * 100)).body["size"] == 100 * MIB
    assert gateway.peak_bytes() - before < 32 * MIB


@pytest.mark.parametrize("change", ["written", "shorter", "longer"])
def test_a_file_that_changes_while_it_is_sent_is_not_passed_for_whole(
    files: Files, session: Session, change: str
) -> None:
    path = Path(session.cwd, "big")
    path.write_bytes(b"x" * (64 * MIB))
    with closing(files.open("GET", "/big")) as connection:
        response = connection.getresponse()
        assert len(response.read(1000)) == 1000
        if change == "written":
            with path.open("r+b") as file:
                file.write(b"y")
        else:
            os.truncate(path, (10 if change == "shorter" else 65) * MIB)
        assert is_cut_off(response)


def test_a_file_that_is_replaced_while_it_is_sent_is_sent_as_it_was(files: Files) -> None:
    files.put("/big", b"x" * (64 * MIB))
    with closing(files.open("GET", "/big")) as connection:
        response = connection.getresponse()
        begun = response.read(1000)
        replaced = files.put("/big", b"new")
        assert begun == b"x" * 1000
        assert replaced["created"] is False
    assert files.get("/big") == b"new"


def test_a_client_that_hangs_up_leaves_nothing_open(gateway: Gateway, files: Files, session: Session) -> None:
    with Path(session.cwd, "big").open("wb") as big:
        big.truncate(ENDLESS_BYTES)
    for _ in range(5):
        with closing(files.open("GET", "/big")) as connection:
            connection.getresponse().read(1000)
            until(lambda: open_files(gateway) != [], "the file to be open")
    until(lambda: open_files(gateway) == [], f"files to be closed: {open_files(gateway)}")
    for path in ("/big", "/none"):
        files.call("HEAD", path)
    assert open_files(gateway) == []


def test_a_client_that_does_not_read_is_let_go(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"min_body_bytes_per_sec": 1_000_000}).start()
    with gateway.app() as app, app.session(agent="fake") as session:
        with Path(session.cwd, "big").open("wb") as big:
            big.truncate(ENDLESS_BYTES)
        with closing(Files(app, session.session_id).open("GET", "/big")) as connection:
            response = connection.getresponse()
            until(lambda: open_files(gateway) == [], "the file to be closed")
            assert is_cut_off(response)


@pytest.mark.guarantee
def test_a_body_that_breaks_off_leaves_nothing(gateway: Gateway, files: Files) -> None:
    files.put("/file", b"kept")
    for path in ("/file", "/a/b/new"):
        connection = http.client.HTTPConnection(*files.app.base_url.removeprefix("http://").split(":"), timeout=30)
        connection.putrequest("PUT", f"/sessions/{files.session_id}/files{path}")
        connection.putheader("Authorization", f"Bearer {files.app._config.token}")
        connection.putheader("Content-Length", str(10 * MIB))
        connection.endheaders(b"x" * (5 * MIB))
        until(lambda: left_in(gateway) != [], "half of the body to be on the disk")
        connection.close()
        until(lambda: left_in(gateway) == [], "it to be gone again")
    assert files.paths() == ["file"]
    assert files.get("/file") == b"kept"


def test_a_body_that_is_too_large_or_too_slow_leaves_nothing(new_gateway: NewGateway) -> None:
    settings = {"max_upload_bytes": 100_000, "head_timeout_secs": 0.5}
    gateway = new_gateway(settings=settings).start()
    with gateway.app() as app, app.session(agent="fake") as session:
        files = Files(app, session.session_id)
        files.put("/fits", b"x" * 100_000)
        assert files.call("PUT", "/new", b"x" * 100_001).problem() == (413, "too_large")
        assert files.call("PUT", "/new", iter([b"x" * 50_000] * 3)).problem() == (413, "too_large")
        with closing(files.open("PUT", "/new", b"x" * 10, {"Content-Length": "20"})) as connection:
            assert receive(connection).problem() == (408, "request_timeout")
        assert files.paths() == ["fits"]
        assert left_in(gateway) == []


def test_a_gateway_that_is_killed_in_mid_body_leaves_nothing(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        files = Files(app, session.session_id)
        files.put("/file", b"kept")
        with closing(files.open("PUT", "/file", b"x" * (5 * MIB), {"Content-Length": str(10 * MIB)})):
            until(lambda: left_in(gateway) != [], "half of the body to be on the disk")
            gateway.kill()
    gateway.start()
    assert left_in(gateway) == []
    assert {each.name: each.read_bytes() for each in Path(session.cwd).iterdir()} == {"file": b"kept"}


# --- room ---------------------------------------------------------------------------------------------------


def test_a_full_workspace_takes_no_more_and_what_is_removed_makes_room(
    tight_gateway: Gateway, tight_app: Forge
) -> None:
    with tight_app.session(agent="fake", permissions="allow") as session:
        files = Files(tight_app, session.session_id)
        for number in range(3):
            files.put(f"/{number}", b"x" * MIB)
        for body in (b"x" * (2 * MIB), iter([b"x" * MIB] * 2)):
            refused = files.call("PUT", "/a/b/new", body)
            assert refused.problem() == (507, "storage_full")
            assert refused.body["limit"] == "workspace"
            assert "and may hold 4 MiB" in refused.body["detail"]
        assert files.paths() == ["0", "1", "2"]
        assert left_in(tight_gateway) == []
        Path(session.cwd, "much").write_bytes(b"x" * (2 * MIB))
        until(lambda: not tight_gateway.children(), "the agent to be ended for it")
        assert ask(tight_app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "x"}).problem() == (
            507,
            "storage_full",
        )
        assert files.call("DELETE", "/much").status == 200
        assert session.turn("again").ok
        assert files.call("DELETE", "/0").status == 200
        files.put("/a/b/new", b"x" * MIB)


def test_a_body_for_which_there_is_no_room_is_not_waited_for(tight_app: Forge) -> None:
    with tight_app.session(agent="fake") as session:
        files = Files(tight_app, session.session_id)
        with closing(files.open("PUT", "/file", b"", {"Content-Length": str(5 * MIB)})) as connection:
            assert receive(connection).problem() == (507, "storage_full")


def test_bodies_at_once_take_no_more_room_than_there_is(new_gateway: NewGateway, pool: ThreadPoolExecutor) -> None:
    gateway = new_gateway(settings={"workspace_bytes": 8 * MIB}).start()
    with gateway.app() as app, app.session(agent="fake") as session:
        files = Files(app, session.session_id)
        answers = list(pool.map(lambda number: files.call("PUT", f"/{number}", b"x" * MIB), range(16)))
        assert {answer.status for answer in answers} == {200, 507}
        assert 4 <= len(files.paths()) <= 7


def test_a_disk_that_is_full_is_told_and_nothing_is_left(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app, app.session(agent="fake") as session:
        files = Files(app, session.session_id)
        files.put("/file", b"kept")
        limits = (4 * MIB, resource.RLIM_INFINITY)
        psutil.Process(gateway.pid).rlimit(resource.RLIMIT_FSIZE, limits)
        assert files.call("PUT", "/file", b"x" * (8 * MIB)).problem() == (507, "storage_full")
        assert files.call("PUT", "/a/new", iter([b"x" * MIB] * 8)).problem() == (507, "storage_full")
        assert left_in(gateway) == []
        assert files.paths() == ["file"]
        assert files.get("/file") == b"kept"
        psutil.Process(gateway.pid).rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        files.put("/file", b"x" * (8 * MIB))


# --- whose, and when ----------------------------------------------------------------------------------------


def test_a_closed_session_s_files_are_read_and_not_changed(files: Files, session: Session) -> None:
    files.put("/file", b"kept")
    session.close()
    assert files.get("/file") == b"kept"
    assert files.paths() == ["file"]
    assert files.call("PUT", "/file", b"new").problem() == (410, "session_closed")
    assert files.call("DELETE", "/file").problem() == (410, "session_closed")
    assert files.get("/file") == b"kept"


def test_a_session_that_was_removed_has_no_files(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"session_hard_ttl_secs": 1, "reap_interval_secs": 0.1}).start()
    with gateway.app() as app:
        with app.session(agent="fake") as session:
            files = Files(app, session.session_id)
            files.put("/file", b"x")
        until(lambda: files.call("GET").status == 404, "the session to be removed")
        assert files.call("GET", "/file").problem() == (404, "not_found")


def test_files_are_read_and_put_while_a_turn_runs(
    gateway: Gateway, files: Files, session: Session, pool: ThreadPoolExecutor
) -> None:
    prompt = "[[SH until [ -e go ]; do sleep 0.02; done; cat go > gone]]"
    running = pool.submit(session.turn, prompt)
    gateway.until_heard("until [ -e go ]")
    files.put("/going", b"from the app")
    Path(session.cwd, "going").rename(Path(session.cwd, "go"))
    assert running.result().ok
    assert files.get("/gone") == b"from the app"


def test_a_session_that_sleeps_or_lost_its_agent_has_its_files(gateway: Gateway, files: Files) -> None:
    files.put("/file", b"x")
    killed = ask(files.app, "POST", f"/sessions/{files.session_id}/turn", {"prompt": "[[KILL9]]"})
    assert killed.problem() == (502, "agent_failed")
    assert files.get("/file") == b"x"
    files.put("/file", b"y")


def test_a_run_s_files_are_read_by_its_id(app: Forge) -> None:
    run = app.run("[[SH echo made > out.txt]]", agent="fake", permissions="allow")
    files = Files(app, str(run.run_id))
    assert files.paths() == ["out.txt"]
    assert files.get("/out.txt") == b"made\n"
    assert files.call("PUT", "/out.txt", b"x").problem() == (410, "session_closed")


def test_another_app_s_files_are_as_ones_that_never_were(gateway: Gateway, files: Files) -> None:
    files.put("/file", b"x")
    run = files.app.run("hi", agent="fake")

    def told(answer: Answer) -> tuple[int, dict[str, str]]:
        return answer.status, {name: text for name, text in answer.body.items() if name != "request_id"}

    with gateway.app(f"stranger-{time.monotonic_ns()}") as stranger:
        for method, path, body in (
            ("GET", "", None),
            ("GET", "/file", None),
            ("PUT", "/file", b"planted"),
            ("DELETE", "/file", None),
        ):
            answers = [
                told(Files(stranger, which).call(method, path, body))
                for which in (files.session_id, str(run.run_id), NEVER, "nonsense")
            ]
            assert answers == [(404, {"detail": "session not found", "code": "not_found"})] * 4
    assert files.get("/file") == b"x"


def test_nobody_comes_in_without_a_token(gateway: Gateway, files: Files) -> None:
    for method, path in (("GET", ""), ("GET", "/a"), ("PUT", "/a"), ("DELETE", "/a")):
        answer = call(gateway.url, method, f"/sessions/{files.session_id}/files{path}")
        assert answer.problem() == (401, "unauthorized")


def test_a_download_ends_with_its_token(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app("revoked") as app, gateway.admin() as admin:
        session = app.create_session(agent="fake")
        with Path(session.cwd, "big").open("wb") as big:
            big.truncate(ENDLESS_BYTES)
        with closing(Files(app, session.session_id).open("GET", "/big")) as connection:
            response = connection.getresponse()
            response.read(1000)
            admin.revoke_token("revoked")
            until(lambda: open_files(gateway) == [], "the file to be closed")
            assert is_cut_off(response)


def test_calls_that_last_are_counted(tight_gateway: Gateway, tight_app: Forge) -> None:
    with tight_app.session(agent="fake") as session:
        files = Files(tight_app, session.session_id)
        with Path(session.cwd, "big").open("wb") as big:
            big.truncate(256 * MIB)
        files.put("/small", b"x")
        with closing(files.open("GET", "/big")) as connection:
            connection.getresponse().read(1000)
            assert files.call("GET", "/big").problem() == (429, "rate_limited")
            assert files.get("/small") == b"x"
        until(lambda: open_files(tight_gateway) == [], "the file to be closed")
        assert len(files.get("/big")) == 256 * MIB
