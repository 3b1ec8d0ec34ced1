"""A gateway of one's own, to try agents in: a child process on a temporary data directory, on loopback.

It is the real one, started as a user starts it. When its block ends it is gone, and so is all that it started.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clawdforge.client.forge import Forge
from clawdforge.testing.stories import processes

if TYPE_CHECKING:
    from clawdforge.server.sandbox.base import Network

_STARTS_WITHIN_S: Final = 30
_ENDS_WITHIN_S: Final = 15


class GatewayFailed(Exception):
    """The gateway did not start; the message says what it said."""


@dataclass(frozen=True, slots=True)
class OwnGateway:
    """A gateway that runs, by the names that a `FakeGateway` has.

    Attributes:
        url: where it listens.
        token: of an app named `app`.
        admin_token: opens `/admin/*`.
    """

    url: str
    token: str = field(repr=False)
    admin_token: str = field(repr=False)

    @property
    def environ(self) -> dict[str, str]:
        """The environment by which a `Forge()` without arguments finds it."""
        return {"CLAWDFORGE_URL": self.url, "CLAWDFORGE_TOKEN": self.token}


@contextmanager
def own_gateway(agents: Mapping[str, Any], root: Path) -> Iterator[OwnGateway]:
    """A running gateway with these `[agents.NAME]` settings, and an app of it.

    Where this machine can keep them from it, its agents reach nothing but their models' base URLs.

    Args:
        agents: the settings, by name.
        root: an empty directory that is the gateway's own.

    Raises:
        GatewayFailed: it did not start.
        ImportError: the extra `server` is not installed.
    """
    admin_token = secrets.token_urlsafe(32)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CLAWDFORGE_")}
    environ |= {
        "CLAWDFORGE_AGENTS": json.dumps(agents),
        "CLAWDFORGE_ADMIN_TOKEN": admin_token,
        "CLAWDFORGE_DRAIN_TIMEOUT_SECS": "0",
        "CLAWDFORGE_NETWORK": _network(root),
    }
    data_dir, log = root / "data", root / "gateway.log"
    argv = [sys.executable, "-m", "clawdforge", "serve", "--port", "0", "--data-dir", str(data_dir)]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            argv,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            # Its own group: Ctrl-C reaches us alone, and we end it in our own time.
            process_group=0,
        ) as process,
    ):
        try:
            url = _url(process, log)
            with Forge(base_url=url, token=admin_token) as admin:
                token = admin.mint_token("app").token
            yield OwnGateway(url, token, admin_token)
        finally:
            _end(process, data_dir)


def _network(root: Path) -> Network:
    """`none` where there is a wall that can hold it."""
    try:
        from clawdforge.server.sandbox import probe
        from clawdforge.server.sandbox.base import WallUnavailable
        from clawdforge.server.settings import Settings
    except ModuleNotFoundError:
        raise ImportError("own_gateway needs its extra: pip install 'clawdforge[server]'") from None
    try:
        probe.wall("bwrap", root, Settings.model_fields["agent_uid"].default, "none").close()
    except WallUnavailable:
        return "open"
    return "none"


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Waits for the line in which a gateway says where it listens."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        ready = selector.select(_STARTS_WITHIN_S)
    url = process.stdout.readline().decode().rpartition(" ")[2].strip() if ready else ""
    if not url.startswith("http://"):
        said = log.read_text(errors="replace").strip() or "nothing"
        raise GatewayFailed(f"it did not start; it said: {said[-1000:]}")
    return url


def _end(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    """Ends the gateway, which ends its agents; what a gateway that had to be killed leaves is killed too."""
    process.terminate()
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    identity = data_dir / "gateway-id"
    if identity.exists():
        for each in processes.of_gateway(identity.read_text().strip()):
            each.kill()
