from __future__ import annotations

import pytest

from clawdforge.client import _config

TOKEN = "cf_secret-value"


def test_arguments_beat_the_environment_and_the_environment_beats_the_default() -> None:
    environ = {"CLAWDFORGE_URL": "http://from-env:1", "CLAWDFORGE_TOKEN": "cf_env"}

    given = _config.resolve("http://given:2", "cf_given", environ)
    found = _config.resolve(None, None, environ)
    neither = _config.resolve(None, None, {})

    assert (given.base_url, given.token) == ("http://given:2", "cf_given")
    assert (found.base_url, found.token) == ("http://from-env:1", "cf_env")
    assert (neither.base_url, neither.token) == ("http://127.0.0.1:8800", None)


def test_empty_variables_count_as_unset() -> None:
    config = _config.resolve(None, None, {"CLAWDFORGE_URL": "", "CLAWDFORGE_TOKEN": ""})

    assert (config.base_url, config.token) == (_config.DEFAULT_URL, None)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host:8800/", "http://host:8800"),
        ("https://host/forge/", "https://host/forge"),
        (" http://[::1]:8800 ", "http://[::1]:8800"),
    ],
)
def test_a_url_loses_its_last_slash_and_keeps_its_path(url: str, base: str) -> None:
    assert _config.resolve(url, None, {}).base_url == base


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:8800",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://host:port",
        "http://[::1",
        "http://user:hunter2@host",
        "http://host?x=1",
        "http://host#x",
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="the gateway's URL") as caught:
        _config.resolve(url, None, {})

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("token", ["cf_a\nX-Evil: 1", "cf_é", "cf_a b", "cf_\x00", "cf_\ud800"])
def test_a_token_that_no_header_can_carry_is_refused_without_being_quoted(token: str) -> None:
    with pytest.raises(ValueError, match="the token holds characters") as caught:
        _config.resolve(None, token, {})

    assert token not in str(caught.value)


def test_white_space_around_a_token_is_dropped() -> None:
    assert _config.resolve(None, f" {TOKEN}\n", {}).token == TOKEN


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(_config.resolve(None, TOKEN, {}))


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8800", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8800", True),
        ("http://localhost:8800", True),
        ("http://forge.localhost", True),
        ("http://192.168.0.4", False),
        ("http://localhost.example", False),
    ],
)
def test_what_counts_as_loopback(url: str, loopback: bool) -> None:
    assert _config.resolve(url, None, {}).is_loopback is loopback
