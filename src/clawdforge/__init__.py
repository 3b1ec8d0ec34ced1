"""clawdforge: coding agents as a service on your own machine.

    from clawdforge import Forge

    with Forge() as forge, forge.session() as session:
        print(session.turn("What is in this folder?").text())

Only the public names live here, each loaded on first use: the gateway's own programs import this package
too, and must not pay for an HTTP client.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # importing it from typing would cost each program that starts here 12 ms
if TYPE_CHECKING:
    from typing import Any, Final

    from clawdforge.client.aio import AsyncForge
    from clawdforge.client.aio_files import AsyncSessionFiles
    from clawdforge.client.aio_session import AsyncSession
    from clawdforge.client.aio_stream import AsyncEventStream, AsyncTurnStream
    from clawdforge.client.events import (
        AgentStartEvent,
        CommandsEvent,
        ErrorEvent,
        Event,
        ModeEvent,
        OtherEvent,
        PermissionAnswerEvent,
        PermissionRequestEvent,
        PlanEntry,
        PlanEvent,
        SchemaRepairEvent,
        SessionClosedEvent,
        TextEvent,
        ThinkingEvent,
        ToolCallEvent,
        ToolCallUpdateEvent,
        ToolDiff,
        ToolLocation,
        TurnEndEvent,
        TurnQueuedEvent,
        TurnStartEvent,
        UnknownEvent,
        UsageEvent,
    )
    from clawdforge.client.files import (
        SessionFiles,
    )
    from clawdforge.client.forge import (
        Forge,
    )
    from clawdforge.client.options import (
        RunOptions,
        SessionOptions,
        TurnOptions,
    )
    from clawdforge.client.session import (
        Session,
    )
    from clawdforge.client.stream import (
        EventStream,
        TurnStream,
    )
    from clawdforge.errors import (
        ForgeAgentError,
        ForgeAPIError,
        ForgeAuthError,
        ForgeBusyError,
        ForgeClosedError,
        ForgeConflictError,
        ForgeError,
        ForgeInterruptedError,
        ForgeInvalidError,
        ForgeLimitError,
        ForgeNotFoundError,
        ForgeProtocolError,
        ForgeSchemaError,
        ForgeTimeoutError,
        ForgeTransportError,
        ForgeTurnError,
        ForgeTurnTimeoutError,
        ForgeUnavailableError,
    )
    from clawdforge.wire.agents import (
        Effort,
        PermissionPolicy,
        SystemMode,
    )
    from clawdforge.wire.apps import (
        AppToken,
    )
    from clawdforge.wire.diffs import (
        FileDiff,
        TurnDiff,
    )
    from clawdforge.wire.files import (
        FileToken,
    )
    from clawdforge.wire.permissions import (
        Decision,
        PermissionAnswered,
        PermissionItem,
        PermissionOption,
    )
    from clawdforge.wire.runs import (
        RunResult,
    )
    from clawdforge.wire.turns import (
        Delivery,
        TurnResult,
    )
    from clawdforge.wire.workspace import (
        FilePut,
        WorkspaceEntry,
    )

    __version__: str

__all__ = [
    "AgentStartEvent",
    "AppToken",
    "AsyncEventStream",
    "AsyncForge",
    "AsyncSession",
    "AsyncSessionFiles",
    "AsyncTurnStream",
    "CommandsEvent",
    "Decision",
    "Delivery",
    "Effort",
    "ErrorEvent",
    "Event",
    "EventStream",
    "FileDiff",
    "FilePut",
    "FileToken",
    "Forge",
    "ForgeAPIError",
    "ForgeAgentError",
    "ForgeAuthError",
    "ForgeBusyError",
    "ForgeClosedError",
    "ForgeConflictError",
    "ForgeError",
    "ForgeInterruptedError",
    "ForgeInvalidError",
    "ForgeLimitError",
    "ForgeNotFoundError",
    "ForgeProtocolError",
    "ForgeSchemaError",
    "ForgeTimeoutError",
    "ForgeTransportError",
    "ForgeTurnError",
    "ForgeTurnTimeoutError",
    "ForgeUnavailableError",
    "ModeEvent",
    "OtherEvent",
    "PermissionAnswerEvent",
    "PermissionAnswered",
    "PermissionItem",
    "PermissionOption",
    "PermissionPolicy",
    "PermissionRequestEvent",
    "PlanEntry",
    "PlanEvent",
    "RunOptions",
    "RunResult",
    "SchemaRepairEvent",
    "Session",
    "SessionClosedEvent",
    "SessionFiles",
    "SessionOptions",
    "SystemMode",
    "TextEvent",
    "ThinkingEvent",
    "ToolCallEvent",
    "ToolCallUpdateEvent",
    "ToolDiff",
    "ToolLocation",
    "TurnDiff",
    "TurnEndEvent",
    "TurnOptions",
    "TurnQueuedEvent",
    "TurnResult",
    "TurnStartEvent",
    "TurnStream",
    "UnknownEvent",
    "UsageEvent",
    "WorkspaceEntry",
    "__version__",
]

# Where each name lives.
_ROOMS: Final = {
    "clawdforge.client.aio": ("AsyncForge",),
    "clawdforge.client.aio_files": ("AsyncSessionFiles",),
    "clawdforge.client.aio_session": ("AsyncSession",),
    "clawdforge.client.aio_stream": ("AsyncEventStream", "AsyncTurnStream"),
    "clawdforge.client.events": (
        "AgentStartEvent",
        "CommandsEvent",
        "ErrorEvent",
        "Event",
        "ModeEvent",
        "OtherEvent",
        "PermissionAnswerEvent",
        "PermissionRequestEvent",
        "PlanEntry",
        "PlanEvent",
        "SchemaRepairEvent",
        "SessionClosedEvent",
        "TextEvent",
        "ThinkingEvent",
        "ToolCallEvent",
        "ToolCallUpdateEvent",
        "ToolDiff",
        "ToolLocation",
        "TurnEndEvent",
        "TurnQueuedEvent",
        "TurnStartEvent",
        "UnknownEvent",
        "UsageEvent",
    ),
    "clawdforge.client.files": ("SessionFiles",),
    "clawdforge.client.forge": ("Forge",),
    "clawdforge.client.options": (
        "RunOptions",
        "SessionOptions",
        "TurnOptions",
    ),
    "clawdforge.client.session": ("Session",),
    "clawdforge.client.stream": (
        "EventStream",
        "TurnStream",
    ),
    "clawdforge.errors": (
        "ForgeAPIError",
        "ForgeAgentError",
        "ForgeAuthError",
        "ForgeBusyError",
        "ForgeClosedError",
        "ForgeConflictError",
        "ForgeError",
        "ForgeInterruptedError",
        "ForgeInvalidError",
        "ForgeLimitError",
        "ForgeNotFoundError",
        "ForgeProtocolError",
        "ForgeSchemaError",
        "ForgeTimeoutError",
        "ForgeTransportError",
        "ForgeTurnError",
        "ForgeTurnTimeoutError",
        "ForgeUnavailableError",
    ),
    "clawdforge.wire.agents": (
        "Effort",
        "PermissionPolicy",
        "SystemMode",
    ),
    "clawdforge.wire.apps": ("AppToken",),
    "clawdforge.wire.diffs": (
        "FileDiff",
        "TurnDiff",
    ),
    "clawdforge.wire.files": ("FileToken",),
    "clawdforge.wire.permissions": (
        "Decision",
        "PermissionAnswered",
        "PermissionItem",
        "PermissionOption",
    ),
    "clawdforge.wire.runs": ("RunResult",),
    "clawdforge.wire.turns": (
        "Delivery",
        "TurnResult",
    ),
    "clawdforge.wire.workspace": (
        "FilePut",
        "WorkspaceEntry",
    ),
}
_HOMES: Final = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # reads the disk: only for those who ask

        value: Any = version("clawdforge")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
