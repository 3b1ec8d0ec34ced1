"""Judges a recorded storm: all laws over what clients recorded and what was there in the end. Pure."""

from __future__ import annotations

from chaos.history import History
from chaos.laws import asks, ends, interference, logs, readers
from chaos.truth import Truth, Violation


def judge(history: History, truth: Truth) -> list[Violation]:
    """Every law that was broken; none where all is well."""
    return [
        *logs.check(truth),
        *readers.check(history, truth),
        *asks.check(history, truth),
        *ends.check(history, truth),
        *interference.check(history, truth),
    ]
