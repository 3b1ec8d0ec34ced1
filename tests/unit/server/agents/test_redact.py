"""Secrets in what agents tell: found however a stream is cut, and nothing else is changed, moved or lost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clawdforge.server.agents import redact
from clawdforge.server.agents.redact import HIDDEN, Redactor
from clawdforge.wire.events import Draft

KEY = "sk-test-0123456789"
LONGER = f"{KEY}-and-more"


def text(content: str, message_id: str = "m", type_: str = "text") -> Draft:
    return Draft(type_, {"content": content, "message_id": message_id})


def told(secrets: Iterable[str], drafts: Iterable[Draft], *, in_a_prompt: bool = True) -> list[Draft]:
    """What a redactor passes on."""
    passed_on: list[Draft] = []
    redactor = Redactor(frozenset(secrets), passed_on.append)
    if in_a_prompt:
        redactor.begin()
    for draft in drafts:
        redactor.take(draft)
    redactor.end()
    return passed_on


def words(drafts: Iterable[Draft]) -> str:
    return "".join(draft.data["content"] for draft in drafts)


def without(secrets: Iterable[str], whole: str) -> str:
    """The same, of a text that is there at once: the longest of those that begin first."""
    return re.sub("|".join(map(re.escape, sorted(secrets, key=len, reverse=True))), HIDDEN, whole)


# Of few letters, so that secrets overlap, repeat and begin one another.
SECRETS = st.sets(st.text("abc", min_size=2, max_size=7), min_size=1, max_size=4)


@st.composite
def streams(draw: st.DrawFn) -> tuple[set[str], list[str]]:
    secrets = draw(SECRETS)
    pieces = st.lists(st.one_of(st.sampled_from(sorted(secrets)), st.text("abcd", max_size=5)), max_size=12)
    whole = "".join(draw(pieces))
    cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=10)))
    return secrets, [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(streams())
def test_however_a_text_is_cut_its_secrets_are_hidden_and_the_rest_is_whole(
    stream: tuple[set[str], list[str]],
) -> None:
    secrets, chunks = stream
    assert words(told(secrets, map(text, chunks))) == without(secrets, "".join(chunks))


@given(streams())
def test_no_more_is_held_back_than_a_secret_s_beginning(stream: tuple[set[str], list[str]]) -> None:
    secrets, chunks = stream
    passed_on: list[Draft] = []
    redactor = Redactor(secrets, passed_on.append)
    redactor.begin()
    for number, chunk in enumerate(chunks, 1):
        redactor.take(text(chunk))
        whole = without(secrets, "".join(chunks[:number]))
        shown = words(passed_on)
        # Of what is whole by now, all is shown but an end that begins a secret, or is one that may be longer.
        held = whole.removeprefix(shown)
        assert whole.startswith(shown)
        assert any(begins(secrets, each) for each in readings(held, secrets))


def readings(held: str, secrets: Iterable[str]) -> set[str]:
    """What may stand behind a text of which some is hidden."""
    found = {held}
    while any(HIDDEN in each for each in found):
        found = {each.replace(HIDDEN, secret, 1) for each in found for secret in secrets}
    return found


def begins(secrets: Iterable[str], held: str) -> bool:
    return any(secret.startswith(held) and secret != held for secret in secrets)


@example([("thinking", "b", "a"), ("text", "a", ""), ("thinking", "b", "-b")])
@given(st.lists(st.tuples(st.sampled_from(["text", "thinking", "plan"]), st.sampled_from("ab"), st.text("ab-"))))
def test_the_order_of_all_events_is_kept(events: Sequence[tuple[str, str, str]]) -> None:
    """Adjacent text of one message may be cut anew; where it has another neighbour it stays."""
    drafts = [text(content, message_id, type_) for type_, message_id, content in events]
    assert joined(told(["a-b"], drafts)) == [
        Draft(each.type, {**each.data, "content": without(["a-b"], each.data["content"])})
        for each in joined(drafts)
    ]


def joined(drafts: Iterable[Draft]) -> list[Draft]:
    whole: list[Draft] = []
    for draft in drafts:
        last = whole[-1] if whole else None
        same = last is not None and last.type == draft.type != "plan"
        if same and last is not None and last.data["message_id"] == draft.data["message_id"]:
            whole[-1] = Draft(draft.type, {**draft.data, "content": last.data["content"] + draft.data["content"]})
        elif draft.data["content"] or draft.type == "plan":
            whole.append(draft)
    return whole


@pytest.mark.parametrize("cut", range(1, len(LONGER)))
def test_a_secret_that_begins_another_does_not_leave_the_other_s_end(cut: int) -> None:
    drafts = told([KEY, LONGER], [text(f"it is {LONGER[:cut]}"), text(f"{LONGER[cut:]}.")])
    assert words(drafts) == f"it is {HIDDEN}."


def test_a_text_that_only_begins_like_a_secret_is_told_in_the_end() -> None:
    assert words(told([KEY], [text("sk-test-01")])) == "sk-test-01"
    assert words(told([KEY, LONGER], [text(f"{LONGER[:-1]}")])) == f"{HIDDEN}{LONGER[len(KEY) : -1]}"


def test_what_comes_next_lets_go_of_what_is_held_back() -> None:
    plan = Draft("plan", {"entries": []})
    drafts = [text("a sk-t"), plan, text("est"), text("b sk-", "other"), text("c", "other", "thinking")]
    assert told([KEY], drafts) == [
        *(text("a "), text("sk-t"), plan, text("est")),
        *(text("b ", "other"), text("sk-", "other"), text("c", "other", "thinking")),
    ]


def test_outside_of_a_prompt_nothing_is_held_back() -> None:
    drafts = [text(f"late {KEY} sk-"), text("test")]
    assert told([KEY], drafts, in_a_prompt=False) == [text(f"late {HIDDEN} sk-"), text("test")]


def test_every_string_of_an_event_is_looked_into() -> None:
    args = {"deep": [{KEY: f"x{KEY}x"}, 7, None, True, "y"], "plain": "z"}
    [found] = told([KEY], [Draft("tool_call", {"id": "1", "title": f"echo {KEY}", "args": args})])
    assert found.data["title"] == f"echo {HIDDEN}"
    assert found.data["args"] == {"deep": [{HIDDEN: f"x{HIDDEN}x"}, 7, None, True, "y"], "plain": "z"}
    assert args["deep"] == [{KEY: f"x{KEY}x"}, 7, None, True, "y"]


def test_what_holds_no_secret_is_passed_on_as_it_is() -> None:
    drafts = [text("nothing here"), Draft("tool_call", {"args": {"a": ["b", {"c": 1}]}})]
    for secrets in ([], [KEY]):
        assert [each.data for each in told(secrets, drafts)] == [each.data for each in drafts]
        data = drafts[1].data
        assert told(secrets, drafts)[1].data is data


LOGIN = b"""{"oauth": {"accessToken": "at-0123456789012345678", "expiresAt": 17, "scopes": ["user:inference"],
    "refresh_tokens":
    ["rt-0123456789012345678"], "subscription": "a-plan-with-a-very-long-name", "token": "short"},
    "OPENAI_API_KEY": null}"""


@pytest.mark.parametrize(
    ("login", "found"),
    [
        (LOGIN, {"at-0123456789012345678", "rt-0123456789012345678"}),
        (b"", set()),
        (b"no JSON, token=0123456789012345678901", set()),
        (b"\xff\xfe\x00", set()),
        (b"[" * 100_000, set()),
        (b"{}", set()),
        (b'"token"', set()),
    ],
    ids=lambda value: "" if isinstance(value, set) else repr(value[:10]),
)
def test_tokens_of_a_login_are_the_long_strings_that_are_named_so(login: bytes, found: set[str]) -> None:
    assert redact.tokens(login) == found
