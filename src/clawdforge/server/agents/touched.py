"""What a tool call touches, as far as anybody can tell: what the policy of a session judges.

Pure. Better one too many than one too few: what is no path is taken for a file in the workspace, and harms nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

# The last word of a key of `rawInput`, whose value is a path: filePath, old_path, target_file, notebook-path, …
_NAMES_A_PATH: Final = re.compile(
    r"(paths?|files?|filenames?|dir|directory|folder|source|target|from|to|dest|destination|src|dst|uri)$",
    re.IGNORECASE,
)


def runs_command(call: Mapping[str, Any]) -> bool:
    """Whether a call, or an update of it, holds a command."""
    raw = call.get("rawInput")
    return isinstance(raw, dict) and any(raw.get(name) for name in ("command", "cmd"))


def paths(call: Mapping[str, Any], kind: str) -> dict[str, list[str]]:
    """The paths of a call, or of an update, by the field that names them; a field that is not there is left out.

    Of a `move` every text in its raw input counts: whatever the name of it, one of them is where it goes.
    """
    found: dict[str, list[str]] = {}
    for field in ("locations", "content"):
        if isinstance(parts := call.get(field), list):
            named = [part.get("path") for part in parts if isinstance(part, dict)]
            found[field] = [path for path in named if isinstance(path, str) and path]
    if (raw := call.get("rawInput")) is not None:
        found["rawInput"] = [text for text in _texts(raw, named=False, every=kind == "move") if text]
    return found


def _texts(value: Any, *, named: bool, every: bool) -> Iterator[str]:
    """The texts in a value that count: `every` one, or those whose key names a path, alone or in a list.

    A key that is a path itself counts too: codex tells the files of a patch so, where from they are moved as well.
    """
    if isinstance(value, str):
        if named or every:
            yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each, named=named, every=every)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key.startswith("/"):
                yield key
            yield from _texts(each, named=_NAMES_A_PATH.search(key) is not None, every=every)
