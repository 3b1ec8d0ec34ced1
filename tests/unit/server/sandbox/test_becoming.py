"""Root starts a program as another user by a small one. What that user cannot do: tests/contract/sandbox."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from clawdforge.server.sandbox import becoming, spawning
from clawdforge.server.sandbox.base import Space
from clawdforge.server.sandbox.none import NoWall

UID = 64_001
WHO = ("/bin/sh", "-c", "grep -E '^(Uid|Gid|Groups|CapPrm|CapAmb):' /proc/self/status; pwd; echo $NAME")


def told_behind(wall: NoWall, **env: str) -> list[list[str]]:
    enclosed = wall.enclose(WHO, {"PATH": os.defpath, **env}, Space(Path("/"), Path("/"), Path("/")))
    with spawning.popen(enclosed, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as started:
        lines = started.communicate(timeout=60)[0].splitlines()
    return [line.split() for line in lines]


def test_root_becomes_the_agents_user_whole_and_nobody_else_becomes_any() -> None:
    words = becoming.found(UID)
    if os.geteuid() != 0:
        assert words == ()
        return
    mine = [["Uid:", *[str(UID)] * 4], ["Gid:", *[str(UID)] * 4], ["Groups:"]]
    nothing = [["CapPrm:", "0" * 16], ["CapAmb:", "0" * 16]]
    assert told_behind(NoWall(UID, words), NAME="value") == [*mine, *nothing, ["/"], ["value"]]
    assert told_behind(NoWall(UID), NAME="value") == [*mine, *nothing, ["/"], ["value"]], "by a fork, the same"


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "LOCPATH"])
def test_root_runs_nothing_where_a_variable_has_a_say_in_what_is_loaded(name: str) -> None:
    """It would be loaded into a program of root's."""
    space = Space(Path("/"), Path("/"), Path("/"))
    wall = NoWall(UID, ("chroot",))
    assert wall.enclose(WHO, {"PATH": os.defpath, "LANG": "C"}, space).becoming == ("chroot",)
    assert wall.enclose(WHO, {name: "/elsewhere"}, space).becoming == ()


@pytest.mark.parametrize("script", ["exit 125", "echo 0; echo 0; echo 0", "true"])
def test_what_does_not_become_the_user_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    chroot = tmp_path / "chroot"
    monkeypatch.setattr(becoming, "_SYSTEM", str(tmp_path))
    assert becoming.found(UID) == (), "there is none"
    chroot.write_text(f"#!/bin/sh\n{script}\n")
    chroot.chmod(0o755)
    assert becoming.found(UID) == ()
