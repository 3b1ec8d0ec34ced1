"""What a row of the results is: a bar, what was read against it, and the bench that reads.

To add rows, write a module with a `BENCH` and name it in `BENCHES` of `__main__`. A bench runs by itself, on a
gateway of its own, and has several bars where one run gives several numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.clients import Plain
from clawdforge import Forge
from harness.gateway import Gateway
from harness.levels import agent_for_all

AGENT = "scripted"
"""The scripted agent's name in every gateway of a bench."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A number that is promised.

    Attributes:
        name: what the command line calls it, `bench.row`.
        what: what is measured, as the table says it.
        unit: of the limit, and of all that is read.
        limit: the most that it may be, or the least where `at_least`.
        built: False while there is nothing to measure yet; the table says so.
    """

    name: str
    what: str
    unit: str
    limit: float
    at_least: bool = False
    built: bool = True

    def holds(self, value: float) -> bool:
        """Whether a value keeps the promise."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Reading:
    """What came out, and its spread within the run, in the bar's unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What a bench found.

    Attributes:
        readings: by the bar's name; one for each bar that is built.
        probes: what ran beside, what it came to, and the unit in that text: for the reader, without a bar.
    """

    readings: Mapping[str, Reading]
    probes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway that is up, and the token of an app."""

    gateway: Gateway
    token: str = field(repr=False)

    def plain(self) -> Plain:
        """A kept connection, with nothing of the SDK."""
        return Plain(self.gateway.url, self.token)

    def forge(self) -> Forge:
        """The SDK."""
        return Forge(base_url=self.gateway.url, token=self.token)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a bench runs: an empty folder of its own, which everybody may pass, and how long it may take."""

    root: Path
    quick: bool

    def rounds(self, full: int) -> int:
        """So many rounds; a fifth of them in a quick run."""
        return max(5, full // 5) if self.quick else full

    @contextmanager
    def gateway(self, **options: Any) -> Iterator[Served]:
        """A new gateway process, at the level `none` where no settings name another.

        Its agent writes no log: the same agent over a raw pipe writes none either.

        Args:
            options: those of `harness.gateway.Gateway`.
        """
        folder = Path(tempfile.mkdtemp(dir=self.root))
        folder.chmod(0o711)
        agents = {AGENT: {**agent_for_all(folder), "ask_mode": "ask"}}
        settings = {"sandbox": "none", **options.pop("settings", {})}
        gateway = Gateway(folder, **{"agents": agents, **options}, settings=settings).start()
        try:
            with gateway.admin() as admin:
                token = admin.mint_token("bench").token
            yield Served(gateway, token)
        finally:
            gateway.close()


@dataclass(frozen=True, slots=True)
class Bench:
    """Bars that one run reads."""

    name: str
    bars: Sequence[Bar]
    measure: Callable[[Stage], Findings]
