"""What `clawdforge agents test` found out about an agent, kept below the data directory for whoever asks.

Written by the command, read by the gateway, each in a process of its own. Must not start an agent.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from clawdforge.server.agents.offers import Offers
from clawdforge.wire import codec
from clawdforge.wire.agents import AgentTested, StoryOutcome

_FOLDER: Final = "tested"


def keep(data_dir: Path, name: str, tested: AgentTested, offers: Offers) -> None:
    """Keeps the outcome of a test, in place of an earlier one. Made whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    file = _file(data_dir, name)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = file.with_name(f".{secrets.token_hex(8)}")
    document = {**asdict(tested), "modes": offers.modes, "models": offers.models, "images": offers.images}
    try:
        with unfinished.open("w") as writing:
            json.dump(document, writing)
            writing.flush()
            os.fsync(writing.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def kept(data_dir: Path, name: str, version: str | None) -> tuple[AgentTested | None, Offers]:
    """What was kept about this version of an agent; nothing where that was never, or is not to be read."""
    try:
        document = json.loads(_file(data_dir, name).read_bytes())
        tested = _read(document)
        if tested.version != version:
            return None, Offers()
        return tested, Offers(_words(document["modes"]), _words(document["models"]), None, document["images"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None, Offers()


def _read(document: Any) -> AgentTested:
    stories = tuple(codec.from_json(StoryOutcome, each) for each in document["stories"])
    return AgentTested(document["version"], int(document["at"]), stories)


def _words(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _file(data_dir: Path, name: str) -> Path:
    return data_dir / _FOLDER / f"{name}.json"
