"""A gateway without agents, in the process of a test, for the tests of apps.

`FakeGateway` is what a test holds. It needs nothing but the standard library and the contract, so that it works
where the SDK alone is installed; it must not import the SDK, nor the gateway.
"""

from __future__ import annotations

from clawdforge.testing.fake_gateway.gateway import FakeGateway
from clawdforge.testing.fake_gateway.prompt import Prompt, Request, SentFile
from clawdforge.testing.fake_gateway.script import (
    Gate,
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

__all__ = [
    "FakeGateway",
    "Gate",
    "Prompt",
    "Request",
    "SentFile",
    "ask",
    "event",
    "fail",
    "hang",
    "plan",
    "remove",
    "stop",
    "text",
    "thinking",
    "tool_call",
    "write",
]
