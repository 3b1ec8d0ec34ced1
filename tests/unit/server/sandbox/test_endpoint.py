"""Base URLs of models, as people write them."""

from __future__ import annotations

import pytest

from clawdforge.server.sandbox.endpoint import Endpoint


@pytest.mark.parametrize(
    ("base_url", "endpoint", "behind_door"),
    [
        (
            "https://api.example",
            Endpoint("api.example", 443, True, "api.example", ""),
            "http://127.0.0.1:4180",
        ),
        (
            "https://api.example:8443/v1/",
            Endpoint("api.example", 8443, True, "api.example:8443", "/v1"),
            "http://127.0.0.1:4180/v1",
        ),
        (
            "http://[::1]:9/a/b",
            Endpoint("::1", 9, False, "[::1]:9", "/a/b"),
            "http://127.0.0.1:4180/a/b",
        ),
    ],
)
def test_a_base_url_names_an_endpoint(base_url: str, endpoint: Endpoint, behind_door: str) -> None:
    assert Endpoint.at(base_url) == endpoint
    assert endpoint.behind_door == behind_door


@pytest.mark.parametrize(
    "base_url",
    [
        *("", "api.example", "/v1", "https://", "ftp://api.example", "unix:/run/model", "https://api.example:x"),
        *("https://user:secret@api.example", "https://api.example?key=secret", "https://a b", "https://[::1"),
    ],
)
def test_what_is_none_is_refused_and_not_repeated(base_url: str) -> None:
    with pytest.raises(ValueError, match="base URL") as caught:
        Endpoint.at(base_url)
    assert "secret" not in str(caught.value)
