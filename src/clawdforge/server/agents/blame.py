"""What went wrong with an agent, in words that may be shown: short, printable, free of secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from clawdforge.server.agents.redact import HIDDEN

_TAIL_CHARS: Final = 2_000
_DETAIL_CHARS: Final = 500
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# Shapes of well-known credentials, for those that the gateway did not hand over itself.
_CREDENTIALS: Final = re.compile(
    r"(?:sk-[A-Za-z0-9_-]{8,}|cf_[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?"
    r"|(?i:bearer)\s+[A-Za-z0-9._~+/=-]{12,})"
)


def tail(stderr: str, secrets: Iterable[str]) -> str:
    """The end of an agent's stderr."""
    return _clean(stderr, secrets)[-_TAIL_CHARS:]


def sentence(text: str, secrets: Iterable[str]) -> str:
    """An agent's own words about an error, on one line."""
    return " ".join(_clean(text, secrets).split())[:_DETAIL_CHARS]


def _clean(text: str, secrets: Iterable[str]) -> str:
    text = _UNPRINTABLE.sub("", _ESCAPES.sub("", text))
    for secret in sorted(secrets, key=len, reverse=True):  # one may be the beginning of another
        text = text.replace(secret, HIDDEN)
    return _CREDENTIALS.sub(HIDDEN, text)
