from __future__ import annotations

import math
from typing import Any

import pytest

from clawdforge.client import _retry
from clawdforge.client._steps import Fault
from harness.flows import CUT, LATE, REFUSED, reply

pytestmark = pytest.mark.usefixtures("no_collection")
ENDED = {"code": "rate_limited", "stop_reason": "budget_exceeded"}
AGAIN = 0.5


@pytest.mark.parametrize(
    ("answer", "safe", "unsafe"),
    [
        (REFUSED, AGAIN, AGAIN),
        (CUT, AGAIN, None),
        (LATE, AGAIN, None),
        (Fault("no connection in time", sent=False, timed_out=True), AGAIN, AGAIN),
        (reply(status=408), AGAIN, None),
        (reply(status=429, Retry_After="3"), 3.5, None),
        (reply(status=503, Retry_After="0"), AGAIN, None),
        (reply(b"<html>", status=503, Retry_After="1"), 1.5, None),
        (reply(b"[" * 100_000, status=503, Retry_After="1"), 1.5, None),
        (reply(["no"], status=503, Retry_After="1"), 1.5, None),
        (reply(status=429), None, None),
        (reply(status=503, Retry_After="soon"), None, None),
        (reply(status=503, Retry_After="-1"), None, None),
        (reply(status=503, Retry_After="1" * 400), None, None),
        (reply(ENDED, status=429, Retry_After="3"), None, None),
        (reply(status=409, Retry_After="1"), None, None),
        (reply(status=500, Retry_After="1"), None, None),
        (reply(status=502, Retry_After="1"), None, None),
        (reply(status=504, Retry_After="1"), None, None),
        (reply(status=200), None, None),
        (reply(status=302), None, None),
    ],
)
def test_which_calls_are_tried_again(answer: Any, safe: float | None, unsafe: float | None) -> None:
    for is_safe, expected in ((True, safe), (False, unsafe)):
        waits = {"attempt": 0, "retries": 2, "safe": is_safe, "jitter": 0.0}
        assert _retry.wait_s(answer, left_s=100, **waits) == expected
        assert _retry.wait_s(answer, left_s=expected or 0, **waits) is None
        assert _retry.wait_s(answer, left_s=-1, **waits) is None
        assert _retry.wait_s(answer, left_s=100, **{**waits, "attempt": 2}) is None
        assert _retry.wait_s(answer, left_s=100, **{**waits, "retries": 0}) is None


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (CUT, AGAIN),
        (REFUSED, AGAIN),
        (reply(status=502), AGAIN),
        (reply(status=503, Retry_After="2"), 2.5),
        (reply(status=503, Retry_After="999999999"), 60.5),
        (reply(status=404), None),
        (reply(status=401), None),
    ],
)
def test_a_stream_is_read_on(answer: Any, wait_s: float | None) -> None:
    assert _retry.reading_wait_s(answer, attempt=0, retries=8, left_s=math.inf, jitter=0) == wait_s
    assert _retry.reading_wait_s(answer, attempt=8, retries=8, left_s=math.inf, jitter=0) is None
    assert _retry.reading_wait_s(answer, attempt=0, retries=8, left_s=AGAIN, jitter=0) is None


def test_waits_double_up_to_a_bound_and_chance_halves_them_at_most() -> None:
    assert [_retry.backoff_s(n, 0) for n in range(6)] == [0.5, 1, 2, 4, 8, 8]
    assert _retry.backoff_s(1000, 0) == 8
    assert _retry.backoff_s(2, 1) == 1
    assert math.isclose(_retry.backoff_s(2, 0.5), 1.5)
