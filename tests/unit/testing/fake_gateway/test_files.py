"""Uploads and workspaces of a fake gateway: in memory, and both ways."""

from __future__ import annotations

import pytest

from clawdforge.testing import FakeGateway, Prompt, SentFile, remove, write
from harness.caller import Caller

FORM = "multipart/form-data; boundary=b"


def _upload(call: Caller, name: str, content: bytes) -> str:
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    token = call("POST", "/files", head + content + b"\r\n--b--\r\n", Content_Type=FORM).body["file_token"]
    assert isinstance(token, str)
    return token


def test_an_upload_reaches_the_prompt_byte_for_byte(gateway: FakeGateway, call: Caller) -> None:
    content = bytes(range(256)) + b"\r\n--a\r\n\r\n-- --b--\r\n--"
    token = _upload(call, "a.bin", content)
    session = call.session()
    call.turn(session, files=[token, token])
    (prompt,) = gateway.prompts
    assert prompt.files == (SentFile("a.bin", content), SentFile("a (2).bin", content))
    assert gateway.uploads == [SentFile("a.bin", content)]
    assert call("GET", f"{session}/files/a%20(2).bin").raw == content
    assert call.turn(session, files=[token, "ff_none"]).problem() == (404, "not_found")
    assert sorted(gateway.workspace(prompt.session_id)) == ["a (2).bin", "a.bin"]


def test_a_body_may_come_in_chunks(gateway: FakeGateway, call: Caller) -> None:
    session = call.session()
    headers = {"Authorization": f"Bearer {gateway.token}"}
    call.connection.request("PUT", f"{session}/files/a", iter([b"one", b"two"]), headers, encode_chunked=True)
    assert call.receive().body["size"] == 6
    assert gateway.workspace(session.removeprefix("/sessions/")) == {"a": b"onetwo"}


@pytest.mark.parametrize(
    ("body", "kind", "problem"),
    [
        (b"--b\r\n\r\n", FORM, (400, "bad_request")),
        (b"--b--\r\n", FORM, (422, "invalid")),
        (b"x", "text/plain", (415, "unsupported_media_type")),
    ],
)
def test_a_form_that_is_none_is_refused(call: Caller, body: bytes, kind: str, problem: tuple[int, str]) -> None:
    assert call("POST", "/files", body, Content_Type=kind).problem() == problem


def test_a_workspace_is_seen_from_both_sides(gateway: FakeGateway, call: Caller) -> None:
    @gateway.on_prompt
    def reads(prompt: Prompt) -> str:
        prompt.workspace["out/of.txt"] = b"of the agent"
        return prompt.workspace["in.txt"].decode()

    session = call.session()
    gateway.workspace(session.removeprefix("/sessions/"))["in.txt"] = b"of the test"
    assert call.turn(session).body["events"][0]["content"] == "of the test"
    assert call("GET", f"{session}/files/out/of.txt").raw == b"of the agent"
    changed = call("GET", f"{session}/diff").body["files"]
    assert [(each["path"], each["change"]) for each in changed] == [("out/of.txt", "added")]


def test_what_a_turn_wrote_is_a_tool_call_and_a_diff(gateway: FakeGateway, call: Caller) -> None:
    session = call.session()
    gateway.answers(write("notes.txt", "one\ntwo\n"), write("gone.txt", "x"), write("raw", b"\x00\xff"))
    call.turn(session)
    gateway.answers(write("notes.txt", "one\nTWO"), remove("gone.txt"), "done")
    events = call.turn(session).body["events"]
    assert [(each["type"], each.get("kind")) for each in events] == [
        ("tool_call", "edit"),
        ("tool_call", "delete"),
        ("text", None),
    ]
    diff = call("GET", f"{session}/diff").body
    told = {each["path"]: each for each in diff["files"]}
    assert diff["turn_index"] == 2 and {each: told[each]["change"] for each in told} == {
        "gone.txt": "deleted",
        "notes.txt": "modified",
    }
    assert told["notes.txt"]["patch"] == (
        "diff --git a/notes.txt b/notes.txt\n--- a/notes.txt\n+++ b/notes.txt\n"
        "@@ -1,2 +1,2 @@\n one\n-two\n+TWO\n\\ No newline at end of file\n"
    )
    first = {each["path"]: each for each in call("GET", f"{session}/diff?turn=1").body["files"]}
    assert first["raw"]["binary"] is True and first["raw"]["patch"] is None


def test_a_file_is_fetched_in_parts_and_by_its_version(call: Caller) -> None:
    session = call.session()
    put = call("PUT", f"{session}/files/a/b.txt", b"hello").body
    assert put["created"] is True
    file = f"{session}/files/a/b.txt"
    assert call("GET", file, Range="bytes=1-3").raw == b"ell"
    assert call("GET", file, Range="bytes=3-").raw == b"lo"
    assert call("GET", file, If_None_Match=put["etag"]).status == 304
    assert call("PUT", file, b"x", If_Match='"old"').problem() == (412, "precondition_failed")
    listed = call("GET", f"{session}/files?recursive=true&limit=1").body
    assert [each["path"] for each in listed["files"]] == ["a"]
    rest = call("GET", f"{session}/files?recursive=true&cursor={listed['next_cursor']}").body
    assert [each["path"] for each in rest["files"]] == ["a/b.txt"]
