"""A prompt's answer, with or without functions that are told of it on its way. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from clawdforge.client import _asking
from clawdforge.client._asking import Prompted
from clawdforge.client._core import Core
from clawdforge.client._steps import Flow

if TYPE_CHECKING:
    from clawdforge.client.events import Event, PermissionRequestEvent


def answer(
    core: Core,
    prompted: Prompted,
    on_event: Callable[[Event], Any] | None,
    on_permission: Callable[[PermissionRequestEvent], Any] | None,
) -> Flow[Any]:
    """Sends a prompt and waits for its result; with functions to be told, by way of its stream.

    Raises:
        ForgeError: the turn failed, its answer does not fit the type that was asked for, or no answer came.
    """
    if on_event is None and on_permission is None:
        return (yield from _asking.answer(core, prompted))
    from clawdforge.client import (  # with all the classes of events: not for those who follow none
        _sources,
        _streams,
    )

    source = _sources.PromptEvents(prompted)
    within_s = prompted.call.patience_s + core.margin_s
    ends_s = core.clock() + within_s
    heard = _streams.heard(core, source, on_event, on_permission, quiet=True, within_s=within_s)
    yield from cast("Flow[None]", heard)  # quiet: it has no items
    return (yield from source.result(core, core.left_s(ends_s)))
