"""Judges a JSON Schema, and a result by it. Also a program: reads them on stdin, says on stdout what is wrong.

A program, because a small schema can ask for more work than there is time: here that ends with a limit on this
process, and the gateway has never waited for it (see `verdicts`).
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import jsonschema_rs

_CPU_S: Final = 5
_MEMORY_BYTES: Final = 1024 * 1024 * 1024
_COMPLAINTS: Final = 10
_COMPLAINT_CHARS: Final = 300


class SchemaUnusable(ValueError):
    """This is no JSON Schema, or one that refers to something outside of itself."""


def validator(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """What judges by a schema. Nothing is fetched for a `$ref`; a pattern cannot run away: its matching is linear.

    Raises:
        SchemaUnusable: with the reason.
    """
    try:
        return jsonschema_rs.validator_for(
            dict(schema), offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise SchemaUnusable(str(getattr(error, "message", error))[:_COMPLAINT_CHARS]) from error


def complaints(result: Any, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with a result, at most ten sentences; empty where it fits."""
    judging = validator(schema)
    try:
        if judging.is_valid(result):
            return []
        found = (
            f"/{'/'.join(str(step) for step in error.instance_path)}: {error.message}"
            for error in judging.iter_errors(result)
        )
        return [_printable(each[:_COMPLAINT_CHARS])[:_COMPLAINT_CHARS] for each in islice(found, _COMPLAINTS)]
    except ValueError as error:  # it is nested too deep
        return [f"it cannot be judged: {error}"]


def unusable(schema: Mapping[str, Any]) -> list[str]:
    """Why a schema cannot be used; empty where it can."""
    try:
        validator(schema)
    except SchemaUnusable as error:
        return [str(error)]
    return []


def main() -> None:
    """The program: `{"schema": {…}, "result": …}` in, a list of complaints out; without a result of the schema."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    case = json.load(sys.stdin)
    schema = case["schema"]
    json.dump(complaints(case["result"], schema) if "result" in case else unusable(schema), sys.stdout)


def _printable(text: str) -> str:
    """What can be stored and sent: a property may have any name, NUL in it."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


if __name__ == "__main__":
    main()
