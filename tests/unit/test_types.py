"""The whole source is well typed for whoever has installed the extra `server` alone."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

IMPORT = re.compile(r"^ *(?:import|from) (\w+)", re.MULTILINE)


def installed_with(extra: str) -> set[str]:
    """The distributions that come with an extra, and with all that these need."""
    waiting, seen = [Requirement(f"clawdforge[{extra}]")], set()
    while waiting:
        wanted = waiting.pop()
        if (one := (normal(wanted.name), *sorted(wanted.extras))) in seen:
            continue
        seen.add(one)
        for each in map(Requirement, requires(wanted.name) or []):
            if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in ("", *wanted.extras)):
                waiting.append(each)
    return {name for name, *_ in seen}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_the_extra_server_does_not_bring_is_not_needed_for_the_types(repo_root: Path) -> None:
    """mypy judges the files that import something else, and sees nothing of what is installed."""
    brought, providers = installed_with("server"), packages_distributions()
    beyond = {name for name, by in providers.items() if not brought & set(map(normal, by))}
    source = sorted((repo_root / "src").rglob("*.py"))
    files = [str(file) for file in source if beyond & set(IMPORT.findall(file.read_text()))]

    options = ["--no-site-packages", "--follow-imports=silent", "--cache-dir=.mypy_cache/alone"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files],
        cwd=repo_root,
        capture_output=True,
        text=True,
        check=False,
    )

    assert {"pydantic", "click", "requests"}.isdisjoint(beyond) and {"httpx2", "pytest"} <= beyond
    assert {"_httpx.py", "plugin.py"} <= {Path(file).name for file in files}
    assert done.returncode == 0, done.stdout + done.stderr
