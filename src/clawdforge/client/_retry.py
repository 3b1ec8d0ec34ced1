"""Whether a call is tried again, and after how long. Pure.

The rule: a call that was never sent can be sent again. Any other only where it does no more the second time, and
the gateway has shown that it sees to that (`Idempotency-Supported`). What was decided is not asked again: a turn
that ended badly, a conflict, an error of a proxy's that says nothing of the gateway.
"""

from __future__ import annotations

import json
from typing import Final

from clawdforge.client._api import Reply, retry_after_s
from clawdforge.client._steps import Fault

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 8.0
LONGEST_NAMED_S: Final = 60
"""A stream's reader does not wait longer, whatever `Retry-After` says."""
_OVERLOADED: Final = (429, 503)
_READING_AGAIN: Final = (408, 429, 502, 503, 504)


def wait_s(
    answer: Reply | Fault, *, attempt: int, retries: int, safe: bool, left_s: float, jitter: float
) -> float | None:
    """Seconds to wait before the next try; None where there shall be none.

    Args:
        answer: what the last try came to.
        attempt: how many tries were made again already.
        retries: how many may be.
        safe: whether the same call does no more the second time, as far as is known by now.
        left_s: the time that the caller still has.
        jitter: 0 to 1, by chance: so that those who failed together do not come back together.
    """
    if attempt >= retries:
        return None
    if isinstance(answer, Fault):
        if answer.sent and not safe:
            return None
        wait = backoff_s(attempt, jitter)
    elif not safe:
        return None
    elif answer.status == 408:
        wait = backoff_s(attempt, jitter)
    elif (
        answer.status in _OVERLOADED and (named := retry_after_s(answer)) is not None and not _is_turns_end(answer)
    ):
        wait = named + backoff_s(attempt, jitter)
    else:
        return None
    return wait if wait < left_s else None


def reading_wait_s(
    answer: Reply | Fault, *, attempt: int, retries: int, left_s: float, jitter: float
) -> float | None:
    """The same for a stream that goes on: reading again never does harm, and a gateway's restart takes a while."""
    if attempt >= retries or (isinstance(answer, Reply) and answer.status not in _READING_AGAIN):
        return None
    named = retry_after_s(answer) if isinstance(answer, Reply) else None
    wait = min(named or 0, LONGEST_NAMED_S) + backoff_s(attempt, jitter)
    return wait if wait < left_s else None


def backoff_s(attempt: int, jitter: float) -> float:
    """Half a second, doubled with each try, less up to a half of it by chance."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**attempt) * (1 - jitter / 2)


def _is_turns_end(reply: Reply) -> bool:
    """Whether this is how a turn ended, and not a refusal to begin one."""
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("stop_reason") is not None
