"""Uploads: who may name them and for how long, under which names they come to an agent, and what is refused."""

from __future__ import annotations

import base64
import filecmp
import hashlib
import io
import json
import os
import sqlite3
import unicodedata
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

from clawdforge import Forge, ForgeAPIError, Session
from harness import agents
from harness.gateway import Gateway, here, until
from harness.http import Answer, ask, connect, receive
from harness.ledger import Ledger
from harness.shapes import fits

UPLOAD = {"ok": bool, "file_token": str, "ttl_secs": int, "size": int, "name": str, "expires_at": int}
INFO = {
    **{"ok": bool, "file_token": str, "name": str, "size": int, "sha256": str},
    **{"created_at": int, "expires_at": int},
}
LIMIT_BYTES = 100_000
BOUNDARY = "b0undary"
COMPOSED = unicodedata.normalize("NFC", "réport.txt")
DECOMPOSED = unicodedata.normalize("NFD", "réport.txt")


def form(content: bytes, name: str = "a.txt", fields: Mapping[str, str] | None = None) -> bytes:
    """A multipart form whose file bears a name that no header could hold as it is."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in (fields or {}).items()
    ]
    head = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename*=UTF-8''{quote(name, safe='')}"
    )
    return b"".join([*parts, head.encode(), b"\r\n\r\n", content, f"\r\n--{BOUNDARY}--\r\n".encode()])


def head(app: Forge, **more: str) -> dict[str, str]:
    media_type = f"multipart/form-data; boundary={BOUNDARY}"
    return {"Authorization": f"Bearer {app._config.token}", "Content-Type": media_type, **more}


def post(app: Forge, body: bytes) -> Answer:
    connection = connect(app.base_url)
    with closing(connection):
        connection.request("POST", "/files", body, head(app))
        return receive(connection)


def upload(app: Forge, content: bytes = b"content", name: str = "a.txt") -> str:
    answer = post(app, form(content, name))
    assert answer.status == 200, answer.raw
    return str(answer.body["file_token"])


def told(session: Session, *tokens: str) -> list[dict[str, Any]]:
    """What a turn's agent got beside the prompt."""
    blocks = json.loads(session.turn("[[BLOCKS]]", files=list(tokens)).text())
    assert blocks[0] == {"type": "text", "text": "[[BLOCKS]]"}
    return list(blocks[1:])


def path_of(session: Session, uri: str) -> Path:
    """Where a file lies of which an agent was told by the path that it knows."""
    return here(session, unquote(urlsplit(uri).path))


def laid(session: Session, *tokens: str) -> list[Path]:
    """The files that a turn's agent was told of, by a link or by their text."""
    blocks = told(session, *tokens)
    assert len(blocks) == len(tokens)
    paths = [path_of(session, block.get("resource", block)["uri"]) for block in blocks]
    for block, path in zip(blocks, paths, strict=True):
        if block["type"] == "resource":
            assert block["resource"]["text"] == path.read_text()
        else:
            assert block["type"] == "resource_link"
            assert (block["name"], block["size"]) == (path.name, path.stat().st_size)
    return paths


def test_an_upload_tells_what_the_contract_says(app: Forge) -> None:
    answer = post(app, form(b"0123456789", fields={"ttl_secs": "60"}))
    fits(answer.body, UPLOAD)
    assert (answer.body["ttl_secs"], answer.body["size"], answer.body["name"]) == (60, 10, "a.txt")
    assert answer.body["file_token"].startswith("ff_")
    assert post(app, form(b"")).body["ttl_secs"] == 3600
    assert post(app, form(b"", fields={"ttl_secs": "86400"})).body["ttl_secs"] == 86_400


@pytest.mark.parametrize("ttl", ["59", "86401", "abc", "", "0", "-60", "60.0", " 60", "６０", "9" * 400])
def test_a_time_to_live_that_is_none_is_refused(app: Forge, ttl: str) -> None:
    answer = post(app, form(b"x", fields={"ttl_secs": ttl}))
    assert answer.problem() == (422, "invalid")
    assert answer.body["errors"][0]["loc"] == ["ttl_secs"]


def test_an_upload_can_be_looked_at_and_dropped(app: Forge) -> None:
    sent = post(app, form(b"0123456789", "../../a b.txt", fields={"ttl_secs": "60"})).body
    path = f"/files/{sent['file_token']}"
    looked = ask(app, "GET", path)
    assert looked.status == 200
    fits(looked.body, INFO)
    same = ("file_token", "name", "size", "sha256", "expires_at")
    assert {name: looked.body[name] for name in same} == {name: sent[name] for name in same}
    assert looked.body["sha256"] == hashlib.sha256(b"0123456789").hexdigest()
    assert looked.body["expires_at"] - looked.body["created_at"] == 60
    assert ask(app, "DELETE", path).body == {"ok": True, "file_token": sent["file_token"]}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_file_that_is_not_the_app_s_is_one_and_the_same_404(gateway: Gateway, app: Forge, method: str) -> None:
    deleted, mine = upload(app), upload(app)
    assert ask(app, "DELETE", f"/files/{deleted}").status == 200
    with gateway.app(f"stranger-{mine}") as stranger:
        answers = [ask(stranger, method, f"/files/{mine}")]
    for token in (deleted, "ff_unknown", "sess_0", "x" * 10_000, "%2e%2e", "%00", "%FF", "%F0%9F%98%80"):
        answers.append(ask(app, method, f"/files/{token}"))
    for answer in answers:
        assert answer.problem() == (404, "not_found")
        assert answer.body.keys() == {"detail", "code", "request_id"}
        assert answer.body["detail"] == "file not found"
    assert ask(app, "GET", f"/files/{mine}").status == 200


def test_of_equal_bytes_one_may_go(gateway: Gateway, app: Forge) -> None:
    content = f"equal {app._config.token}".encode()
    tokens = [upload(app, content) for _ in range(3)]
    sha256 = hashlib.sha256(content).hexdigest()
    blob = gateway.data_dir / "blobs" / sha256[:2] / sha256
    session = app.create_session(agent="fake")
    for number, token in enumerate(tokens):
        assert laid(session, tokens[-1])[0].read_bytes() == content
        assert blob.exists()
        assert ask(app, "DELETE", f"/files/{token}").status == 200, number
    assert not blob.exists()
    assert sorted(os.listdir(session.cwd)) == ["a (2).txt", "a (3).txt", "a.txt"]


def test_the_agent_is_told_of_files_that_lie_in_its_workspace(app: Forge) -> None:
    session = app.create_session(agent="fake")
    first, second = upload(app, b"first", "notes.md"), upload(app, b"\x00\xff", "data.bin")
    paths = laid(session, first, second)
    assert paths == [Path(session.cwd, "notes.md"), Path(session.cwd, "data.bin")]
    assert [path.read_bytes() for path in paths] == [b"first", b"\x00\xff"]


def test_the_files_of_a_turn_are_the_agent_s_to_read_and_to_change(app: Forge) -> None:
    session = app.create_session(agent="fake", permissions="allow")
    token = upload(app, b"first", "notes.md")
    assert session.turn("[[READ notes.md]][[SH printf ' second' >> notes.md]]", files=[token]).text() == "first"
    assert Path(session.cwd, "notes.md").read_bytes() == b"first second"


def test_an_agent_that_takes_pictures_gets_them_by_what_they_are(app: Forge) -> None:
    picture = b"\xff\xd8\xff\xe0 and so on"
    tokens = [upload(app, picture, "note.txt"), upload(app, b"no picture", "b.png")]
    with app.session(agent="sees") as session:
        named, shown, link = told(session, *tokens)
    with app.session(agent="fake") as blind:
        assert [block["type"] for block in told(blind, *tokens)] == ["resource_link", "resource"]
    lies = Path(session.cwd, "note.txt")
    uri = Path(session.agent_cwd, "note.txt").as_uri()
    assert named == {"type": "text", "text": f"[@note.txt]({uri})"}
    assert (shown["type"], shown["mimeType"], shown["uri"]) == ("image", "image/jpeg", uri)
    assert base64.b64decode(shown["data"]) == lies.read_bytes() == picture
    assert (link["type"], link["name"], link["mimeType"]) == ("resource_link", "b.png", "image/png")


def test_a_turn_of_many_pictures_ends_in_time_though_its_agent_does_not_read(app: Forge) -> None:
    picture = upload(app, b"\xff\xd8\xff".ljust(3_900_000, b"\0"))
    with app.session(agent="sees") as session:
        session.turn("[[DEAF 60]]")
        with pytest.raises(ForgeAPIError) as caught:
            session.turn("look", files=[picture] * 4, timeout_secs=1)
        assert (caught.value.status_code, caught.value.code) == (504, "timeout")
        assert session.turn("again").ok


def test_short_texts_go_with_the_prompt_and_others_by_a_link(app: Forge) -> None:
    session = app.create_session(agent="fake")
    longest, longer = b"x" * 131_072, b"x" * 131_073
    contents = ("€ 𝄞\r\n".encode(), longest, longer, b"\xff", b"a\0b", b"")
    blocks = told(session, *(upload(app, content) for content in contents))
    assert [block["type"] for block in blocks] == ["resource"] * 2 + ["resource_link"] * 4
    assert [block["resource"]["text"].encode() for block in blocks[:2]] == list(contents[:2])
    assert sorted(path.read_bytes() for path in Path(session.cwd).iterdir()) == sorted(contents)


def test_the_log_names_the_files_of_a_turn_and_does_not_hold_them(
    gateway: Gateway, app: Forge, db: Ledger
) -> None:
    session = app.create_session(agent="fake")
    session.turn("hi", files=[upload(app, b"a secret text"), upload(app, b"\0 a secret text")])
    events = db.events(session.session_id)
    [start] = [event["data"] for event in events if event["type"] == "turn_start"]
    assert start == {"prompt": "hi", "files": ["a.txt", "a (2).txt"]}
    assert "a secret text" not in json.dumps(events, default=str)


def test_a_run_gets_its_files_too(app: Forge) -> None:
    blocks = app.run("[[BLOCKS]]", agent="fake", files=[upload(app, b"x", "notes.md")]).result
    assert [block["type"] for block in blocks] == ["text", "resource"]
    assert blocks[1]["resource"]["text"] == "x"


@pytest.mark.guarantee
@pytest.mark.parametrize(
    ("name", "lies_as"),
    [
        ("../x", "x"),
        ("../../../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", "file"),
        ("a\r\nb.txt", "ab.txt"),
        ("a\x1b[31mb\x7f.txt", "a[31mb.txt"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ('a<b>:"|?*.txt', "a_b______.txt"),
        (" .hidden. ", "hidden"),
        ("\u202egpj.exe", "gpj.exe"),
        ("😀" * 75 + ".txt", "😀" * 62 + ".txt"),
        (DECOMPOSED, COMPOSED),
    ],
)
def test_a_hostile_name_lies_in_the_workspace_under_a_clean_one(app: Forge, name: str, lies_as: str) -> None:
    session = app.create_session(agent="fake")
    assert laid(session, upload(app, b"x", name)) == [Path(session.cwd, lies_as)]
    assert os.listdir(session.cwd) == [lies_as]


def test_equal_names_never_overwrite_each_other(app: Forge) -> None:
    session = app.create_session(agent="fake")
    tokens = [upload(app, name.encode(), name) for name in (COMPOSED, DECOMPOSED, "a/" + COMPOSED)]
    paths = laid(session, *tokens)
    assert [path.name for path in paths] == [COMPOSED, "réport (2).txt", "réport (3).txt"]
    assert [path.read_bytes() for path in paths] == [
        name.encode() for name in (COMPOSED, DECOMPOSED, "a/" + COMPOSED)
    ]
    assert laid(session, tokens[0])[0].name == "réport (4).txt"


def refused(app: Forge, session: Session, token: str) -> None:
    """A run and a turn with this token: both are the one 404, and no turn is counted."""
    path = f"/sessions/{session.session_id}"
    before = ask(app, "GET", path).body
    turned = ask(app, "POST", f"{path}/turn", {"prompt": "x", "files": [token]})
    ran = ask(app, "POST", "/run", {"prompt": "x", "agent": "fake", "files": [token]})
    for answer in (turned, ran):
        assert answer.problem() == (404, "not_found")
        assert answer.body["detail"] == "file not found"
    assert ask(app, "GET", path).body == before
    assert os.listdir(before["cwd"]) == []


def test_a_foreign_and_an_unknown_token_are_the_same_404(gateway: Gateway, app: Forge) -> None:
    session = app.create_session(agent="fake")
    with gateway.app(f"other-{session.session_id}") as other:
        foreign = upload(other)
    for token in (foreign, "ff_unknown", "ff_", "", "../../admin-token", "x" * 10_000):
        refused(app, session, token)


def test_one_bad_token_among_good_ones_lays_nothing(app: Forge) -> None:
    session = app.create_session(agent="fake")
    good = upload(app)
    with pytest.raises(ForgeAPIError) as caught:
        session.turn("x", files=[good, "ff_unknown"])
    assert caught.value.status_code == 404
    assert os.listdir(session.cwd) == []
    assert laid(session, good) == [Path(session.cwd, "a.txt")]


def test_an_expired_token_is_the_same_404(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        created, config = app.create_session(agent="fake"), app._config
        token, lasting = upload(app), upload(app, b"other", "b.txt")
    assert gateway.stop() == 0
    with closing(sqlite3.connect(gateway.data_dir / "clawdforge.db")) as connection, connection:
        changed = connection.execute("UPDATE uploads SET expires_at = created_at - 1 WHERE token = ?", (token,))
        assert changed.rowcount == 1
    gateway.start()
    with Forge(base_url=gateway.url, token=config.token) as app:
        session = app.attach_session(created.session_id)
        refused(app, session, token)
        for method in ("GET", "DELETE"):
            answer = ask(app, method, f"/files/{token}")
            assert (*answer.problem(), answer.body["detail"]) == (404, "not_found", "file not found")
        assert laid(session, lasting)[0].name == "b.txt"


def blobs(gateway: Gateway) -> list[Path]:
    return [path for path in (gateway.data_dir / "blobs").rglob("*") if path.is_file()]


def test_what_is_too_large_is_refused_by_its_declared_and_by_its_counted_size(
    new_gateway: agents.NewGateway,
) -> None:
    gateway = new_gateway(settings={"max_upload_bytes": LIMIT_BYTES}).start()
    with gateway.app() as app:
        assert post(app, form(bytes(LIMIT_BYTES))).body["size"] == LIMIT_BYTES
        assert post(app, form(bytes(LIMIT_BYTES + 1))).problem() == (413, "too_large")
        connection = connect(gateway.url)
        with closing(connection):
            chunks = io.BytesIO(form(bytes(LIMIT_BYTES + 1)))  # without a length: sent in chunks
            connection.request("POST", "/files", chunks, head(app), encode_chunked=True)
            assert receive(connection).problem() == (413, "too_large")
        connection = connect(gateway.url)
        with closing(connection):
            connection.putrequest("POST", "/files")
            for name, value in head(app, **{"Content-Length": str(10**15)}).items():
                connection.putheader(name, value)
            connection.endheaders()  # not one byte of the body is needed
            assert receive(connection).problem() == (413, "too_large")
    assert [path.stat().st_size for path in blobs(gateway)] == [LIMIT_BYTES]


def test_neither_an_upload_nor_its_way_to_the_agent_goes_through_memory(
    new_gateway: agents.NewGateway, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(2**20))
    gateway = new_gateway().start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        laid(session, app.upload_file(io.BytesIO(bytes(4 * 2**20))).file_token)  # from here on all is loaded
        before_bytes = gateway.forget_peak()
        token = app.upload_file(large).file_token
        assert gateway.peak_bytes() - before_bytes <= 16 * 2**20
        before_bytes = gateway.forget_peak()
        [path] = laid(session, token)
        assert gateway.peak_bytes() - before_bytes <= 16 * 2**20
        assert filecmp.cmp(path, large, shallow=False)


@pytest.mark.guarantee
def test_an_upload_never_takes_the_place_of_what_the_agent_has_there(app: Forge, tmp_path: Path) -> None:
    session = app.create_session(agent="fake")
    (tmp_path / "victim").write_text("not yours")
    folder = Path(session.cwd)
    (folder / "a.txt").symlink_to(tmp_path / "victim")
    (folder / "a (2).txt").symlink_to(tmp_path / "nowhere")
    (folder / "a (3).txt").mkdir()
    (folder / "a (4).txt").touch()
    paths = laid(session, upload(app), upload(app, b"again"))
    assert [path.name for path in paths] == ["a (5).txt", "a (6).txt"]
    assert (tmp_path / "victim").read_text() == "not yours"
    assert not (tmp_path / "nowhere").exists()


def test_a_client_that_hangs_up_in_mid_upload_leaves_nothing(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        body = form(bytes(3_000_000))
        connection = connect(gateway.url)
        with closing(connection):
            connection.putrequest("POST", "/files")
            for name, value in head(app, **{"Content-Length": str(len(body))}).items():
                connection.putheader(name, value)
            connection.endheaders(body[:2_500_000])
            until(lambda: len(blobs(gateway)) == 1, "the upload to reach the disk")
            [incoming] = blobs(gateway)
            assert incoming.parent == gateway.data_dir / "blobs" / "tmp"
        until(lambda: not blobs(gateway), "what came in to be removed")
        with closing(sqlite3.connect(gateway.data_dir / "clawdforge.db")) as connection:
            assert connection.execute("SELECT count(*) FROM uploads").fetchone() == (0,)
        assert upload(app).startswith("ff_")


def test_what_is_dropped_while_the_same_bytes_come_in_again_is_there_all_the_same(
    new_gateway: agents.NewGateway,
) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app, app.session(agent="fake") as session:
        content = b"x" * 3_000_000
        first, body = upload(app, content), form(content)
        connection = connect(gateway.url)
        with closing(connection):
            connection.putrequest("POST", "/files")
            for name, value in head(app, **{"Content-Length": str(len(body))}).items():
                connection.putheader(name, value)
            connection.endheaders(body[:2_500_000])
            until(lambda: len(blobs(gateway)) == 2, "the upload to reach the disk")
            assert ask(app, "DELETE", f"/files/{first}").status == 200
            connection.send(body[2_500_000:])
            second = receive(connection).body["file_token"]
        assert ask(app, "GET", f"/files/{first}").problem() == (404, "not_found")
        [path] = laid(session, second)
        assert path.read_bytes() == content
