"""What `import clawdforge` promises: all public names, and nothing paid for names that are not used."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import requires, version

import pytest

import clawdforge


def loaded_after(statement: str) -> set[str]:
    child = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(child.stdout.split())


def test_every_public_name_is_there() -> None:
    assert set(clawdforge.__all__) <= set(dir(clawdforge))
    for name in clawdforge.__all__:
        assert getattr(clawdforge, name) is not None
    assert clawdforge.__version__ == version("clawdforge")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Forgery'"):
        clawdforge.Forgery  # noqa: B018


def test_the_package_alone_loads_no_http_client_and_not_even_typing() -> None:
    assert not loaded_after("import clawdforge") & {"requests", "typing", "json", "importlib.metadata"}


def test_a_forge_loads_neither_the_other_twin_nor_what_a_stream_or_a_type_needs() -> None:
    loaded = loaded_after("from clawdforge import Forge; Forge().close()")

    assert "requests" in loaded
    assert not loaded & {"httpx2", "asyncio", "anyio"}
    assert not {name for name in loaded if name.startswith("clawdforge.") and name.rpartition(".")[2] in _LATE}


_LATE = {
    "aio",
    "_httpx",
    "events",
    "telling",
    "_sources",
    "_streams",
    "_cursor",
    "_schema",
    "_hints",
    "_shapes",
    "sse",
    "files",
    "runs",
    "turns",
}


def test_without_its_extra_the_asynchronous_twin_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    monkeypatch.delitem(sys.modules, "clawdforge.client._httpx", raising=False)

    with pytest.raises(ImportError, match=r"pip install 'clawdforge\[async\]'"):
        clawdforge.AsyncForge()


def test_without_its_extra_all_names_are_there_to_be_looked_at() -> None:
    code = "import sys; sys.modules['httpx2'] = None; from clawdforge import *; print(AsyncForge.run.__doc__)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert told == "As `Forge.run`.\n"


def test_the_sdk_needs_requests_and_nothing_of_the_other_extras() -> None:
    loaded = loaded_after("from clawdforge import *")

    assert "requests" in loaded
    assert not loaded & {"click", "rich", "pydantic", "fastapi", "uvicorn", "clawdforge.server", "clawdforge.cli"}


def test_who_installs_the_sdk_alone_gets_requests_alone() -> None:
    asked = [each for each in requires("clawdforge") or [] if "extra ==" not in each]

    assert [re.split(r"[^\w.-]", each)[0] for each in asked] == ["requests"]
