"""The pytest plugin: the fixture `fake_gateway`. pytest loads it in every run, so it loads nothing by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from clawdforge.testing.fake_gateway import FakeGateway


@pytest.fixture
def fake_gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    """A `FakeGateway` of this test's own. A `Forge()` without arguments finds it, by the environment."""
    from clawdforge.testing.fake_gateway import FakeGateway

    with FakeGateway() as gateway:
        for name, value in gateway.environ.items():
            monkeypatch.setenv(name, value)
        yield gateway
