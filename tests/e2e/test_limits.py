"""Agents of a real gateway that want more than they may: at each wall, by each way in which limits are kept.

The greed is bounded, for the machine's sake: what nothing stops takes no more than 300 MB and 100 processes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from clawdforge.server.sandbox.cgroups import places
from clawdforge.testing import fake_agent
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.ordinary import command as as_ordinary_user
from harness.stand import ROOT, USER_UID, interpreter
from harness.tenants import tenant

MIB = 1024 * 1024
SETTINGS = {
    "agent_memory_bytes": 100 * MIB,
    "agent_processes": 40,
    "agent_file_bytes": 16 * MIB,
    "agent_tmp_bytes": 4 * MIB,
    "workspace_bytes": 20 * MIB,
    "cancel_timeout_secs": 0.5,
}
HOG = "held = bytearray(b'x') * 300_000_000; import time; time.sleep(600)"
HIDER = """
import os, time
for name in "ab":
    file = open(name, "wb")
    os.unlink(name)
    file.write(bytes(15 << 20))
    file.flush()
    globals()[name] = file
time.sleep(600)
"""
WITHOUT_CGROUPS = (
    *("unshare", "--mount", "--propagation", "private"),
    *("sh", "-c", 'umount -R /sys/fs/cgroup && exec "$@"', "sh"),
)
"""What to put before a command line so that root's gateway finds no cgroups, as in most containers."""


def has_groups() -> bool:
    """Whether root finds groups here: on a machine of today's, where there is no other use of them."""
    found = places(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    return ROOT and {"memory", "pids"} <= found.v1.keys() and os.access(found.v1["memory"], os.W_OK)


COUNTED = [f"{level}-groups" for level in ("bwrap", "landlock", "none")] if has_groups() else []
"""Where the kernel counts a session's memory and processes."""
LOOKED_AFTER = [
    *(("bwrap-root", "landlock-root") if ROOT else ()),
    *("bwrap-user", "landlock-user"),
]
"""Where the gateway does."""
LEGS = [*COUNTED, *LOOKED_AFTER]


@dataclass
class Site:
    """A gateway, and what its agents can run."""

    leg: str
    gateway: Gateway
    python: str

    @property
    def level(self) -> str:
        return self.leg.partition("-")[0]

    def run(self, code: str) -> str:
        """The directive by which an agent runs some Python, and waits for its end."""
        return f"[[SH exec {self.python} -I -S -c {shlex.quote(code)}]]"


@contextmanager
def opened(leg: str, **settings: Any) -> Iterator[Site]:
    """A gateway in a place that others may pass."""
    level, _, keeping = leg.partition("-")
    root = Path(tempfile.mkdtemp(prefix="limits-", dir="/var/tmp"))
    root.chmod(0o711)
    python, shown, home = interpreter(), root / "shown", root / "home"
    shutil.copytree(Path(fake_agent.__file__).parent, shown / "program")
    home.mkdir()
    prefix: tuple[str, ...] = ()
    if ROOT and keeping == "user":
        (root / "holder").mkdir()
        prefix = as_ordinary_user(USER_UID, root / "holder")
        for each in (root, home):
            os.chown(each, USER_UID, USER_UID)
    elif keeping == "root":
        prefix = WITHOUT_CGROUPS
    entry = {
        "argv": [python.path, "-I", "-S", str(shown / "program")],
        "readable": [str(shown)],
        "ask_mode": "ask",
    }
    gateway = Gateway(
        root,
        agents={"fake": entry},
        settings={**SETTINGS, "sandbox": level, **settings},
        env={"HOME": str(home)},
        prefix=prefix,
    )
    try:
        gateway.start()
        yield Site(leg, gateway, python.path)
    finally:
        gateway.close()
        shutil.rmtree(root)


@pytest.fixture(scope="module", params=LEGS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A gateway that no test ends."""
    with opened(request.param) as made:
        yield made


def only(*legs: list[str], name: str = "site") -> Callable[[Any], Any]:
    """On these legs alone. Where there are none of them, there is no such test."""
    chosen = [leg for each in legs for leg in each]
    if not chosen:
        return lambda _: None
    return pytest.mark.parametrize(name, chosen, indirect=name == "site", scope="module")


@pytest.fixture
def app(site: Site) -> Iterator[Forge]:
    with tenant(site.gateway) as forge:
        yield forge


@pytest.fixture
def session(app: Forge) -> Iterator[Session]:
    """One in which all that an agent asks for is allowed."""
    with app.session(agent="fake", permissions="allow") as made:
        yield made


def turn(app: Forge, session: Session, prompt: str) -> Answer:
    return ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": prompt, "timeout_secs": 60})


def ended_for(app: Forge, session: Session, prompt: str, limit: str) -> str:
    """What is told of a turn that a limit has ended, in all places alike; the session goes on."""
    answer = turn(app, session, prompt)
    assert answer.problem() == (502, "agent_failed"), answer.body
    body: dict[str, Any] = answer.body
    assert (body["stop_reason"], body["limit"], body["exit_code"]) == ("agent_failed", limit, -9)
    detail: str = body["detail"]
    record = ask(app, "GET", f"/sessions/{session.session_id}").body
    assert (record["live"], record["turn_count"]) == (True, body["turn_index"])
    return detail


def told_in_the_log(site: Site, session: Session) -> list[dict[str, Any]]:
    events = Ledger(site.gateway.data_dir).events(session.session_id)
    return [event["data"] for event in events if event["type"] == "error"]


# --- memory -----------------------------------------------------------------------------------------------------


def test_one_that_eats_memory_is_ended_and_told_how_much_it_had(site: Site, app: Forge, session: Session) -> None:
    with app.session(agent="fake") as neighbour:
        neighbour.turn("hi")
        detail = ended_for(app, session, "[[MEMORY 300000000]][[SLEEP 600]]", "memory")
        assert detail == "the agent used more than its 100 MiB of memory"
        assert told_in_the_log(site, session) == [{"code": "agent_failed", "detail": detail, "limit": "memory"}]
        assert neighbour.turn("still here?").text() == "turn 2: still here?"
    assert session.turn("again").text() == "turn 1: again"


def test_one_whose_child_eats_memory_is_ended_with_it(site: Site, app: Forge, session: Session) -> None:
    """Never half dead: an agent whose tools are killed under its hands."""
    ended_for(app, session, f"[[DAEMON]]{site.run(HOG)}[[SLEEP 600]]", "memory")
    until(lambda: len(site.gateway.children()) == 0, "all of it to be gone")
    assert session.turn("again").text() == "turn 1: again"


# --- processes --------------------------------------------------------------------------------------------------


@only(COUNTED, ["bwrap-user"])
def test_one_that_forks_without_end_is_given_no_more_and_can_go_on(app: Forge, session: Session) -> None:
    text = session.turn("[[FORKS 100]]").text()
    assert text.startswith("fork failed: Resource temporarily unavailable forked ")
    assert 30 <= int(text.rsplit(" ", 1)[1]) < 40
    assert session.turn("[[PID]]").ok


@only(COUNTED)
def test_one_that_dies_for_want_of_processes_is_told_so(app: Forge, session: Session) -> None:
    detail = ended_for(app, session, "[[FORKS 100]][[KILL9]]", "processes")
    assert detail == "the agent ended after it had met its limit of 40 processes"
    assert session.turn("again").text() == "turn 1: again"


@only([leg for leg in LOOKED_AFTER if leg != "bwrap-user"])
def test_one_that_forks_where_nobody_counts_is_ended(site: Site, app: Forge, session: Session) -> None:
    detail = ended_for(app, session, "[[DAEMON]][[FORKS 100]][[SLEEP 600]]", "processes")
    assert detail == "the agent ran more than its 40 processes"
    until(lambda: len(site.gateway.children()) == 0, "all of it to be gone")
    assert session.turn("again").text() == "turn 1: again"


# --- the disk ---------------------------------------------------------------------------------------------------


def test_no_file_is_larger_than_it_may_be(session: Session) -> None:
    assert session.turn("[[DISK big 100000000]]").text() == "cannot fill big: File too large"
    assert Path(session.cwd, "big").stat().st_size == 16 * MIB


@pytest.mark.parametrize("where", ["the workspace", "its home", "its temporary files"])
def test_one_that_fills_the_disk_is_ended_and_starts_again_when_there_is_room(
    site: Site, app: Forge, session: Session, where: str
) -> None:
    if where == "the workspace":
        inside = session.turn("[[CWD]]").text()
    elif where == "its home":
        inside = session.turn("[[HOME]]").text()
    elif site.level == "bwrap":  # those are bounded by themselves
        assert session.turn("[[DISK /tmp/big 10000000]]").text() == "cannot fill /tmp/big: No space left on device"
        return
    else:
        inside = session.turn("[[ENV TMPDIR]]").text()
    detail = ended_for(
        app, session, f"[[DISK {inside}/a 15000000]][[DISK {inside}/b 15000000]][[SLEEP 600]]", "workspace"
    )
    assert detail.startswith("the session's workspace and home hold 28.")
    assert detail.endswith(" MiB, and may hold 20 MiB")
    if where == "its temporary files":  # they went with it
        assert session.turn("again").text() == "turn 1: again"
        return
    refused = turn(app, session, "again")
    assert refused.problem() == (507, "storage_full")
    assert refused.body["detail"] == f"{detail}: it takes turns again when they hold less"
    assert refused.body["limit"] == "workspace"
    here = Path(session.cwd) if where == "the workspace" else site.gateway.data_dir / "homes" / session.session_id
    (here / "a").unlink()
    assert session.turn("again").text() == "turn 1: again"


def test_a_file_that_has_no_name_any_more_takes_room_all_the_same(
    site: Site, app: Forge, session: Session
) -> None:
    ended_for(app, session, f"{site.run(HIDER)}[[SLEEP 600]]", "workspace")
    assert session.turn("again").text() == "turn 1: again"


def test_a_new_session_is_refused_nothing(site: Site, app: Forge) -> None:
    assert app.run("hi", agent="fake").result == "turn 1: hi"


# --- groups -----------------------------------------------------------------------------------------------------


def groups(gateway: Gateway) -> list[Path]:
    """The groups of a gateway's sessions, in every hierarchy."""
    name = f"clawdforge-{(gateway.data_dir / 'gateway-id').read_text().strip()}"
    found = [Path(folder, name) for folder, names, _ in os.walk("/sys/fs/cgroup") if name in names]
    return [each for place in found for each in place.iterdir() if each.is_dir()]


@only(COUNTED)
def test_a_group_bears_its_session_s_name_and_goes_with_its_agent(site: Site, app: Forge) -> None:
    with app.session(agent="fake") as session:
        session.turn("hi")
        assert {each.name.partition(".")[0] for each in groups(site.gateway)} == {session.session_id}
    until(lambda: groups(site.gateway) == [], "the group to be gone")


@only(COUNTED[:1], name="leg")
def test_one_that_burns_processors_is_given_its_part_of_them(leg: str) -> None:
    burner = "import time\nwhile time.process_time() < 1: pass"
    with opened(leg, agent_cpu_cores=0.5) as site, site.gateway.app() as app:
        with app.session(agent="fake", permissions="allow") as session:
            assert session.turn(site.run(burner)).ok
            told = [each / "cpu.stat" for each in groups(site.gateway) if (each / "cpu.stat").exists()]
            lines = [line.split() for each in told for line in each.read_text().splitlines()]
        assert any(name == "nr_throttled" and int(count) > 0 for name, count in lines)


@only(COUNTED, name="leg")
def test_a_killed_gateway_s_groups_are_gone_when_the_next_one_listens(leg: str) -> None:
    with opened(leg) as site:
        with site.gateway.app() as app:
            app.create_session(agent="fake").turn("[[IGNORE_EOF]][[FORKS 20]]")
        assert groups(site.gateway)
        site.gateway.kill()
        site.gateway.start()
        assert groups(site.gateway) == []
        assert site.gateway.children() == []
