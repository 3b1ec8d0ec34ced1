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

    from clawdforge.client.forge import Forge
    from clawdforge.client.session import Session
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
    from clawdforge.wire.apps import AppToken
    from clawdforge.wire.files import FileToken
    from clawdforge.wire.runs import RunResult
    from clawdforge.wire.turns import TurnResult

    __version__: str

__all__ = [
    "AppToken",
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
    "RunResult",
    "Session",
    "TurnResult",
    "__version__",
]

_HOMES: Final = {
    "AppToken": "clawdforge.wire.apps",
    "FileToken": "clawdforge.wire.files",
    "Forge": "clawdforge.client.forge",
    "ForgeAPIError": "clawdforge.errors",
    "ForgeAgentError": "clawdforge.errors",
    "ForgeAuthError": "clawdforge.errors",
    "ForgeBusyError": "clawdforge.errors",
    "ForgeClosedError": "clawdforge.errors",
    "ForgeConflictError": "clawdforge.errors",
    "ForgeError": "clawdforge.errors",
    "ForgeInterruptedError": "clawdforge.errors",
    "ForgeInvalidError": "clawdforge.errors",
    "ForgeLimitError": "clawdforge.errors",
    "ForgeNotFoundError": "clawdforge.errors",
    "ForgeProtocolError": "clawdforge.errors",
    "ForgeSchemaError": "clawdforge.errors",
    "ForgeTimeoutError": "clawdforge.errors",
    "ForgeTransportError": "clawdforge.errors",
    "ForgeTurnError": "clawdforge.errors",
    "ForgeTurnTimeoutError": "clawdforge.errors",
    "ForgeUnavailableError": "clawdforge.errors",
    "RunResult": "clawdforge.wire.runs",
    "Session": "clawdforge.client.session",
    "TurnResult": "clawdforge.wire.turns",
}


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
