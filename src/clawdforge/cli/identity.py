"""Where the gateway is and who asks: options, else the environment, else the file `cf.env`.

The file is read for the command line alone and put into no environment: a gateway that is started from here must
not take its settings from it, nor hand its secrets to agents. No message shows what stands in it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from clawdforge.cli import terminal
from clawdforge.cli.failures import Exit, Failure

URL: Final = "CLAWDFORGE_URL"
TOKEN: Final = "CLAWDFORGE_TOKEN"  # noqa: S105  # its name
ADMIN_TOKEN: Final = "CLAWDFORGE_ADMIN_TOKEN"  # noqa: S105
_SECRET: Final = (TOKEN, ADMIN_TOKEN)
_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_LIMIT_BYTES: Final = 65_536


def value(name: str) -> str | None:
    """What the environment, else the file, says under this name; an empty value counts as unset.

    Raises:
        Failure: the file is there and cannot be read.
    """
    return os.environ.get(name) or from_file(env_file()).get(name) or None


def env_file() -> Path:
    """Where the file is looked for: `$XDG_CONFIG_HOME/clawdforge/cf.env`, by default below `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "clawdforge" / "cf.env"


@cache
def from_file(path: Path) -> Mapping[str, str]:
    """The file's lines `KEY=VALUE`, {} where there is no file. Read once, and warned of once.

    Raises:
        Failure: it cannot be read, or a line is none of these.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LIMIT_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Failure(f"{path} cannot be read: {reason}", Exit.USAGE) from None
    found = parsed(text, path)
    if mode & (stat.S_IRGRP | stat.S_IROTH) and any(found.get(name) for name in _SECRET):
        terminal.note(f"Warning: others can read the token in {path}. Mend it: chmod 600 {path}")
    return found


def parsed(text: str, path: Path) -> dict[str, str]:
    """The lines `KEY=VALUE`; the last one of a key counts. `export` and quotes go, `#` begins a remark.

    Raises:
        Failure: a line is no such line; it is named by its number alone, for it may hold a secret.
    """
    found = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise Failure(f"{path}, line {number}: not KEY=VALUE", Exit.USAGE)
        found[match[1]] = _unquoted(match[2])
    return found


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text.partition(" #")[0].rstrip()
