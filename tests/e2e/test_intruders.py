"""An intruder that is the agent of a real gateway: behind each wall, and without one."""

from __future__ import annotations

import ast
import os
import secrets
import shlex
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from clawdforge import Forge, ForgeAPIError
from clawdforge.client.session import Session
from clawdforge.testing import fake_agent
from harness import intruder, intruder_calls
from harness.files import Files
from harness.gateway import Gateway
from harness.http import call
from harness.ordinary import command as as_ordinary_user
from harness.stand import NO_PYTHON, ROOT, USER_UID, Answer, Interpreter, Try, interpreter, words

BY = ("root", "user") if ROOT else ("user",)
LEGS = [f"{level}-{who}" for level in ("bwrap", "landlock", "none") for who in BY]
KEY = f"key-{secrets.token_hex(16)}"
LOGIN = '{"account": "the user"}'


@dataclass
class Site:
    """A gateway, what its user has, and the intruder's program."""

    leg: str
    gateway: Gateway
    python: Interpreter
    program: Path
    home: Path

    @property
    def level(self) -> str:
        return self.leg.partition("-")[0]

    @property
    def gateway_uid(self) -> int:
        return Path(f"/proc/{self.gateway.pid}").stat().st_uid

    def tries(self, session: Session, *tries: Try) -> list[Answer]:
        """What an intruder gets, that a session's agent has started."""
        line = shlex.join((self.python.path, "-I", "-S", str(self.program / "intruder.py"), *words(*tries)))
        output = shell(session, line)
        answers = [ast.literal_eval(each) for each in output.splitlines()]
        assert len(answers) == len(tries), output
        return answers

    def shuts_out(self, session: Session, *tries: Try, is_users: bool = False) -> None:
        """Asserts that no try gets through, and each does where there is no wall.

        Args:
            is_users: what is tried is for the gateway's user alone, who is no agent where that is root.
        """
        leaks = self.leg == "none-user" or (self.leg == "none-root" and not is_users)
        for attempt, answer in zip(tries, self.tries(session, *tries), strict=True):
            assert ("got" if leaks else "refused") in answer, f"at {self.leg}, {attempt}: {answer}"


def shell(session: Session, line: str) -> str:
    """What a command line prints, that a session's agent runs."""
    turn = session.turn(f"[[SH {line}]]", timeout_secs=60)
    (call,) = (event for event in turn.events if event["type"] == "tool_call")
    output: str = call["result"]["output"]
    assert call["result"]["exit"] == 0, output
    return output


@contextmanager
def serving(leg: str, **settings: str) -> Iterator[Site]:
    """A gateway of root's or of an ordinary user's, in a place that others may pass."""
    level, _, who = leg.partition("-")
    python = interpreter()
    assert python.for_all or leg == "bwrap-root", NO_PYTHON
    root = Path(tempfile.mkdtemp(prefix="intruders-", dir="/var/tmp"))
    root.chmod(0o711)
    program = root / "program"
    shutil.copytree(Path(fake_agent.__file__).parent, program / "fake_agent")
    for module in (intruder, intruder_calls):
        shutil.copy(str(module.__file__), program)
    home, holder = root / "home", root / "holder"
    (home / ".tool").mkdir(parents=True)
    home.chmod(0o700)
    (home / ".tool/login.json").write_text(LOGIN)
    (home / ".tool/login.json").chmod(0o600)
    prefix: tuple[str, ...] = ()
    if ROOT and who == "user":
        holder.mkdir()
        prefix = as_ordinary_user(USER_UID, holder)
        for each in (root, home, home / ".tool", home / ".tool/login.json"):
            os.chown(each, USER_UID, USER_UID)
    entry = {
        "argv": [python.path, "-I", "-S", str(program / "fake_agent")],
        "readable": [str(program), *map(str, python.programs)],
        "ask_mode": "ask",
        "login_files": ["~/.tool/login.json"],
        "home_files": {".tool/settings.json": "by the gateway"},
    }
    gateway = Gateway(
        root,
        agents={"fake": entry},
        settings={"sandbox": level, **settings},
        env={"HOME": str(home), "GATEWAY_KEY": KEY},
        prefix=prefix,
    )
    try:
        gateway.start()
        yield Site(leg, gateway, python, program, home)
    finally:
        gateway.close()
        shutil.rmtree(root)


@pytest.fixture(scope="module", params=LEGS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """At each level, as root and as an ordinary user, with an open network."""
    with serving(request.param) as made:
        yield made


def session(forge: Forge) -> Session:
    """One in which all that an agent asks for is allowed."""
    return forge.session(agent="fake", permissions="allow")


@pytest.fixture
def apps(site: Site) -> Iterator[tuple[Forge, Forge]]:
    """The intruder's, and another one."""
    with site.gateway.app(secrets.token_hex(8)) as one, site.gateway.app(secrets.token_hex(8)) as two:
        yield one, two
    site.gateway.settle()


@pytest.fixture
def app(apps: tuple[Forge, Forge]) -> Forge:
    """The intruder's."""
    return apps[0]


@pytest.fixture
def other(apps: tuple[Forge, Forge]) -> Forge:
    """Another app."""
    return apps[1]


@pytest.fixture
def own(app: Forge) -> Iterator[Session]:
    """The intruder's session."""
    with session(app) as made:
        yield made


@pytest.fixture
def theirs(other: Forge) -> Iterator[Session]:
    """Another app's session."""
    with session(other) as made:
        yield made


def home_of(site: Site, session: Session) -> Path:
    return site.gateway.data_dir / "homes" / session.session_id


def agent_of(site: Site, session: Session) -> int:
    """The process that a session's agent is, on this side."""
    pid = int(shell(session, "echo $PPID"))
    if site.level != "bwrap":
        return pid
    found = psutil.Process(site.gateway.pid).children(recursive=True)
    inner = [each.pid for each in found if os.readlink(f"/proc/{each.pid}/cwd").endswith("/workspace")]
    return next(pid for pid in inner if session.session_id in Path(f"/proc/{pid}/mountinfo").read_text())


def test_an_agent_is_never_root(site: Site, own: Session) -> None:
    assert shell(own, "id -u") != "0\n"
    assert (Path(own.cwd).stat().st_uid == site.gateway_uid) == site.leg.endswith("-user")


def test_another_app_s_session_is_out_of_reach(site: Site, own: Session, theirs: Session) -> None:
    shell(theirs, "echo secret >secret; echo secret >~/secret; chmod 666 secret ~/secret")
    secret, login = Path(theirs.cwd) / "secret", home_of(site, theirs) / "secret"
    assert login.read_text() == "secret\n"
    site.shuts_out(
        own,
        (intruder.read, secret),
        (intruder.write, secret),
        (intruder.read, login),
        (intruder.write, login),
        (intruder.listing, secret.parent),
        (intruder.listing, login.parent),
        (intruder.rename, secret, secret.parent / "other"),
    )


def test_what_is_the_gateway_s_is_out_of_reach(site: Site, own: Session) -> None:
    data = site.gateway.data_dir
    files = ("clawdforge.db", "clawdforge.db-wal", "admin-token", "gateway.lock", "gateway-id", "login.lock")
    site.shuts_out(
        own,
        (intruder.listing, data),
        *((verb, data / name) for name in files for verb in (intruder.read, intruder.open_to_write)),
        (intruder.listing, data / "workspaces"),
        (intruder.listing, data / "homes"),
        (intruder.make_folder, data / "intruded"),
        is_users=True,
    )


def test_an_upload_of_another_app_is_out_of_reach(site: Site, own: Session, other: Forge, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("secret")
    other.upload_file(tmp_path / "note.txt", ttl_secs=600)
    blobs = [each for each in (site.gateway.data_dir / "blobs").rglob("*") if each.is_file()]
    assert blobs
    site.shuts_out(own, *((intruder.read, each) for each in blobs), is_users=True)


def test_what_turns_have_changed_is_out_of_reach(site: Site, own: Session, other: Forge) -> None:
    """Old contents of files are kept, of the own session too, where an agent could change what it has done."""
    with other.session(agent="fake", permissions="allow") as theirs:
        theirs.turn("[[WRITE note.txt secret]]")
        call(other.base_url, "GET", f"/sessions/{theirs.session_id}/diff", token=other._config.token)
        kept = site.gateway.data_dir / "snapshots"
        texts = [each for each in (kept / theirs.session_id / "objects").iterdir() if each.read_text() == "secret"]
        assert texts
        site.shuts_out(
            own,
            (intruder.listing, kept),
            (intruder.listing, kept / theirs.session_id),
            *((verb, each) for each in texts for verb in (intruder.read, intruder.open_to_write)),
            (intruder.read, kept / theirs.session_id / "manifest"),
            is_users=True,
        )


def test_the_user_s_home_and_logins_are_out_of_reach(site: Site, own: Session) -> None:
    site.shuts_out(
        own,
        (intruder.read, site.home / ".tool/login.json"),
        (intruder.open_to_write, site.home / ".tool/login.json"),
        (intruder.listing, site.home),
        (intruder.write, site.home / ".profile"),
        is_users=True,
    )
    assert shell(own, "cat ~/.tool/login.json") == LOGIN, "the copy is its own"


def test_the_gateway_s_process_and_the_key_in_its_environment_are_out_of_reach(site: Site, own: Session) -> None:
    pid = site.gateway.pid
    assert KEY.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    verbs = "environment memory memory_map files directory root take_file trace kill limit slow pin sacrifice"
    site.shuts_out(own, *((verb, pid) for verb in verbs.split()), is_users=True)
    assert KEY not in shell(own, "env; cat /proc/self/environ /proc/1/environ 2>/dev/null || true")


def test_another_session_s_agent_is_out_of_reach(site: Site, own: Session, theirs: Session) -> None:
    verbs = "environment memory memory_map files directory root take_file trace kill kill_group limit slow pin"
    pid = agent_of(site, theirs)
    site.shuts_out(own, *((verb, pid) for verb in verbs.split()))
    assert shell(theirs, "echo alive") == "alive\n"


def test_the_gateway_s_port_is_a_door_like_any_other(site: Site, own: Session) -> None:
    """At an open network it is in reach, and wants a token; it cannot be taken over."""
    port = site.gateway.url.rpartition(":")[2]
    asked, taken = site.tries(own, (intruder.ask_gateway, port), (intruder.take_port, port))
    assert asked == {"got": 401}
    assert taken == {"refused": "EADDRINUSE"}


def test_an_agent_starts_with_nothing_open_and_nothing_of_the_gateway_s_environment(
    site: Site, own: Session
) -> None:
    """As root, bubblewrap leaves the agents' user namespace open, which they can neither enter nor leave."""
    opened = {each.split(":")[0] for each in shell(own, "readlink /proc/$PPID/fd/* || true").split()}
    assert {"pipe"} <= opened <= {"pipe", "user", "/dev/null"}
    names = {line.partition("=")[0] for line in shell(own, "tr '\\0' '\\n' </proc/$PPID/environ").splitlines()}
    assert names <= {"PATH", "HOME", "TMPDIR", "LANG", "TZ", "TERM", "LC_CTYPE", "PWD", "CLAWDFORGE_CHILD"}


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg.startswith("bwrap")])
def test_without_network_neither_the_gateway_nor_the_machine_is_there(leg: str) -> None:
    with (
        serving(leg, network="none") as site,
        site.gateway.app() as app,
        session(app) as own,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        name = f"@{secrets.token_hex(8)}"
        abstract.bind(name.replace("@", "\0"))
        abstract.listen()
        site.shuts_out(
            own,
            (intruder.ask_gateway, site.gateway.url.rpartition(":")[2]),
            (intruder.connect_tcp, other.getsockname()[1]),
            (intruder.connect_unix, name),
        )


# --- what the gateway itself does with what an intruder has left -------------------------------------------------


@pytest.fixture
def prize(site: Site) -> Iterator[Path]:
    """A file of the gateway's user, that an intruder wants to have written, or handed over."""
    path = site.home / "prize"
    path.write_text("the user's own")
    path.chmod(0o600)
    yield path
    assert path.read_text() == "the user's own"
    path.unlink()


TRAPS = {
    "link": 'ln -sfn "$PRIZE" "$1"',
    "hanging link": 'ln -sfn "$PRIZE-new" "$1"',
    "link to a device": 'ln -sfn /dev/zero "$1"',
    "pipe": 'mkfifo "$1"',
    "directory": 'mkdir -p "$1/full/of/things"',
    "endless file": 'truncate -s 500M "$1"',
    "closed file": 'echo mine >"$1"; chmod 000 "$1"',
}


def set_trap(session: Session, name: str, where: str, prize: Path) -> None:
    """Has the agent put something in the place of a file, then die, so that the next turn has a fresh one."""
    shell(session, f'PRIZE={prize}; set -- {where}; rm -rf "$1"; {TRAPS[name]}')
    with pytest.raises(ForgeAPIError) as failed:
        session.turn("[[EXIT 3]]", timeout_secs=60)
    assert failed.value.code == "agent_failed"


def test_settings_that_it_leaves_for_its_next_start_are_not_heeded(site: Site, own: Session, prize: Path) -> None:
    """Files that the gateway writes before each start are written anew, and through nothing that lies there."""
    for name in TRAPS:
        set_trap(own, name, "~/.tool/settings.json", prize)
        assert shell(own, "cat ~/.tool/settings.json") == "by the gateway", name
    assert not prize.with_name("prize-new").exists()


def test_a_directory_of_settings_that_leads_elsewhere_is_not_followed(
    site: Site, own: Session, prize: Path
) -> None:
    """It would have the gateway write there; and take for a renewed login what bears its name there."""
    vault = site.home / "vault"
    vault.mkdir()
    os.chown(vault, site.gateway_uid, site.gateway_uid)
    shutil.copy(prize, vault / "login.json")
    os.chown(vault / "login.json", site.gateway_uid, site.gateway_uid)
    for name in TRAPS:
        set_trap(own, name, "~/.tool", vault)
        assert shell(own, "cat ~/.tool/settings.json ~/.tool/login.json") == f"by the gateway{LOGIN}", name
    assert os.listdir(vault) == ["login.json"]
    assert (site.home / ".tool/login.json").read_text() == LOGIN
    shutil.rmtree(vault)


def test_a_login_that_leads_elsewhere_is_neither_taken_back_nor_handed_out(
    site: Site, own: Session, prize: Path
) -> None:
    """Else the user's login would become what the intruder names, and that would be its own at the next start.

    A file that it closes is one that it has written: that is taken back, as a login that was renewed.
    """
    for name in TRAPS.keys() - {"closed file"}:
        set_trap(own, name, "~/.tool/login.json", prize)
        assert shell(own, "cat ~/.tool/login.json") == LOGIN, name
        assert (site.home / ".tool/login.json").read_text() == LOGIN, name


def test_settings_of_one_session_are_none_of_another(site: Site, own: Session, app: Forge) -> None:
    places = "~/.claude/settings.json ~/.profile ./.claude/settings.json"
    shell(own, f"mkdir -p ~/.claude .claude; echo planted | tee {places}")
    with session(app) as next_one:
        assert shell(next_one, "ls -A . ~ | grep -e claude -e profile || true") == ""


def test_the_gateway_writes_for_an_agent_through_nothing_that_it_left(
    site: Site, own: Session, prize: Path
) -> None:
    for name in ("link", "hanging link", "pipe", "directory"):
        shell(own, f"PRIZE={prize}; set -- note; rm -rf note; {TRAPS[name]}")
        told = own.turn("[[FS_WRITE note written]]", timeout_secs=60).text()
        assert '"error"' in told, name
    assert not prize.with_name("prize-new").exists()


def test_an_upload_is_laid_through_nothing_that_it_left(
    site: Site, own: Session, app: Forge, prize: Path, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("uploaded")
    token = app.upload_file(tmp_path / "note.txt", ttl_secs=600).file_token
    shell(own, f"ln -s {prize} note.txt; ln -s {prize}-new 'note (2).txt'; mkfifo 'note (3).txt'")
    own.turn("[[ECHO look]]", files=[token], timeout_secs=60)
    assert shell(own, "cat 'note (4).txt'") == "uploaded"
    assert not prize.with_name("prize-new").exists()


def test_files_are_fetched_put_and_removed_through_nothing_that_it_left(
    own: Session, app: Forge, prize: Path
) -> None:
    files = Files(app, own.session_id)
    shell(
        own,
        f"ln -s {prize} file; ln -s {prize.parent} folder; ln -s / root; mkfifo pipe; mkdir sub; ln -s .. sub/up",
    )
    for path in ("/file", f"/folder/{prize.name}", f"/root{prize}", "/sub/up/file", "/pipe"):
        assert files.call("GET", path).status in (404, 422)
    listed = {row["path"]: row["type"] for row in files.listed()}
    links = dict.fromkeys(("file", "folder", "root", "sub/up"), "symlink")
    assert {**links, "pipe": "other", "sub": "directory"}.items() <= listed.items()
    assert files.call("PUT", "/folder/planted", b"x").status == 422
    assert files.call("PUT", f"/root{prize}", b"x").status == 422
    assert files.call("DELETE", f"/folder/{prize.name}?recursive=true").status == 404
    assert files.call("PUT", "/file", b"x").status == 200
    assert files.call("DELETE", "/folder?recursive=true").status == 200
    assert shell(own, "cat file") == "x"
    assert prize.read_text() == "the user's own"
