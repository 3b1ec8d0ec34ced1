"""Installing an agent: the real npm against a registry of our own on loopback."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clawdforge.local_agent import weights
from clawdforge.server.agents.available import find, version_of
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.install import InstallError, install
from clawdforge.server.agents.known import BUILT_IN
from clawdforge.server.agents.programs import consists_of
from clawdforge.server.agents.reach import check_way

TINY = AgentEntry(name="tiny", title="Tiny Agent", argv=("tiny-agent",), package="tiny-agent@1.2.3")
PROGRAM = "#!/usr/bin/env node\nconsole.log('tiny');\n"
DEADLINE_S = 60


def tarball(version: str, **manifest: Any) -> bytes:
    """An npm package as the registry hands it out."""
    files = {
        "package.json": json.dumps(
            {"name": "tiny-agent", "version": version, "bin": {"tiny-agent": "tiny.js"}, **manifest}
        ),
        "tiny.js": PROGRAM,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text.encode())
            member.mode = 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass
class Registry:
    """What npm asks: a document of all releases of `tiny-agent`, and their tarballs."""

    url: str = ""
    releases: dict[str, bytes] = field(default_factory=dict)
    hangs: bool = False
    asked: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def add(self, version: str, content: bytes) -> None:
        self.releases[version] = content

    def document(self) -> dict[str, Any]:
        return {
            "name": "tiny-agent",
            "dist-tags": {"latest": max(self.releases)},
            "versions": {
                version: {
                    "name": "tiny-agent",
                    "version": version,
                    "bin": {"tiny-agent": "tiny.js"},
                    "hasInstallScript": True,
                    "dist": {
                        "tarball": f"{self.url}/tiny-agent/-/tiny-agent-{version}.tgz",
                        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode(),
                    },
                }
                for version, content in self.releases.items()
            },
        }

    def answer(self, path: str) -> bytes | None:
        self.asked.set()
        if self.hangs:
            self.released.wait(DEADLINE_S)
        if path == "/tiny-agent":
            return json.dumps(self.document()).encode()
        version = path.rpartition("tiny-agent-")[2].removesuffix(".tgz")
        return self.releases.get(version)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    assert shutil.which("npm"), "these tests run the real npm: install Node 20 or newer with npm"
    known = Registry()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = known.answer(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Tests are read, not listened to."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        point_npm_at(known.url, tmp_path, monkeypatch)
        yield known
        known.released.set()
        server.shutdown()
        thread.join()


def point_npm_at(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", url)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm-cache"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_update_notifier", "false")


def nothing(what: str, done_bytes: int, total_bytes: int | None) -> None:
    """Progress that nobody watches."""


def entries(data_dir: Path) -> set[str]:
    return {path.name for path in (data_dir / "agents").iterdir() if not path.name.endswith(".lock")}


def test_the_pinned_release_is_installed_and_can_be_started(registry: Registry, tmp_path: Path) -> None:
    registry.add("1.2.3", tarball("1.2.3"))
    registry.add("9.0.0", tarball("9.0.0"))
    seen: list[tuple[str, int, int | None]] = []

    sentence = install(TINY, tmp_path / "data", lambda *told: seen.append(told))

    assert "Tiny Agent is installed: tiny-agent@1.2.3" in sentence
    assert seen[0] == ("tiny-agent@1.2.3", 0, None)
    (program,) = find(TINY, tmp_path / "data")
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "tiny\n"
    assert version_of(Path(program)) == "1.2.3"


def test_whoever_installs_it_agents_that_are_another_user_can_run_it(registry: Registry, tmp_path: Path) -> None:
    registry.add("1.2.3", tarball("1.2.3"))
    usual = os.umask(0o077)
    try:
        install(TINY, tmp_path / "data", lambda *_: None)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(usual)
    closed = [
        each
        for each in (tmp_path / "data" / "agents").resolve().rglob("node_modules/**/*")
        if not each.stat().st_mode & 0o004
    ]
    argv = find(TINY, tmp_path / "data")
    check_way(argv, consists_of(argv, (), tmp_path / "data"), 64_001, bound=True)
    assert closed == []


def test_a_package_runs_nothing_of_its_own_while_it_is_installed(registry: Registry, tmp_path: Path) -> None:
    marks = {
        hook: f"node -e \"require('fs').writeFileSync('{tmp_path}/{hook}', '')\""
        for hook in ("preinstall", "install", "postinstall", "prepare")
    }
    registry.add("1.2.3", tarball("1.2.3", scripts=marks))

    install(TINY, tmp_path / "data", nothing)

    assert not [hook for hook in marks if (tmp_path / hook).exists()]


def test_a_newer_pin_replaces_the_older_installation_and_leaves_nothing_of_it(
    registry: Registry, tmp_path: Path
) -> None:
    registry.add("1.2.3", tarball("1.2.3"))
    registry.add("2.0.0", tarball("2.0.0"))
    install(TINY, tmp_path, nothing)

    install(dataclasses.replace(TINY, package="tiny-agent@2.0.0"), tmp_path, nothing)

    assert version_of(Path(find(TINY, tmp_path)[0])) == "2.0.0"
    assert len(entries(tmp_path)) == 2, "the link and what it names"


def test_a_failed_installation_leaves_the_older_one(registry: Registry, tmp_path: Path) -> None:
    registry.add("1.2.3", tarball("1.2.3"))
    install(TINY, tmp_path, nothing)
    before = entries(tmp_path)

    with pytest.raises(InstallError, match="does not have this release"):
        install(dataclasses.replace(TINY, package="tiny-agent@2.0.0"), tmp_path, nothing)

    assert version_of(Path(find(TINY, tmp_path)[0])) == "1.2.3"
    assert entries(tmp_path) == before


def test_a_registry_that_gives_another_version_is_found_out(registry: Registry, tmp_path: Path) -> None:
    registry.add("1.2.3", tarball("0.0.1"))

    with pytest.raises(InstallError, match=r"installed 0\.0\.1 of Tiny Agent where 1\.2\.3 is meant"):
        install(TINY, tmp_path, nothing)

    assert entries(tmp_path) == set()


def test_a_package_without_the_program_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.add("1.2.3", tarball("1.2.3"))

    with pytest.raises(InstallError, match="has no program 'other'"):
        install(dataclasses.replace(TINY, argv=("other",)), tmp_path, nothing)


def test_what_an_interrupted_installation_left_is_removed_by_the_next(registry: Registry, tmp_path: Path) -> None:
    registry.add("1.2.3", tarball("1.2.3"))
    left = tmp_path / "agents" / ".tiny-0123456789abcdef"
    (left / "node_modules").mkdir(parents=True)
    left.with_suffix(".link").symlink_to(left.name)

    install(TINY, tmp_path, nothing)

    assert left.name not in entries(tmp_path)
    assert len(entries(tmp_path)) == 2


def test_no_network_is_told_with_what_npm_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # nobody else gets the port meanwhile, and nobody listens there
        point_npm_at(f"http://someone:secret@127.0.0.1:{unheard.getsockname()[1]}", tmp_path, monkeypatch)

        with pytest.raises(InstallError) as raised:
            install(TINY, tmp_path, nothing)

    message = str(raised.value)
    assert "The package registry could not be reached" in message
    assert "ECONNREFUSED" in message
    assert "secret" not in message
    assert message.isprintable()


def test_without_npm_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(InstallError, match=r"npm was not found\. Install Node 20 or newer.*agents install tiny"):
        install(TINY, tmp_path, nothing)


def test_an_agent_without_a_package_says_how_to_install_it_oneself(tmp_path: Path) -> None:
    entry = AgentEntry(name="mine", title="Mine", argv=("my-agent", "acp"))

    with pytest.raises(InstallError, match=r"so that 'my-agent' is on the PATH.*\[agents\.mine\] argv"):
        install(entry, tmp_path, nothing)


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InstallError, match="could not be installed below"):
        install(TINY, tmp_path / "file", nothing)


def test_two_installations_at_once_do_not_meet(registry: Registry, tmp_path: Path) -> None:
    registry.add("1.2.3", tarball("1.2.3"))

    def second(what: str, done_bytes: int, total_bytes: int | None) -> None:
        with pytest.raises(InstallError, match="being installed by another process"):
            install(TINY, tmp_path, nothing)

    install(TINY, tmp_path, second)

    assert version_of(Path(find(TINY, tmp_path)[0])) == "1.2.3"


def test_ctrl_c_ends_npm_and_removes_what_it_had_begun(registry: Registry, tmp_path: Path) -> None:
    registry.add("1.2.3", tarball("1.2.3"))
    registry.hangs = True
    program = (
        "from clawdforge.server.agents.install import install\n"
        "from clawdforge.server.agents.entry import AgentEntry\n"
        "from pathlib import Path\n"
        "entry = AgentEntry('tiny', 'Tiny Agent', ('tiny-agent',), 'tiny-agent@1.2.3')\n"
        f"install(entry, Path({str(tmp_path)!r}), lambda *told: None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as child:
        assert registry.asked.wait(DEADLINE_S), "npm asks the registry"
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=DEADLINE_S)

    assert "KeyboardInterrupt" in stderr
    assert entries(tmp_path) == set()
    assert not running_below(tmp_path)


def running_below(folder: Path) -> list[str]:
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            cwd = os.readlink(proc / "cwd")
        except OSError:
            continue
        if cwd.startswith(str(folder)):
            found.append(proc.name)
    return found


def test_weights_that_are_there_are_not_fetched_again(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    with (folder / weights.FILE_NAME).open("wb") as file:
        file.truncate(weights.SIZE_BYTES)

    assert str(folder / weights.FILE_NAME) in install(BUILT_IN["local"], tmp_path, nothing)


def test_weights_that_cannot_be_fetched_are_an_error_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(InstallError, match="pip could not fetch"):
        install(BUILT_IN["local"], tmp_path, nothing)
