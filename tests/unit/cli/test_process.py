"""The command as a real process: exit codes, streams, signals, and what is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clawdforge
from clawdforge import cli

Process = Callable[..., "subprocess.CompletedProcess[bytes]"]
SOURCE = str(Path(clawdforge.__file__).parents[1])


def test_a_good_answer_is_0_and_only_the_answer_is_on_stdout(live_gateway: Any, process: Process) -> None:
    done = process("run", "x")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [(400, 4), (401, 3), (403, 3), (404, 4), (422, 4), (429, 4), (500, 5), (503, 5), (504, 5)],
)
def test_the_status_becomes_the_exit_code(
    live_gateway: Any, process: Process, status: int, exit_code: int
) -> None:
    live_gateway.status = status
    live_gateway.body = b'{"detail": "no", "code": "whatever"}'

    done = process("run", "x")

    assert (done.returncode, done.stdout) == (exit_code, b"")
    assert done.stderr.startswith(b"Error: HTTP %d whatever: no\n" % status)


def test_a_refusal_of_the_agent_is_6(live_gateway: Any, process: Process) -> None:
    live_gateway.body = b'{"ok": false, "result": "", "duration_ms": 1, "stop_reason": "refusal"}'

    assert process("run", "x").returncode == 6


def test_nobody_there_is_1_with_one_document_for_json(process: Process) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refused
        done = process("--json", "--url", f"http://127.0.0.1:{unused.getsockname()[1]}", "run", "x")

    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["ok"], document["error"]["exit_code"]) == (False, 1)
    assert b"clawdforge serve" in done.stderr
    assert b"Traceback" not in done.stderr


def test_wrong_usage_is_2(process: Process) -> None:
    assert process("run").returncode == 2


def test_ctrl_c_is_130_with_one_line(live_gateway: Any) -> None:
    live_gateway.may_answer.clear()
    command = [sys.executable, "-m", "clawdforge", "run", "x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert live_gateway.asked.wait(60)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)

    assert child.returncode == 130
    assert out == b""
    assert err == b"Error: interrupted; what the gateway was asked to do may go on there\n"


@pytest.mark.parametrize("program", [cli.main, cli.main_cf])
def test_ctrl_c_while_it_loads_is_130_without_a_word(
    program: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press_ctrl_c() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_prepare", press_ctrl_c)
    with pytest.raises(SystemExit) as ended:
        program()

    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_stdin_is_the_prompt(live_gateway: Any, process: Process) -> None:
    assert process("run", "-", input="grüße".encode()).returncode == 0
    assert process("run", "-", input=b"\xff").returncode == 2


def test_a_reader_that_hangs_up_gets_no_traceback(live_gateway: Any) -> None:
    live_gateway.body = json.dumps({"ok": True, "result": "x" * 1_000_000, "stop_reason": "end_turn"}).encode()
    command = [sys.executable, "-m", "clawdforge", "run", "x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        assert b"Traceback" not in child.stderr.read()


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}, {}])
def test_an_answer_that_the_terminals_encoding_lacks_is_no_traceback(
    live_gateway: Any, process: Process, env: dict[str, str]
) -> None:
    live_gateway.body = b'{"ok": true, "result": "half \\ud83d and \\ud83d\\udeb2", "stop_reason": "end_turn"}'

    done = process("run", "x", env=env)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"half \\ud83d and ")


def test_a_pipe_gets_the_answer_exactly_as_it_was(live_gateway: Any, process: Process) -> None:
    live_gateway.body = b'{"ok": true, "result": "\\u001b[31mred\\u0007", "stop_reason": "end_turn"}'

    assert process("run", "x").stdout == b"\x1b[31mred\x07\n"


def bare_python(code: str, *packages: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in an interpreter that has the standard library, this project, and just these packages."""
    for name in packages:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        place = origin.parent if origin.name == "__init__.py" else origin
        (path / place.name).symlink_to(place)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {[SOURCE, str(path)]}\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
    )


def test_without_its_extra_the_command_says_one_sentence(tmp_path: Path) -> None:
    done = bare_python("from clawdforge.cli import main; main()", path=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "The command line needs its extra: pip install 'clawdforge[cli]'\n"


CLI_PACKAGES = ("click", "rich", "pygments", "markdown_it", "mdurl")
SDK_PACKAGES = ("requests", "urllib3", "certifi", "idna", "charset_normalizer")


@pytest.mark.parametrize(
    "command", [["serve"], ["agents"], ["agents", "install", "local"], ["doctor"]], ids=" ".join
)
def test_without_the_gateways_extra_its_commands_say_one_sentence(tmp_path: Path, command: list[str]) -> None:
    code = f"sys.argv[1:] = {command}\nfrom clawdforge.cli import main; main()"

    done = bare_python(code, *CLI_PACKAGES, *SDK_PACKAGES, path=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: this command needs the gateway: pip install 'clawdforge[server]'\n"


def test_the_other_commands_need_no_more_than_the_extra_cli(live_gateway: Any, tmp_path: Path) -> None:
    code = "sys.argv[1:] = ['run', 'x']\nfrom clawdforge.cli import main; main()"

    done = bare_python(code, *CLI_PACKAGES, *SDK_PACKAGES, path=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_no_module_of_the_command_line_needs_more_to_be_loaded(tmp_path: Path) -> None:
    code = (
        "import importlib, pkgutil, clawdforge.cli as cli\n"
        "names = [each.name for each in pkgutil.iter_modules(cli.__path__)]\n"
        "for name in names: importlib.import_module(f'clawdforge.cli.{name}')\n"
        "print('chat' in names)"
    )
    done = bare_python(code, *CLI_PACKAGES, *SDK_PACKAGES, path=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_the_sdk_needs_no_more_than_requests(live_gateway: Any, tmp_path: Path) -> None:
    done = bare_python(
        "from clawdforge import Forge; print(Forge().run('x').result)", *SDK_PACKAGES, path=tmp_path
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
