"""Cursors of every kind of nonsense, wherever one is taken: refused with a sentence, or waited for."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from clawdforge import Forge
from clawdforge.wire.sse import MEDIA_TYPE
from harness import http
from harness.http import ask

NONSENSE = [
    *(
        "",
        " ",
        "\t1",
        " 1",
        "1 ",
        "x",
        "-1",
        "+5",
        "1.5",
        "1e3",
        "0x1f",
        "1_0",
        "1,2",
        "null",
        "true",
        "\0",
        "%31",
    ),
    *("٣", "３", "²", str(10**18), str(10**30), "9" * 5000, "../1", "' OR '1'='1", "1\r\nX: y", "�"),
]
REFUSED = {(422, "invalid"), (400, "bad_request")}
LISTS = ["/sessions?limit=5&cursor={}", "/runs?cursor={}", "/sessions/{id}/turns?cursor={}"]


@pytest.mark.guarantee
@pytest.mark.parametrize(
    "path", [*LISTS, "/sessions/{id}/events?after={}", "/sessions/{id}/events?wait=1&after={}"]
)
def test_what_is_no_cursor_is_refused_in_a_query(app: Forge, path: str) -> None:
    session = app.create_session(agent="fake")
    place = path.replace("{id}", session.session_id)
    for each in NONSENSE:
        found = ask(app, "GET", place.format(quote(each, safe="")))
        assert found.problem() in REFUSED, each
    assert session.turn("hi").turn_index == 1


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["0", "-1", "201", "+5", "5.0", "", " ", "x", str(10**30), "٣"])
def test_what_is_no_limit_is_refused(app: Forge, path: str, limit: str) -> None:
    session = app.create_session(agent="fake")
    place, _, _ = path.replace("{id}", session.session_id).partition("?")
    assert ask(app, "GET", f"{place}?limit={quote(limit, safe='')}").problem() == (422, "invalid")


SENDABLE = [each for each in NONSENSE if each.isascii() and each == each.strip() and each.isprintable()]
"""What a header can hold, and what its blanks are not taken from."""


@pytest.mark.guarantee
@pytest.mark.parametrize("value", SENDABLE)
def test_what_is_no_cursor_is_refused_in_the_header(app: Forge, value: str) -> None:
    session = app.create_session(agent="fake")
    head = {"Accept": MEDIA_TYPE, "Last-Event-ID": value}
    place = f"/sessions/{session.session_id}/events"
    found = http.call(app.base_url, "GET", place, token=app._config.token, headers=head)
    assert found.problem() == (422, "invalid")


@pytest.mark.guarantee
@pytest.mark.parametrize("values", [["1", "2"], ["1", "1"], ["", "1"]])
def test_several_headers_are_no_cursor(app: Forge, values: list[str]) -> None:
    session = app.create_session(agent="fake")
    connection = http.connect(app.base_url)
    connection.putrequest("GET", f"/sessions/{session.session_id}/events")
    connection.putheader("Authorization", f"Bearer {app._config.token}")
    connection.putheader("Accept", MEDIA_TYPE)
    for value in values:
        connection.putheader("Last-Event-ID", value)
    connection.endheaders()
    assert http.receive(connection).problem() == (422, "invalid")
    connection.close()


@pytest.mark.parametrize("after", ["0", "00", "1", "000000000000000001", str(10**18 - 1)])
def test_what_is_a_number_is_one_however_it_is_padded_and_however_far_it_leads(app: Forge, after: str) -> None:
    session = app.create_session(agent="fake")
    found = ask(app, "GET", f"/sessions/{session.session_id}/events?after={after}")
    assert found.status == 200
    assert all(event["seq"] > int(after) for event in found.body["events"])
    assert found.body["next_after"] == (found.body["events"][-1]["seq"] if found.body["events"] else int(after))
