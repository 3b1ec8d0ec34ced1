"""Whether a schema is one, and a result fits it, found out beside the gateway: by a child with limited time."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from clawdforge.server.sessions import judge
from clawdforge.wire import codec
from clawdforge.wire.problems import invalid

_log: Final = logging.getLogger(__name__)
_DEADLINE_S: Final = 10
_UNDECIDED: Final = "it could not be found out within the time for it: the schema asks for too much work"
_UNASKED: Final = "it could not be found out: the gateway has no process to spare for it"

SMALL_BYTES: Final = 8 * 1024
"""A schema of this size takes milliseconds to be understood; one with patterns can take seconds, however small."""

_JUDGES: Final = ThreadPoolExecutor(2, thread_name_prefix="judge")
"""Threads of their own: whoever has schemas that take long holds up nobody but others who have schemas."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a result fits its schema, and why not; `decided` is False where that could not be found out."""

    valid: bool
    errors: list[str]
    decided: bool = True


async def check_schema(schema: Mapping[str, Any] | None) -> None:
    """Refuses a schema that cannot be used.

    Raises:
        Problem: `invalid`.
    """
    if schema is None:
        return
    case = codec.dumps({"schema": dict(schema)})
    if len(case) <= SMALL_BYTES and b'"pattern' not in case:
        complaints = judge.unusable(schema)
    else:
        complaints = await _judged(case)
    if complaints:
        raise invalid(f"the schema is no usable JSON Schema: {complaints[0]}", "schema")


async def reach(result: Any, schema: Mapping[str, Any]) -> Verdict:
    """Judges a result by a schema that `check_schema` let through; what is not decided in time does not fit."""
    complaints = await _judged(codec.dumps({"result": result, "schema": dict(schema)}))
    return Verdict(not complaints, complaints, decided=complaints not in ([_UNDECIDED], [_UNASKED]))


async def _judged(case: bytes) -> list[str]:
    return await asyncio.get_running_loop().run_in_executor(_JUDGES, _ask, case)


def _ask(case: bytes) -> list[str]:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", judge.__name__],
            input=case,
            capture_output=True,
            timeout=_DEADLINE_S,
            check=True,
        )
        complaints: list[str] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return [_UNDECIDED]
    except subprocess.CalledProcessError as error:
        _log.warning("nothing was judged by a schema: the judge ended with %s", error.returncode)
        return [_UNDECIDED]
    except OSError as error:  # it could not be started, which is no fault of the turn's
        _log.warning("nothing was judged by a schema: %s", error)
        return [_UNASKED]
    return complaints
