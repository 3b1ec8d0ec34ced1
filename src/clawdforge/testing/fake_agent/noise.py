"""Verbs that make noise or size: garbage, strays, floods, lines and answers of any length."""

from __future__ import annotations

import json
import time

from .pipe import STDERR, STDOUT, write_all
from .start import NOISE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .turn import Turn, Verb

PIECE_BYTES = 1 << 16
UPDATES_AT_ONCE = 100
SPLIT_PAUSE_S = 0.05


def garbage(turn: Turn, _: str) -> None:
    write_all(STDOUT, b"".join(NOISE))


def chunk_line(turn: Turn, text: str) -> bytes:
    """One agent_message_chunk as raw UTF-8, no newline."""
    chunk = {
        "sessionUpdate": "agent_message_chunk",
        "content": {"type": "text", "text": text},
        "messageId": "msg-noise",
    }
    update = {
        "jsonrpc": "2.0",
        "method": "session/update",
        "params": {"sessionId": turn.session.id, "update": chunk},
    }
    return json.dumps(update, separators=(",", ":"), ensure_ascii=False).encode()


def split(turn: Turn, _: str) -> None:
    line = chunk_line(turn, "split: €")
    cut = line.index("€".encode()) + 1
    write_all(STDOUT, line[:cut])
    time.sleep(SPLIT_PAUSE_S)  # long enough that the client reads the two halves apart
    write_all(STDOUT, line[cut:] + b"\n")


def nul(turn: Turn, _: str) -> None:
    turn.say("nul:\x00 surrogate:\ud800")


def stray(turn: Turn, _: str) -> None:
    pipe = turn.agent.pipe
    pipe.send({"id": 987654, "result": {}})
    pipe.send({"id": "no-such-id", "result": {}})
    pipe.send({"id": None, "result": {}})
    pipe.send({"id": True, "error": "not even an object"})
    pipe.send({"id": {}, "result": {}})
    pipe.send({"result": {}})
    pipe.send(turn.agent.last_answer)
    turn.agent.call("nobody/knows", {}, request_id="a-string-id")
    turn.agent.wait_for(lambda: "a-string-id" in turn.agent.answers)
    turn.say(f"string id answered: {'error' in turn.agent.answers.pop('a-string-id')}")


def big_line(turn: Turn, argument: str) -> None:
    """Written in pieces: the line is never whole in our memory."""
    frame = chunk_line(turn, "|")
    head, _, tail = frame.partition(b"|")
    left_bytes = max(0, int(argument) - len(head) - len(tail) - 1)
    write_all(STDOUT, head)
    while left_bytes > 0:
        write_all(STDOUT, b"x" * min(left_bytes, PIECE_BYTES))
        left_bytes -= PIECE_BYTES
    write_all(STDOUT, tail + b"\n")


def big_text(turn: Turn, argument: str) -> None:
    for left_bytes in range(int(argument), 0, -PIECE_BYTES):
        turn.say("x" * min(left_bytes, PIECE_BYTES))
        turn.check_cancelled()


def flood(turn: Turn, count: str) -> None:
    for numbers in batches(int(count)):
        write_all(STDOUT, b"".join(words(turn, numbers)))
        turn.check_cancelled()


def rate(turn: Turn, argument: str) -> None:
    count, per_s = (int(part) for part in argument.split())
    begin = time.monotonic()
    for number in range(count):
        turn.pause(max(0.0, begin + number / per_s - time.monotonic()))
        write_all(STDOUT, b"".join(words(turn, [number])))


def batches(count: int) -> Iterable[range]:
    return (range(first, min(first + UPDATES_AT_ONCE, count)) for first in range(0, count, UPDATES_AT_ONCE))


def words(turn: Turn, numbers: Iterable[int]) -> Iterable[bytes]:
    """One line per number, its text the number and a space; encoded once for all."""
    head, _, tail = chunk_line(turn, "|").partition(b"|")
    return (b"%b%d %b\n" % (head, number, tail) for number in numbers)


def stderr(turn: Turn, argument: str) -> None:
    line = b"stderr " * 10 + b"\n"
    for left_bytes in range(int(argument), 0, -len(line)):
        write_all(STDERR, line[-left_bytes:])


VERBS: dict[str, Verb] = {
    "GARBAGE": garbage,
    "SPLIT": split,
    "NUL": nul,
    "STRAY": stray,
    "BIGLINE": big_line,
    "BIGTEXT": big_text,
    "FLOOD": flood,
    "RATE": rate,
    "STDERR": stderr,
}
