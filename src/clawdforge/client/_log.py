"""The SDK's log: the logger `clawdforge`, shown on stderr where `CLAWDFORGE_LOG` says so.

What is logged holds no token, no file token, no prompt and no answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

log: Final = logging.getLogger("clawdforge")
_LEVELS: Final = ("debug", "info", "warning", "error")


def show(environ: Mapping[str, str]) -> None:
    """Has the log written to stderr from the level on that `CLAWDFORGE_LOG` names; once, however often asked.

    A word that names none is warned of: what is there to look for faults must not make one.
    """
    wanted = environ.get("CLAWDFORGE_LOG", "").strip().lower()
    if not wanted:
        return
    if wanted not in _LEVELS:
        log.warning("CLAWDFORGE_LOG must be one of %s; what it is now shows nothing", ", ".join(_LEVELS))
        return
    log.setLevel(wanted.upper())
    if not log.hasHandlers():  # an app that has its own says itself where the log goes
        shown = logging.StreamHandler()
        shown.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        log.addHandler(shown)
