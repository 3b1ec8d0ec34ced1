"""Whether a result fits its schema, found out beside the gateway: by a child with a limit on its time."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from clawdforge.server.sessions import judge
from clawdforge.wire import codec
from clawdforge.wire.problems import invalid

_log: Final = logging.getLogger(__name__)
_DEADLINE_S: Final = 10
_UNDECIDED: Final = "it could not be found out within the time for it: the schema asks for too much work"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a result fits its schema; both None where there is none."""

    valid: bool | None = None
    errors: list[str] | None = None


def check_schema(schema: Mapping[str, Any] | None) -> None:
    """Refuses a schema that cannot be used.

    Raises:
        Problem: `invalid`.
    """
    if schema is None:
        return
    try:
        judge.validator(schema)
    except judge.SchemaUnusable as error:
        raise invalid(f"the schema is no usable JSON Schema: {error}", "schema") from error


async def reach(result: Any, schema: Mapping[str, Any] | None) -> Verdict:
    """Judges a result by a schema that `check_schema` let through; what is not decided in time does not fit."""
    if schema is None:
        return Verdict()
    complaints = await asyncio.to_thread(_ask, codec.dumps({"result": result, "schema": dict(schema)}))
    return Verdict(not complaints, complaints)


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
        _log.warning("a result was not judged: the judge ended with %s", error.returncode)
        return [_UNDECIDED]
    except OSError as error:  # it could not be started, which is no fault of the turn's
        _log.warning("a result was not judged: %s", error)
        return [_UNDECIDED]
    return complaints
