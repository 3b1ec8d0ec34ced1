"""Children and their trees: real processes that do what they should not."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import psutil
import pytest

from clawdforge.server.agents import leftovers, tree
from clawdforge.server.agents.process import ChildProcess
from clawdforge.server.agents.spawner import Command, Spawned, Spawner
from clawdforge.server.sandbox.base import Enclosed, Space
from clawdforge.server.sandbox.limits import Exceeded
from clawdforge.server.sandbox.none import NoWall

PATIENCE_S = 20


class Owner:
    """Hears a process, and lets a test wait for what it hears."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.broken: list[str] = []
        self.exit_code: int | None = None
        self.exceeded: Exceeded | None = None
        self._changed = asyncio.Event()

    def on_line(self, line: bytes) -> None:
        self.lines.append(line)
        self._changed.set()

    def on_broken(self, reason: str) -> None:
        self.broken.append(reason)
        self._changed.set()

    def on_exit(self, code: int, exceeded: Exceeded | None) -> None:
        assert self.exit_code is None, "told once"
        self.exit_code = code
        self.exceeded = exceeded
        self._changed.set()

    async def until(self, *, lines: int = 0, broken: bool = False, exited: bool = False) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.lines) < lines or (broken and not self.broken) or (exited and self.exit_code is None):
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def spawner() -> AsyncIterator[Spawner]:
    spawner = Spawner(NoWall())
    yield spawner
    spawner.close()


def space(path: Path) -> Space:
    return Space(path, path, path)


async def start(spawner: Spawner, owner: Owner, tmp_path: Path, code: str, *, limit: int = 10_000) -> ChildProcess:
    argv = [sys.executable, "-I", "-S", "-c", code]
    env = {"PATH": os.environ["PATH"]}
    mark = f"test-{os.getpid()}:{id(owner)}"
    return await ChildProcess.start(spawner, Command(argv, env, space(tmp_path), mark, limit), owner)


def lives(pid: int) -> bool:
    """Whether any thread of it does: a process whose first one ended is shown as a zombie, and may run on."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


async def test_tells_every_line_and_then_the_exit(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    process = await start(spawner, owner, tmp_path, "print('a'); print(); print('b', end=''); raise SystemExit(7)")
    await owner.until(exited=True)
    await process.end(now=True)
    assert (owner.lines, owner.exit_code) == ([b"a", b"b"], 7)


async def test_what_it_wrote_before_its_end_is_told_though_it_was_paused(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    process = await start(spawner, owner, tmp_path, "print('a\\n' * 10_000, end='', flush=True)")
    await asyncio.sleep(0)  # it listens
    process.pause()
    await owner.until(exited=True)
    await process.end(now=True)
    assert (len(owner.lines), owner.exit_code) == (10_000, 0)


async def test_what_is_sent_arrives_and_eof_ends_it(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    echo = "import sys\nfor line in sys.stdin: print(len(line), flush=True)"
    process = await start(spawner, owner, tmp_path, echo)
    process.send(b"x" * 5_000_000)
    process.send(b"y")
    await owner.until(lines=2)
    await process.end(now=False)
    assert (owner.lines, owner.exit_code) == ([b"5000001", b"2"], 0)


async def test_a_program_that_is_not_there_is_an_oserror(spawner: Spawner, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await ChildProcess.start(spawner, Command(["/no/such/program"], {}, space(tmp_path), "m", 1), Owner())


async def test_a_fork_that_fails_is_told_and_the_next_one_works(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object, **options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    owner = Owner()
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refused)
        with pytest.raises(BlockingIOError):
            await start(spawner, owner, tmp_path, "print('never')")
    process = await start(spawner, owner, tmp_path, "print('now')")
    await owner.until(lines=1, exited=True)
    await process.end(now=True)
    assert owner.lines == [b"now"]


@pytest.mark.parametrize("fails", range(4))
async def test_a_start_for_which_the_pipes_run_out_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """Three are the child's, by one it is told whether it could be started."""

    class Holding(NoWall):
        def enclose(self, argv: Sequence[str], env: Mapping[str, str], space: Space) -> Enclosed:
            held.append(os.open("/dev/null", os.O_RDONLY))
            return replace(NoWall().enclose(argv, env, space), fds=(held[-1],))

    spawner = Spawner(Holding())
    held: list[int] = []
    made: list[tuple[int, int]] = []
    pipe = os.pipe

    def scarce() -> tuple[int, int]:
        if len(made) == fails:
            raise OSError(errno.EMFILE, "no more files")
        made.append(pipe())
        return made[-1]

    with monkeypatch.context() as patched:
        patched.setattr(os, "pipe", scarce)
        with pytest.raises(OSError, match="no more files"):
            await start(spawner, Owner(), tmp_path, "print('never')")
    assert len(made) == fails
    assert not any(Path(f"/proc/self/fd/{end}").exists() for end in [*held, *chain(*made)])
    spawner.close()


async def test_a_line_over_the_limit_breaks_it(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    process = await start(spawner, owner, tmp_path, "print('ok'); print('x' * 100_000)", limit=50_000)
    await owner.until(lines=1, broken=True)
    await process.end(now=True)
    assert owner.lines == [b"ok"]
    assert "more than 50000 bytes" in owner.broken[0]


async def test_an_agent_that_closes_its_output_and_lives_on_is_broken(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    process = await start(spawner, owner, tmp_path, "import os, time; os.close(1); os.close(2); time.sleep(600)")
    await owner.until(broken=True)
    assert owner.broken == ["the agent closed its output"]
    assert process.running
    await process.end(now=True)
    assert owner.exit_code == -9


async def test_stderr_is_drained_and_its_end_kept(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    code = "import sys; sys.stderr.write('x' * 3_000_000 + 'the end'); sys.stderr.flush(); print('done')"
    process = await start(spawner, owner, tmp_path, code)
    await owner.until(lines=1, exited=True)
    await process.end(now=True)
    assert process.stderr_tail().endswith("the end")
    assert len(process.stderr_tail()) == 16 * 1024


async def test_an_agent_that_never_reads_is_broken_before_memory_is(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    process = await start(spawner, owner, tmp_path, "import time; time.sleep(600)")
    for _ in range(40):
        process.send(b"z" * 1_000_000)
    assert "does not read" in owner.broken[0]
    await process.end(now=True)


async def test_one_that_ignores_eof_and_sigterm_is_killed(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    process = await start(spawner, owner, tmp_path, code)
    await owner.until(lines=1)
    await process.end(now=False)
    assert owner.exit_code == -9


async def test_one_that_is_known_to_ignore_eof_is_not_waited_for(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawdforge.server.agents.process._EOF_GRACE_S", 3_600)
    owner = Owner()
    process = await start(spawner, owner, tmp_path, "import time; print('up', flush=True); time.sleep(600)")
    await owner.until(lines=1)
    await process.end(now=False, heeds_eof=False)
    assert owner.exit_code == -15
    await process.end(now=False, heeds_eof=False)


# Each starts a sleeper in its own way of getting lost, says its pid, and then lives on or exits.
FORKS = {
    "child": "p = os.fork()\nif p == 0: signal.signal(15, signal.SIG_IGN); time.sleep(600)\nprint(p, flush=True)",
    "own group": "p = os.fork()\nif p == 0: os.setpgid(0, 0); time.sleep(600)\nprint(p, flush=True)",
    "own session": "p = os.fork()\nif p == 0: os.setsid(); time.sleep(600)\nprint(p, flush=True)",
    "daemon": (
        "r, w = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        os.write(w, str(os.getpid()).encode()); os.close(0); os.close(1); os.close(2); time.sleep(600)\n"
        "    os._exit(0)\n"
        "os.wait(); print(os.read(r, 20).decode(), flush=True)"
    ),
    # To be seen as a zombie, though it runs on.
    "first thread gone": (
        "import ctypes, platform, threading\n"
        "exit_thread = {'x86_64': 60, 'aarch64': 93}[platform.machine()]\n"
        "r, w = os.pipe()\n"
        "def live_on():\n"
        "    while '(zombie)' not in open('/proc/self/status').read(): time.sleep(0.001)\n"
        "    os.write(w, str(os.getpid()).encode()); time.sleep(600)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    threading.Thread(target=live_on).start()\n"
        "    ctypes.CDLL(None).syscall(exit_thread, 0)\n"
        "print(os.read(r, 20).decode(), flush=True)"
    ),
}


@pytest.mark.parametrize("after", ["time.sleep(600)", "os._exit(3)"], ids=["lives on", "exits"])
@pytest.mark.parametrize("how", FORKS)
async def test_whatever_it_started_is_gone_with_it(spawner: Spawner, tmp_path: Path, how: str, after: str) -> None:
    owner = Owner()
    other = await start(spawner, Owner(), tmp_path, "import time; time.sleep(600)")
    process = await start(spawner, owner, tmp_path, f"import os, signal, time\n{FORKS[how]}\n{after}")
    await owner.until(lines=1)
    sleeper = int(owner.lines[0])
    await process.end(now=True)
    assert not lives(sleeper)
    assert not lives(process.pid)
    assert owner.exit_code in (3, -9)
    assert lives(other.pid)
    await other.end(now=True)


async def test_a_grandchild_that_holds_the_pipe_holds_nobody_up(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    code = "import os, time\np = os.fork()\nif p == 0: time.sleep(600)\nprint(p, flush=True); os._exit(0)"
    process = await start(spawner, owner, tmp_path, code)
    await owner.until(lines=1, exited=True)
    assert not lives(int(owner.lines[0]))
    await process.end(now=True)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_start_that_is_cut_off_leaves_nothing_and_tells_nobody(
    spawner: Spawner, tmp_path: Path, times: int
) -> None:
    owner, before = Owner(), psutil.Process().children()
    pid_file = tmp_path / "pid"
    code = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    starting = asyncio.ensure_future(start(spawner, owner, tmp_path, code))
    for _ in range(times):
        await asyncio.sleep(0)
        starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert (owner.lines, owner.broken, owner.exit_code) == ([], [], None)
    assert psutil.Process().children() == before
    assert not pid_file.exists() or not lives(int(pid_file.read_text()))


async def test_what_this_process_started_for_itself_is_neither_killed_nor_reaped(
    spawner: Spawner, tmp_path: Path
) -> None:
    with (
        subprocess.Popen([sys.executable, "-I", "-S", "-c", "raise SystemExit(7)"]) as ended,
        subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"]}) as running,
    ):
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        process = await start(spawner, Owner(), tmp_path, "import time; time.sleep(600)")
        await process.end(now=True)
        assert (ended.wait(), running.poll()) == (7, None)
        running.kill()


async def test_ending_twice_and_at_once_is_harmless(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    process = await start(spawner, owner, tmp_path, "import time; time.sleep(600)")
    await asyncio.gather(process.end(now=True), process.end(now=True), process.end(now=False))
    await process.end(now=True)
    assert owner.exit_code == -9


async def test_what_an_earlier_gateway_left_is_found_by_its_mark_and_nothing_else(tmp_path: Path) -> None:
    ours, other = Spawner(NoWall()), Owner()
    argv = [sys.executable, "-I", "-S", "-c", "print('up', flush=True); import time; time.sleep(600)"]
    command = Command(argv, {}, space(tmp_path), f"life-{os.getpid()}:sess_1", 100)
    marked = await ChildProcess.start(ours, command, other)
    await other.until(lines=1)
    assert await asyncio.to_thread(leftovers.end, f"somebody-else-{os.getpid()}", [], None) == []
    assert marked.running
    assert await asyncio.to_thread(leftovers.end, f"life-{os.getpid()}", [], None) == [marked.pid]
    await other.until(exited=True)
    await marked.end(now=True)
    ours.close()


async def test_no_line_is_told_before_its_owner_has_the_process(spawner: Spawner, tmp_path: Path) -> None:
    """Else an owner could not answer, or end, a child that is quick."""

    class Early(Owner):
        process: ChildProcess | None = None

        def on_line(self, line: bytes) -> None:
            assert self.process is not None
            super().on_line(line)

    for _ in range(5):
        owner = Early()
        owner.process = None
        command = Command(["echo", "quick"], {}, space(tmp_path), "m", 100)
        process = await ChildProcess.start(spawner, command, owner)
        assert owner.lines == []
        owner.process = process
        await owner.until(lines=1, exited=True)
        await process.end(now=True)


async def test_a_deafened_process_tells_no_line_more_and_still_its_exit(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    process = await start(spawner, owner, tmp_path, "while True: print('again', flush=True)")
    await owner.until(lines=1)
    process.deafen()
    heard = len(owner.lines)
    await process.end(now=True)
    assert owner.exit_code is not None
    assert len(owner.lines) == heard


async def test_a_line_that_was_begun_is_not_told_by_a_deafened_process(spawner: Spawner, tmp_path: Path) -> None:
    owner = Owner()
    code = "import os, time; os.write(1, b'whole\\nbegun'); time.sleep(600)"
    process = await start(spawner, owner, tmp_path, code)
    await owner.until(lines=1)
    process.deafen()
    await process.end(now=True)
    assert owner.lines == [b"whole"]


async def test_a_leader_is_reaped_only_when_its_tree_is_gone(tmp_path: Path) -> None:
    """A pid that is free may be given to a stranger, who would then be taken for the leader and killed."""

    class Watched(Spawner):
        kept: list[bool]

        async def end_tree(self, child: Spawned) -> None:
            await super().end_tree(child)
            ended = os.waitid(os.P_PID, child.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            self.kept.append(ended is not None and ended.si_pid == child.popen.pid)

    for code in ("raise SystemExit(3)", "import time; time.sleep(600)"):
        spawner, owner = Watched(NoWall()), Owner()
        spawner.kept = []
        process = await start(spawner, owner, tmp_path, code)
        await process.end(now=False)
        spawner.close()
        assert spawner.kept == [True]
        assert not psutil.pid_exists(process.pid)


async def test_many_trees_end_by_the_same_looks(spawner: Spawner, tmp_path: Path) -> None:
    code = "import os, time\nfor _ in range(3): os.fork() or (os.setsid(), time.sleep(600))\ntime.sleep(600)"
    processes = [await start(spawner, Owner(), tmp_path, code) for _ in range(20)]
    family = [child for each in processes for child in psutil.Process(each.pid).children(recursive=True)]
    looks: list[int] = []

    def counted(sweeps: Sequence[tree.Sweep], spared: Collection[int]) -> None:
        looks.append(len(sweeps))
        sweep(sweeps, spared)

    sweep = tree.sweep
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tree, "sweep", counted)
        await asyncio.gather(*(each.end(now=True) for each in processes))
    assert not any(lives(each.pid) for each in [*family, *processes])
    assert max(looks) > 1
    assert len(looks) < 2 * len(processes)


async def test_a_tree_is_ended_where_there_is_no_file_to_look_with(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That nothing can be seen must not be taken for nothing being there."""
    owner, failed = Owner(), 0
    code = (
        "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint(os.fork(), flush=True)\ntime.sleep(600)"
    )
    process = await start(spawner, owner, tmp_path, code)
    await owner.until(lines=2)

    def no_room(path: str, flags: int) -> int:
        nonlocal failed
        if failed < 50:
            failed += 1
            raise OSError(errno.EMFILE, "no more files")
        return open_file(path, flags)

    open_file = os.open
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", no_room)
        await process.end(now=True)
    assert failed == 50
    assert not any(lives(int(line)) for line in owner.lines if line != b"0")
    assert not psutil.pid_exists(process.pid)


async def test_a_child_that_cannot_be_watched_is_not_left(
    spawner: Spawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def no_descriptor(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, "no more files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pidfd_open", no_descriptor)
        with pytest.raises(OSError, match="no more files"):
            await start(spawner, Owner(), tmp_path, "import time; time.sleep(600)")
    assert len(started) == 1
    assert not psutil.pid_exists(started[0])
