"""A prompt on its way: the call that sends it, under one key, and how what comes of it is read. Pure.

A blocking turn, its stream, and the result of that stream are one call in two forms: the gateway knows it by its
key, and does nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from clawdforge.client import _api, _call, _calls, _flow
from clawdforge.client._call import Call
from clawdforge.client._core import Core
from clawdforge.client._steps import Flow
from clawdforge.errors import ForgeSchemaError

if TYPE_CHECKING:
    from clawdforge.wire.runs import RunResult
    from clawdforge.wire.turns import TurnResult

R = TypeVar("R", "RunResult[Any]", "TurnResult[Any]")
# Else the twins' libraries would each make something of their own of it.
_KEY: Final = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt, ready to be sent.

    Attributes:
        call: its POST, with its key.
        session_id: the session that it is for; None for a run, whose id its gateway tells.
        read: makes the result of the answer's object.
    """

    call: Call
    session_id: str | None
    read: Callable[[Mapping[str, Any]], Any]


def run(
    core: Core, prompt: str, *, schema: Any, timeout_secs: float | None, asks: bool = False, **options: Any
) -> Prompted:
    """A run. `options` are those of `_calls.run`; one that `asks` its app means so, where it names no policy.

    Raises:
        ValueError, TypeError: it cannot be sent.
    """
    options["model"] = core.model if options.get("model") is None else options["model"]
    if asks and options.get("permissions") is None:
        options["permissions"] = "ask"
    key = options.pop("idempotency_key", None)
    call = _calls.run(prompt, schema=schema_of(schema), timeout_secs=timeout_secs, **options)
    return Prompted(_known(core, call, key), None, lambda body: _typed(schema, _api.run_result(body)))


def turn(
    core: Core,
    session_id: str,
    prompt: str,
    *,
    schema: Any,
    inherited: Any,
    timeout_secs: float | None,
    **options: Any,
) -> Prompted:
    """A turn of a session, whose own schema is `inherited`; `options` are for `_calls.turn`. Raises as `run`."""
    key = options.pop("idempotency_key", None)
    call = _calls.turn(session_id, prompt, schema=schema_of(schema), timeout_secs=timeout_secs, **options)
    wanted = inherited if schema is None else schema
    return Prompted(_known(core, call, key), session_id, lambda body: _typed(wanted, _api.turn_result(body)))


def answer(core: Core, prompted: Prompted) -> Flow[Any]:
    """Sends a prompt and waits for its result.

    Raises:
        ForgeError: the turn failed, its answer does not fit the type that was asked for, or no answer came.
    """
    return prompted.read((yield from _flow.ask(core, prompted.call, session_id=prompted.session_id)))


def _known(core: Core, call: Call, key: str | None) -> Call:
    if key is None:
        return call.with_key(core.new_key())
    if not _KEY.fullmatch(_call.text("idempotency_key", key)):
        raise ValueError("idempotency_key is one word of 1 to 255 printable ASCII characters")
    return call.with_key(key)


def schema_of(schema: Any) -> Mapping[str, Any] | None:
    """The JSON Schema of what is asked for: itself, or that of a type."""
    if schema is None or isinstance(schema, Mapping):
        return schema
    from clawdforge.client import _schema as types  # for those who ask for a type

    return types.json_schema(schema)


def _typed(schema: Any, result: R) -> R:
    """The result, with the type in it that was asked for.

    Raises:
        ForgeSchemaError: what came is none of it.
    """
    if schema is None or isinstance(schema, Mapping):
        return result
    from clawdforge.client import _schema as types

    if not result.ok or result.schema_valid is False:
        why = "; ".join(map(str, result.schema_errors or [])) or f"the agent gave no answer ({result.stop_reason})"
        raise ForgeSchemaError(f"the answer is no {_name(schema)}: {why}", result)
    try:
        return replace(result, result=types.value(schema, result.result))
    except ValueError as error:
        raise ForgeSchemaError(f"the answer is no {_name(schema)}: {error}", result) from None


def _name(schema: Any) -> str:
    return str(getattr(schema, "__name__", schema))
