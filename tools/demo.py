"""`make run`: a gateway, a conversation through the SDK, curl lines to go on with; it serves until Ctrl-C.

Shows what an app sees; must use nothing of the project but its command line and its SDK.

Variables: AGENT (`local`; `claude` uses your own login), ONCE (not empty: ends after the conversation).
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clawdforge import Forge, ForgeError

ROOT: Final = Path(__file__).parents[1]
DATA_DIR: Final = ROOT / ".cache" / "run-data"
LOG: Final = DATA_DIR / "gateway.log"
COMMAND: Final = (sys.executable, "-m", "clawdforge")

STARTS_WITHIN_S: Final = 60
STOPS_WITHIN_S: Final = 45

QUESTION: Final = "Name three fruits."
SCHEMA: Final = {
    "type": "object",
    "properties": {
        "fruits": {"type": "array", "items": {"type": "string", "maxLength": 30}, "minItems": 3, "maxItems": 3}
    },
    "required": ["fruits"],
    "additionalProperties": False,
}
SYSTEM: Final = "You are a helpful assistant. Answer in one short sentence."
PROMPTS: Final = ("I have a red bicycle and a blue car.", "What colour is my bicycle?", "And my car?")


class DemoError(Exception):
    """Something did not work; the message says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Gateway:
    process: subprocess.Popen[bytes]
    url: str
    admin_token: str


def main() -> int:
    """Returns the exit code: 0 if all that was asked was answered."""
    agent = os.environ.get("AGENT") or "local"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)  # so that the gateway is ended by us too, not only by Ctrl-C
    try:
        with gateway() as running:
            print(f"The gateway listens on {running.url}, its log is {_shown(LOG)}.")
            token = prepare(running, agent)
            with Forge(base_url=running.url, token=token) as forge:
                ask_once(forge, agent)
                converse(forge, agent)
            show_curl(running, token, agent)
            if not os.environ.get("ONCE"):
                serve(running)
    except (DemoError, ForgeError, OSError) as error:
        print(f"\nmake run failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@contextmanager
def gateway() -> Iterator[Gateway]:
    """A gateway process on a free port, ended with the block."""
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    models = DATA_DIR / "models"
    if not models.exists():
        (ROOT / ".cache" / "models").mkdir(exist_ok=True)
        models.unlink(missing_ok=True)
        models.symlink_to("../models")  # the weights are fetched once, for `make test` too
    with LOG.open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "--data-dir", str(DATA_DIR)],
            env=_environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,  # what `select` says of the pipe must hold for us too
            process_group=0,  # Ctrl-C is for us: we end the gateway
        )
    try:
        url = _line(process, "listens on ")
        admin_token = Path(_line(process, "admin token: "))
        yield Gateway(process, url, admin_token.read_text().strip())
    finally:
        _stop(process)


def prepare(running: Gateway, agent: str) -> str:
    """Makes a token for an app and sees to it that the agent can start. Returns the token."""
    with Forge(base_url=running.url, token=running.admin_token) as admin:
        token = admin.mint_token(f"make-run-{secrets.token_hex(4)}").token
    with Forge(base_url=running.url, token=token) as forge:
        if not _known(forge, agent)["available"]:
            install = [*COMMAND, "agents", "--data-dir", str(DATA_DIR), "install", agent]
            if subprocess.run(install, env=_environ(), check=False).returncode != 0:
                raise DemoError(f"the agent {agent} could not be installed: the lines above say why")
        if reason := _known(forge, agent)["reason"]:
            raise DemoError(f"the agent {agent} cannot start here: {reason}")
    return token


def ask_once(forge: Forge, agent: str) -> None:
    """One run, whose result must fit a schema."""
    print("\nOne run, whose result must fit a JSON Schema\n")
    _say("you", QUESTION)
    run = forge.run(QUESTION, agent=agent, schema=SCHEMA)
    _say(agent, json.dumps(run.result, ensure_ascii=False), run.duration_ms)
    if not run.ok or not run.schema_valid:
        raise DemoError(f"the result does not fit the schema: {run.schema_errors or run.stop_reason}")


def converse(forge: Forge, agent: str) -> None:
    """One session of three turns."""
    print(f"\nOne session of three turns ({SYSTEM})\n")
    with forge.session(agent, system=SYSTEM) as session:
        for prompt in PROMPTS:
            _say("you", prompt)
            turn = session.turn(prompt)
            _say(agent, turn.text(), turn.duration_ms)
            if not turn.ok:
                raise DemoError(f"turn {turn.turn_index} ended with {turn.stop_reason}, empty: {turn.empty}")


def show_curl(running: Gateway, token: str, agent: str) -> None:
    """Lines to paste. The token is this demo's own, good on this machine alone."""
    body = json.dumps({"agent": agent, "prompt": "Say hello."})
    print(
        f"\nGo on with curl\n\n"
        f"  curl -s {running.url}/healthz\n"
        f"  curl -s {running.url}/sessions -H 'Authorization: Bearer {token}'\n"
        f"  curl -s {running.url}/run -H 'Authorization: Bearer {token}' \\\n"
        f"    -H 'Content-Type: application/json' -d '{body}'\n",
        flush=True,
    )


def serve(running: Gateway) -> None:
    """Waits for Ctrl-C."""
    print("Serving. Ctrl-C ends it.", flush=True)
    try:
        code = running.process.wait()
    except KeyboardInterrupt:
        print("\nStopping.")
        return
    raise DemoError(f"the gateway ended by itself with exit code {code}{_log_tail()}")


def _say(who: str, text: str, duration_ms: int | None = None) -> None:
    indent = " " * 10
    lines = textwrap.wrap(text, 88) or ["(nothing)"]
    took = "" if duration_ms is None else f"  [{duration_ms / 1000:.2f} s]"
    print(f"  {who:<8}" + f"\n{indent}".join(lines) + took, flush=True)


def _known(forge: Forge, agent: str) -> dict[str, Any]:
    names = {each["name"]: each for each in forge.agents()["agents"]}
    if agent not in names:
        raise DemoError(f"there is no agent {agent!r}. Choose AGENT= from: {', '.join(sorted(names))}")
    return dict(names[agent])


def _line(process: subprocess.Popen[bytes], before: str) -> str:
    """What follows `before` in the next line that the gateway prints."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], STARTS_WITHIN_S)
    line = process.stdout.readline().decode() if ready else ""
    if before not in line:
        raise DemoError(f"the gateway did not start{_log_tail()}")
    return line.partition(before)[2].strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environ() -> dict[str, str]:
    """The gateway of the demo has settings of its own, whatever is set for another one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CLAWDFORGE_")}


def _log_tail() -> str:
    lines = LOG.read_text(errors="replace").splitlines()[-5:]
    return f"; the end of {_shown(LOG)}:\n  " + "\n  ".join(lines) if lines else f"; {_shown(LOG)} is empty"


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _exit(number: int, frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
