"""`clawdforge.testing`: what it offers is there, typed as it is loaded, and loaded only when it is asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from clawdforge import testing
from clawdforge.testing import fake_agent, fake_gateway


def test_every_name_is_there_and_is_that_of_its_home() -> None:
    for name in testing.__all__:
        assert getattr(testing, name) is not None
        assert name in dir(testing)
    for name in fake_gateway.__all__:
        assert getattr(testing, name) is getattr(fake_gateway, name)
    assert testing.fake_agent is fake_agent
    gateway = importlib.import_module("clawdforge.testing.stories.gateway")
    assert (testing.own_gateway, testing.OwnGateway) == (gateway.own_gateway, gateway.OwnGateway)
    with pytest.raises(AttributeError, match="no_such_thing"):
        testing.no_such_thing  # noqa: B018


def test_the_fake_gateway_needs_nothing_but_the_contract() -> None:
    code = "import clawdforge.testing.fake_gateway, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    ours = {each.split(".")[1] for each in loaded if each.startswith("clawdforge.")}
    assert ours == {"testing", "wire"}
    assert not {"requests", "httpx2", "asyncio", "pydantic", "pytest"} & set(loaded)


def test_without_the_extra_all_names_are_there_and_own_gateway_says_what_to_install() -> None:
    code = (
        "import pathlib, sys; sys.modules['pydantic'] = None\n"
        "from clawdforge.testing import *\n"
        "try: own_gateway({}, pathlib.Path('nowhere')).__enter__()\n"
        "except ImportError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "own_gateway needs its extra: pip install 'clawdforge[server]'\n"
