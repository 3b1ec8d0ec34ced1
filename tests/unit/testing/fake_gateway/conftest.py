"""A fake gateway, and calls to it without the SDK: what these tests look at is the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clawdforge.testing import FakeGateway
from harness.caller import Caller


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as made:
        yield made


@pytest.fixture
def call(gateway: FakeGateway) -> Iterator[Caller]:
    caller = Caller(gateway.url, gateway.token)
    yield caller
    caller.close()
