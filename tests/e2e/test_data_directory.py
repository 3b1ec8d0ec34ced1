"""What other users of the machine find in a gateway's data directory that they may pass: nothing of anybody's."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import agents
from harness.gateway import Gateway

STRANGER_UID = 64_002
ROOT = os.geteuid() == 0
# Each line that it is given is a path; it tells those that it may read or write.
LOOK = 'while IFS= read -r path; do if [ -r "$path" ] || [ -w "$path" ]; then printf "%s\\n" "$path"; fi; done'


@pytest.fixture
def used() -> Iterator[Gateway]:
    """A gateway with a session, a run and an upload, where everybody can get at its directory if at all."""
    root = Path(tempfile.mkdtemp(prefix="used-", dir="/var/tmp"))
    root.chmod(0o711)
    entries = {"fake": agents.scripted(root / "agent.jsonl"), "login": agents.scripted(root / "login.jsonl")}
    home = root / "home"
    (home / ".fake").mkdir(parents=True)
    (home / ".fake" / "login.json").write_text("a login")
    entries["login"]["login_files"] = ["~/.fake/login.json"]
    gateway = Gateway(root, agents=entries, env={"HOME": str(home)}).start()
    with gateway.app() as app:
        (root / "upload").write_text("an upload")
        token = app.upload_file(root / "upload")
        app.run("hi", agent="fake")
        app.create_session(agent="fake", permissions="allow").turn("[[SH echo mine > file]]", files=[token])
        app.create_session(agent="login").turn("hi")
        yield gateway
    gateway.close()
    shutil.rmtree(root)


def test_nobody_else_can_read_or_list_anything_in_it(used: Gateway) -> None:
    data_dir = used.data_dir
    found = [data_dir, *data_dir.rglob("*")]
    assert {"clawdforge.db", "admin-token", "login.json", "file", "upload"} <= {each.name for each in found}
    if not ROOT:
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        return
    looked = subprocess.run(
        ["/bin/sh", "-c", LOOK],
        input="\n".join(map(str, found)),
        capture_output=True,
        text=True,
        check=True,
        user=STRANGER_UID,
        group=STRANGER_UID,
        extra_groups=[],
        cwd="/",
    )
    for_all = [data_dir / name for name in ("agents", "models", "wall")]
    seen = [
        path for path in looked.stdout.splitlines() if not any(Path(path).is_relative_to(each) for each in for_all)
    ]
    assert seen == []
    assert data_dir.stat().st_mode & 0o001, "its agents can pass it"
