"""For testing what is built on clawdforge, and clawdforge itself.

    from clawdforge.testing import FakeGateway

    with FakeGateway() as gateway:
        gateway.answers("Hello!")

A gateway in the test's own process, without agents: `FakeGateway`, and the steps of its answers. A real gateway,
`own_gateway`, and a scripted agent for it, `fake_agent`. `docs/testing.md` shows both. Importing this loads none.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # importing it from typing would cost each program that starts below here 12 ms
if TYPE_CHECKING:
    from typing import Any, Final

    from clawdforge.testing import fake_agent
    from clawdforge.testing.fake_gateway import (
        FakeGateway,
        Gate,
        Prompt,
        Request,
        SentFile,
        ask,
        event,
        fail,
        hang,
        plan,
        remove,
        stop,
        text,
        thinking,
        tool_call,
        write,
    )
    from clawdforge.testing.stories.gateway import OwnGateway, own_gateway

__all__ = [
    "FakeGateway",
    "Gate",
    "OwnGateway",
    "Prompt",
    "Request",
    "SentFile",
    "ask",
    "event",
    "fail",
    "fake_agent",
    "hang",
    "own_gateway",
    "plan",
    "remove",
    "stop",
    "text",
    "thinking",
    "tool_call",
    "write",
]

_PROGRAMS: Final = ("fake_agent", "fake_model")
_ELSEWHERE: Final = dict.fromkeys(("OwnGateway", "own_gateway"), "stories.gateway")


def __getattr__(name: str) -> Any:
    value: Any
    if name in _PROGRAMS:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name in __all__:
        home = _ELSEWHERE.get(name, "fake_gateway")
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
