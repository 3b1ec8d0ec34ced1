from __future__ import annotations

import copy
import pickle

import pytest

import clawdforge
from clawdforge import ForgeAPIError, ForgeAuthError, ForgeError, ForgeProtocolError, ForgeTransportError


def test_one_except_clause_catches_them_all() -> None:
    for error in (ForgeTransportError, ForgeProtocolError, ForgeAPIError, ForgeAuthError):
        assert issubclass(error, ForgeError)
    assert issubclass(ForgeAuthError, ForgeAPIError)


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("cls", [ForgeAPIError, ForgeAuthError])
def test_an_api_error_survives_pickling_and_copying(again: object, cls: type[ForgeAPIError]) -> None:
    error = cls(429, [{"msg": "slow"}], "rate_limited", "req_1", retry_after=5, body={"session_id": "sess_1"})

    same = again(error)  # type: ignore[operator]  # one of the three above

    assert type(same) is cls
    assert vars(same) == vars(error)
    assert str(same) == str(error)
    assert same.session_id == "sess_1"


@pytest.mark.parametrize("cls", [ForgeError, ForgeTransportError, ForgeProtocolError])
def test_the_others_survive_pickling(cls: type[ForgeError]) -> None:
    same = pickle.loads(pickle.dumps(cls("what happened")))

    assert (type(same), str(same)) == (cls, "what happened")


def test_an_app_can_make_one_for_its_own_tests() -> None:
    error = ForgeAPIError(404, "session not found")

    assert (error.code, error.request_id, error.retry_after, error.body) == (None, None, None, {})
    assert str(error) == "HTTP 404: session not found"


def test_a_detail_as_deep_as_python_allows_still_has_a_message() -> None:
    detail: list[object] = []
    for _ in range(100_000):
        detail = [detail]

    assert "HTTP 500" in str(clawdforge.ForgeAPIError(500, {"why": detail}))
