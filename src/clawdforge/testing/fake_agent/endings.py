"""Verbs for how and when a turn ends, and for an agent that dies, hangs or turns a deaf ear."""

from __future__ import annotations

import json
import os
import signal
import time

from .pipe import STDOUT, write_all
from .session import RpcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .turn import Turn, Verb


def empty(turn: Turn, _: str) -> None:
    """Nothing at all: an end_turn without a word."""


def stop(turn: Turn, reason: str) -> None:
    turn.result = {**turn.result, "stopReason": reason}


def result(turn: Turn, text: str) -> None:
    turn.result = json.loads(text)


def error(turn: Turn, argument: str) -> None:
    code, _, message = argument.partition(" ")
    raise RpcError(int(code), message)


def twice(turn: Turn, _: str) -> None:
    turn.answers_twice = True


def no_newline(turn: Turn, _: str) -> None:
    chunk = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "unfinished"}}
    update = {
        "jsonrpc": "2.0",
        "method": "session/update",
        "params": {"sessionId": turn.session.id, "update": chunk},
    }
    write_all(STDOUT, json.dumps(update).encode())
    os._exit(0)


def close_stdout(turn: Turn, _: str) -> None:
    """/dev/null takes the place of the pipe, so that no later file gets its number."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    turn.agent.wait_for(lambda: False)


def sleep(turn: Turn, seconds: str) -> None:
    turn.pause(float(seconds))


def hang(turn: Turn, _: str) -> None:
    turn.pause(None)


def no_read(turn: Turn, seconds: str) -> None:
    time.sleep(float(seconds))


def deaf(turn: Turn, seconds: str) -> None:
    turn.deaf_s = float(seconds)


def cancel_error(turn: Turn, _: str) -> None:
    turn.fails_when_cancelled = True


def ignore_cancel(turn: Turn, _: str) -> None:
    turn.agent.ignores_cancel = True


def ignore_sigterm(turn: Turn, _: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def ignore_eof(turn: Turn, _: str) -> None:
    turn.agent.ignores_eof = True


VERBS: dict[str, Verb] = {
    "EMPTY": empty,
    "STOP": stop,
    "RESULT": result,
    "ERROR": error,
    "TWICE": twice,
    "NO_NEWLINE": no_newline,
    "EXIT": lambda turn, code: os._exit(int(code or 0)),
    "KILL9": lambda turn, _: os.kill(os.getpid(), signal.SIGKILL),
    "CLOSE_STDOUT": close_stdout,
    "SLEEP": sleep,
    "HANG": hang,
    "NO_READ": no_read,
    "DEAF": deaf,
    "CANCEL_ERROR": cancel_error,
    "IGNORE_CANCEL": ignore_cancel,
    "IGNORE_SIGTERM": ignore_sigterm,
    "IGNORE_EOF": ignore_eof,
}
