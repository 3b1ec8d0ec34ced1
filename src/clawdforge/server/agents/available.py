"""Which agents of the catalog can be started on this machine, and what to do about the others.

Looks at files only; must not start anything: it runs for every list of agents.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from clawdforge.local_agent import weights
from clawdforge.server.agents import tested
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.launch import how_to_log_in
from clawdforge.server.agents.offers import Offers
from clawdforge.wire.agents import AgentCapabilities, AgentInfo

_NODE_CPUS: Final = {"x86_64": "x64", "aarch64": "arm64"}


class Unavailable(Exception):
    """An agent cannot be started here; the message says why, and what mends it."""


def installed_dir(data_dir: Path, name: str) -> Path:
    """Where `clawdforge agents install NAME` puts an npm agent."""
    return data_dir / "agents" / name


def weights_dir(data_dir: Path) -> Path:
    """Where `clawdforge agents install local` puts the embedded model."""
    return data_dir / "models"


def find(entry: AgentEntry, data_dir: Path) -> tuple[str, ...]:
    """The command line that starts an agent here, its program as an absolute path.

    Raises:
        Unavailable: the program, or what it needs, is missing.
    """
    if entry.name == "local" and "{weights}" in entry.argv:
        return _find_local(entry, data_dir)
    program, *arguments = (word.replace("{python}", sys.executable) for word in entry.argv)
    bin_dir = installed_dir(data_dir, entry.name) / "node_modules" / ".bin"
    found = shutil.which(program, path=os.pathsep.join((str(bin_dir), os.environ.get("PATH", os.defpath))))
    if found is None:
        raise Unavailable(f"the program {program!r} was not found on this machine. {_mend(entry)}")
    module = arguments[arguments.index("-m") + 1] if entry.argv[0] == "{python}" and "-m" in arguments else None
    if module is not None and importlib.util.find_spec(module) is None:
        raise Unavailable(f"the Python module {module!r} is not installed here. {_mend(entry)}")
    if entry.native:
        found = shutil.which(_native(found)) or found
    return (str(Path(found).absolute()), *map(_from_here, arguments))


def info(entry: AgentEntry, data_dir: Path, offers: Offers | None = None) -> AgentInfo:
    """What `GET /agents` and `clawdforge agents` tell of an agent.

    Args:
        entry: of the catalog.
        data_dir: the gateway's data directory.
        offers: what the agent told when it was started last, if it was.
    """
    try:
        version, reason = version_of(Path(find(entry, data_dir)[0])), None
    except Unavailable as problem:
        version, reason = None, str(problem)
    found, offered = tested.kept(data_dir, entry.name, version) if reason is None else (None, Offers())
    offers = offers or offered
    return AgentInfo(
        name=entry.name,
        title=entry.title,
        available=reason is None,
        reason=reason,
        version=version,
        modes=offers.modes,
        models=offers.models,
        capabilities=_capabilities(entry, offers),
        login=how_to_log_in(entry) if entry.login_files or entry.inherit_env else None,
        tested=found,
    )


def _capabilities(entry: AgentEntry, offers: Offers) -> AgentCapabilities:
    lacks = {}
    if entry.model is None:
        lacks["model"] = "it takes no model"
    if not entry.efforts:
        lacks["effort"] = "it takes no effort"
    if entry.system_replace is None:
        lacks["system_replace"] = "its system prompt can be added to, not replaced"
    return AgentCapabilities(
        model=entry.model is not None,
        system_modes=("append",) if entry.system_replace is None else ("append", "replace"),
        efforts=entry.efforts,
        images=offers.images,
        ask_mode=entry.ask_mode,
        lacks={**lacks, **entry.lacks},
    )


def version_of(program: Path) -> str | None:
    """The version of the npm package that a program belongs to, without starting it; else None."""
    for folder in program.resolve().parents:
        manifest = folder / "package.json"
        if manifest.is_file():
            try:
                version = json.loads(manifest.read_text()).get("version")
            except (OSError, ValueError):
                return None
            if isinstance(version, str):
                return version
    return None


def _native(program: str) -> str:
    """How an npm package's program for this kind of machine is called."""
    cpu = os.uname().machine
    return f"{program}-{sys.platform}-{_NODE_CPUS.get(cpu, cpu)}"


def _from_here(word: str) -> str:
    """An argument that names a script beside the gateway, as an absolute path: the agent starts elsewhere."""
    path = Path(word)
    # Not Path.is_file: that raises for a word too long to be a name, such as a program given by `-c`.
    return str(path.absolute()) if path.suffix and os.path.isfile(word) else word  # noqa: PTH113


def _mend(entry: AgentEntry) -> str:
    if entry.package is not None:
        return f"Run: clawdforge agents install {entry.name}"
    if entry.by_hand is not None:
        return f"Install it as its makers say: {entry.by_hand}"
    return f'Install it, or name its command in the settings: [agents.{entry.name}] argv = ["…"]'


def _find_local(entry: AgentEntry, data_dir: Path) -> tuple[str, ...]:
    if importlib.util.find_spec("xllamacpp") is None:
        raise Unavailable("the model library is not installed. Run: pip install 'clawdforge[local]'")
    path = weights.installed(weights_dir(data_dir))
    if path is None:
        raise Unavailable("the model's weights are not installed. Run: clawdforge agents install local")
    places: Final = {"{python}": sys.executable, "{weights}": str(path)}
    return tuple(places.get(word, word) for word in entry.argv)
