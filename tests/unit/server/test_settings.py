"""Settings as they are given, and as the gateway has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawdforge.server import settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another working directory and another home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CLAWDFORGE_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (".", "."),
        ("data", "data"),
        ("./data/../data", "data/../data"),  # a link on the way may lead elsewhere
        ("~", "home"),
        ("~/data", "home/data"),
        ("~nobody-here", "~nobody-here"),
    ],
)
def test_the_data_directory_is_the_same_from_everywhere(
    given: str, found: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = elsewhere / "cf.toml"
    config.write_text(f'data_dir = "{given}"\n')

    assert settings.load(data_dir=Path(given)).data_dir == elsewhere / found
    assert settings.load(config).data_dir == elsewhere / found
    monkeypatch.setenv("CLAWDFORGE_DATA_DIR", given)
    assert settings.load().data_dir == elsewhere / found


def test_without_one_it_lies_where_the_users_data_does(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.load().data_dir == elsewhere / "home/.local/share/clawdforge"
    monkeypatch.setenv("XDG_DATA_HOME", "share")
    assert settings.load().data_dir == elsewhere / "share/clawdforge"


def test_arguments_beat_the_environment_which_beats_the_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = elsewhere / "cf.toml"
    config.write_text('port = 1\nhost = "::1"\nsession_ttl_secs = 5000\n')
    monkeypatch.setenv("CLAWDFORGE_PORT", "2")
    monkeypatch.setenv("CLAWDFORGE_HOST", "127.0.0.2")

    found = settings.load(config, port=3)

    assert (found.port, found.host, found.session_ttl_secs) == (3, "127.0.0.2", 5000)
