"""The settings that gemini is started with: data for its entry in the catalog. Facts about it: docs/agents.md."""

from __future__ import annotations

import json
from typing import Any, Final

TRIES: Final = 2
"""By default it tries ten times, for four minutes, without a word. It waits five seconds before the second."""


def chain(*models: str) -> list[dict[str, Any]]:
    """Models that may stand in for each other: only if somebody says so, and here nobody does."""
    kinds = ("terminal", "transient", "not_found", "unknown")
    policy = {
        "maxAttempts": TRIES,
        "actions": dict.fromkeys(kinds, "prompt"),
        "stateTransitions": dict.fromkeys(kinds, "terminal"),
    }
    return [{"model": model, "isLastResort": model == models[-1], **policy} for model in models]


SETTINGS: Final = json.dumps(
    {
        "advanced": {"ignoreLocalEnv": True},  # else a .env of the workspace could bring a key of its own
        # Its own chains have numbers of tries that beat `general.maxAttempts`: up to ten.
        "experimental": {"dynamicModelConfiguration": True},
        "general": {
            "enableAutoUpdate": False,
            "enableAutoUpdateNotification": False,
            "maxAttempts": TRIES,
            # A session that is loaded leaves an empty file beside its own: at the next start it took that for one
            # to be cleared away, and removed all of the session.
            "sessionRetention": {"enabled": False},
        },
        "modelConfigs": {
            "modelChains": {
                "auto-default": chain("gemini-2.5-pro", "gemini-3.5-flash"),
                "auto-preview": chain("gemini-3-pro-preview", "gemini-3-flash-preview"),
                "default": chain("gemini-2.5-pro", "gemini-3.5-flash"),
                "lite": chain("gemini-3.1-flash-lite"),
                "preview": chain("gemini-3-pro-preview", "gemini-3-flash-preview"),
            }
        },
        "privacy": {"usageStatisticsEnabled": False},
        "security": {
            "auth": {"selectedType": "${CLAWDFORGE_GEMINI_LOGIN:-gemini-api-key}"},
            "environmentVariableRedaction": {"enabled": True},  # commands of the model need none of its keys
        },
        "telemetry": {"enabled": False},
        "tools": {
            # Planning ends when a person says yes to the plan: in a turn there is none.
            "exclude": ["enter_plan_mode"],
            # Its commands would want a terminal, and no wall gives them the gateway's.
            "shell": {"enableInteractiveShell": False},
        },
    },
    indent=2,
)
