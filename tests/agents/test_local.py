"""The embedded agent as a program, with its real model; what that says is its own matter, and not judged here."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from acp import schema as acp

from harness.acp_lines import PATIENCE_S, AcpLines

# Small, so that it is soon full.
WINDOW_TOKENS = 256
COLOURS: dict[str, Any] = {
    "type": "object",
    "properties": {"colours": {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 3}},
    "required": ["colours"],
    "additionalProperties": False,
}
# More than the window holds, whatever the model makes of it.
ENDLESS = {"type": "array", "items": {"type": "integer"}, "minItems": 200}


@pytest.fixture(scope="module")
def agent(model_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One agent for all tests that leave it as it was."""
    with running(model_weights, tmp_path_factory.mktemp("tmp")) as started:
        yield started


@pytest.fixture
def client(agent: Running) -> AcpLines:
    return agent.client


class Running:
    """An agent's process and its client."""

    def __init__(self, process: subprocess.Popen[bytes], tmp: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.tmp = tmp
        self.client = AcpLines(process.stdout.fileno(), process.stdin.fileno())

    def hang_up(self) -> int:
        """Closes its stdin. Returns the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)


@contextmanager
def running(model: Path, tmp: Path, *by: str) -> Iterator[Running]:
    argv = [
        *by,
        sys.executable,
        "-m",
        "clawdforge.local_agent",
        "--model",
        str(model),
        "--n-ctx",
        str(WINDOW_TOKENS),
    ]
    with subprocess.Popen(
        argv,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp)},
    ) as process:
        try:
            yield Running(process, tmp)
        finally:
            process.kill()


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clawdforge.local_agent", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def with_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"_meta": {"clawdforge": {"schema": schema}}}


def test_the_conversation_reaches_the_model(client: AcpLines) -> None:
    session = client.new(_meta={"systemPrompt": "You are a helpful assistant. Answer in one short sentence."})
    first, result = client.prompt(session, "I have a red bicycle and a blue car.")
    assert first
    before = result["usage"]["totalTokens"]
    second, result = client.prompt(session, "What colour is my bicycle?")

    assert second
    assert result["usage"]["inputTokens"] > before, "the model read the first turn again"
    assert result["usage"]["totalTokens"] == result["usage"]["inputTokens"] + result["usage"]["outputTokens"]


def test_the_system_prompt_reaches_the_model(client: AcpLines) -> None:
    def read(**params: Any) -> int:
        _, result = client.prompt(client.new(**params), "Hi", **with_schema({"enum": ["ok"]}))
        tokens: int = result["usage"]["inputTokens"]
        return tokens

    replaced = read(_meta={"systemPrompt": "Reply."})
    default = read()
    appended = read(_meta={"systemPrompt": {"append": "Reply. " * 20}})

    assert replaced < default < appended


def test_the_same_prompt_gets_the_same_answer(client: AcpLines) -> None:
    assert client.prompt(client.new(), "Say hello.")[0] == client.prompt(client.new(), "Say hello.")[0]


def test_a_schema_constrains_the_answer(client: AcpLines) -> None:
    text, result = client.prompt(client.new(), "Name three colours.", **with_schema(COLOURS))

    assert result["stopReason"] == "end_turn"
    jsonschema_rs.validate(COLOURS, json.loads(text))


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "file:///etc/passwd"}])
def test_a_schema_that_cannot_constrain_is_refused(client: AcpLines, schema: dict[str, Any]) -> None:
    session = client.new()

    assert client.answer(client.start_prompt(session, "Hi", **with_schema(schema)))["error"]["code"] == -32602
    assert client.prompt(session, "Hi")[1]["stopReason"] == "end_turn"


def test_an_answer_that_fills_the_window_ends_honestly(client: AcpLines) -> None:
    session = client.new()
    _, result = client.prompt(session, "Count.", **with_schema(ENDLESS))
    assert result["stopReason"] == "max_tokens"
    assert result["usage"]["totalTokens"] == WINDOW_TOKENS

    text, result = client.prompt(session, "Go on.")
    assert result == {"stopReason": "max_tokens"}
    assert "new session" in text


def test_a_prompt_beyond_the_window_is_told_so_and_forgotten(client: AcpLines) -> None:
    session = client.new()
    for length in (WINDOW_TOKENS * 2, WINDOW_TOKENS * 1000):
        text, result = client.prompt(session, "word " * length)
        assert result == {"stopReason": "max_tokens"}
        assert "shorter" in text

    assert client.prompt(session, "Hi")[1]["stopReason"] == "end_turn"


def test_a_cancel_in_mid_generation(client: AcpLines) -> None:
    session = client.new()
    seen = len(client.updates)
    request = client.start_prompt(session, "Count.", **with_schema(ENDLESS))
    client.until_updates(seen + 1)
    client.notify("session/cancel", sessionId=session)

    result = client.answer(request)["result"]
    assert result["stopReason"] == "cancelled"
    assert result["usage"]["totalTokens"] < WINDOW_TOKENS, "it stopped before its end"
    assert client.prompt(session, "Hi")[1]["stopReason"] == "end_turn"


def test_a_cancel_while_the_prompt_is_read(client: AcpLines) -> None:
    session = client.new()
    seen = len(client.updates)
    request = client.start_prompt(session, "A long text. " * 45)
    client.notify("session/cancel", sessionId=session)

    assert client.answer(request)["result"]["stopReason"] == "cancelled"
    assert client.text(seen) == ""
    assert client.prompt(session, "Hi")[1]["stopReason"] == "end_turn"


def test_text_outside_of_ascii_arrives_whole(client: AcpLines) -> None:
    enum = {"enum": ["naïve 😀 漢字"]}

    text, _ = client.prompt(client.new(), "😀 漢字", **with_schema(enum))

    assert json.loads(text) == "naïve 😀 漢字"


def test_its_messages_are_acp(client: AcpLines) -> None:
    session = acp.NewSessionResponse.model_validate(client.call("session/new", cwd="/", mcpServers=[]))
    _, result = client.prompt(session.session_id, "Hi")
    introduced = acp.InitializeResponse.model_validate(client.call("initialize", protocolVersion=1))

    assert introduced.protocol_version == 1
    assert introduced.agent_info is not None
    assert acp.PromptResponse.model_validate(result).usage is not None
    for each in client.updates:
        update = acp.SessionNotification.model_validate(each).update
        assert isinstance(update, acp.AgentMessageChunk)
        assert update.message_id is not None


def test_nobody_can_reach_the_library(agent: Running, client: AcpLines) -> None:
    client.prompt(client.new(), "Hi")
    proc = Path("/proc") / str(agent.process.pid)
    sockets = set(re.findall(r"socket:\[(\d+)\]", " ".join(map(os.readlink, (proc / "fd").iterdir()))))

    for table in ("tcp", "tcp6", "udp", "udp6"):
        rows = [line.split() for line in (proc / "net" / table).read_text().splitlines()[1:]]
        assert not sockets & {row[9] for row in rows}, table
    rows = [line.split() for line in (proc / "net/unix").read_text().splitlines()[1:]]
    paths = [row[7] for row in rows if row[6] in sockets and len(row) > 7]
    assert paths, "the library does not listen as it used to: look what it does now"
    assert not any(path.startswith("@") for path in paths), "an abstract socket has no directory that guards it"
    assert list(agent.tmp.iterdir()) == []


# The wall of Landlock, of which only the filter is of interest here.
WALLED = """
import os, sys
from clawdforge.server.sandbox import restrict, seccomp
calls = seccomp.program(families=(seccomp.INET, seccomp.INET6, seccomp.NETLINK))
restrict.wall_in(restrict.Rights(write=["/"], read=[], devices=[], tcp=True), calls)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_it_works_where_unix_sockets_are_refused(model_weights: Path, tmp_path: Path) -> None:
    with running(model_weights, tmp_path, sys.executable, "-c", WALLED) as started:
        text, _ = started.client.prompt(started.client.new(), "Hi")
        assert text


SERVER = """
import os, sys
from pathlib import Path
import xllamacpp
from clawdforge.local_agent.model import parameters
server = xllamacpp.Server(parameters(Path(sys.argv[1]), 256, sys.argv[2]))
print("listening", flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_the_library_answers_nobody_without_its_key(model_weights: Path, tmp_path: Path) -> None:
    address = str(tmp_path / "model.sock")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(model_weights), address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        for method, path in (
            ("POST", "/completion"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/tokenize"),
            ("POST", "/slots/0?action=erase"),
            ("GET", "/props"),
            ("GET", "/slots"),
            ("GET", "/metrics"),
            ("GET", "/models"),
        ):
            assert ask(address, method, path) == 401, path
        assert ask(address, "GET", "/health") == 200, "it is really there; this one says no more than that"
        assert ask(address, "GET", "/") == 404, "no pages"
        process.communicate()


def ask(address: str, method: str, path: str) -> int:
    """The status of a request without a key."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(address)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        connection.sendall(head.encode() + b"{}")
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def idle(client: AcpLines) -> None:
    client.new()


def generating(client: AcpLines) -> None:
    client.start_prompt(client.new(), "Count.", **with_schema(ENDLESS))
    client.until_updates(1)


@pytest.mark.parametrize("doing", [idle, generating])
def test_it_ends_with_its_client(model_weights: Path, tmp_path: Path, doing: Callable[[AcpLines], None]) -> None:
    with running(model_weights, tmp_path) as started:
        doing(started.client)
        assert started.hang_up() == 0


def no_file(path: Path, whole: Path) -> None:
    """Nothing at the path."""


def no_model(path: Path, whole: Path) -> None:
    path.write_bytes(b"<html>not found</html>")


def half_a_model(path: Path, whole: Path) -> None:
    with whole.open("rb") as source:
        path.write_bytes(source.read(2_000_000))


@pytest.mark.parametrize(
    ("arrange", "word"), [(no_file, "no model at"), (no_model, "no GGUF"), (half_a_model, "could not be loaded")]
)
def test_without_a_model_it_says_what_to_do_and_ends(
    model_weights: Path, tmp_path: Path, arrange: Callable[[Path, Path], None], word: str
) -> None:
    path = tmp_path / "model.gguf"
    arrange(path, model_weights)

    ended = run("--model", path)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert word in ended.stderr
    assert "clawdforge agents install local" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [(), ("--model", "x", "--n-ctx", "12"), ("--model", "x", "--n-ctx", "many")])
def test_wrong_arguments(arguments: Sequence[str]) -> None:
    ended = run(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "usage:" in ended.stderr


def test_what_a_library_prints_does_not_reach_the_client() -> None:
    program = (
        "import os, sys; from clawdforge.local_agent import __main__ as program\n"
        "sink_fd = program._take_stdout(); print('from Python', flush=True); os.write(1, b'from C')\n"
        "os.write(sink_fd, b'a message')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert ran.stdout == b"a message"
    assert ran.stderr == b"from Python\nfrom C"
