"""`make test`, under 'Types': whether pyright knows the type of all that the package exports.

Those who use the SDK see what a type checker knows of it; mypy tells of the code, not of that. The argument is the
directory that holds pyright.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE = "clawdforge"


def main(pyright: Path) -> str | None:
    """Returns what is wrong, in words; None where nothing is."""
    # It asks the `python` that it finds first where the package is, whatever its options say.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["node", pyright / "index.js", "--verifytypes", PACKAGE, "--ignoreexternal", "--outputjson"],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        check=False,
    )
    told = json.loads(done.stdout)
    score = told["typeCompleteness"]["completenessScore"]
    if done.returncode == 0 and score == 1:
        print(f"pyright knows the type of all that {PACKAGE} exports")
        return None
    unclear = [
        each for each in told["typeCompleteness"]["symbols"] if each["isExported"] and not each["isTypeKnown"]
    ]
    for symbol in unclear:
        print("\n".join([symbol["name"], *map(_line, symbol["diagnostics"])]))
    return (
        f"pyright knows the type of only {100 * score:.1f} % of what {PACKAGE} exports: annotate the names above"
        " where they are first set."
    )


def _errors(symbol: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in symbol["diagnostics"] if each["severity"] == "error"]


def _line(diagnostic: dict[str, Any]) -> str:
    place = diagnostic.get("file", "")
    if "range" in diagnostic:
        place = f"{place}:{diagnostic['range']['start']['line'] + 1}"
    return f"    {place} {diagnostic['message']}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
