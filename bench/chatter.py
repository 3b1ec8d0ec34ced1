"""Agents that cost next to nothing, and who writes for them: chunks of text, each with the moment of its writing.

`chatter.py agent SOCKET` speaks just enough ACP for a gateway to take it. A prompt `BEGIN COUNT PER_S` has so many
chunks written from BEGIN on (monotonic seconds), PER_S 0 as fast as they are taken. `chatter.py emit SOCKET`
writes them, for all agents from one process: an agent lends it its stdout, and waits. So a hundred agents are one
writer's work. Standard library only: the agents are started without anything else.
"""

from __future__ import annotations

import array
import heapq
import json
import os
import select
import socket
import sys
import time

FLOOD_LINES = 100
HEAD = (
    b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"chatter","update":'
    b'{"sessionUpdate":"agent_message_chunk","messageId":"msg-1","content":{"type":"text","text":"'
)
TAIL = b'"}}}}\n'
WORDS = b"and some words;"
"""What follows on the moment in each chunk, which is about as long as a model's token or three."""


def line() -> bytes:
    """One chunk, written now."""
    return b"%bt%013d %b%b" % (HEAD, time.monotonic_ns() // 1000, WORDS, TAIL)


def agent(path: str) -> None:
    for raw in sys.stdin.buffer:
        message = json.loads(raw)
        method = message.get("method")
        if "id" not in message:
            continue
        result: dict[str, object] = {}
        if method == "initialize":
            result = {"protocolVersion": 1, "agentCapabilities": {}, "authMethods": []}
        elif method == "session/new":
            result = {"sessionId": "chatter"}
        elif method == "session/prompt":
            lend(path, message["params"]["prompt"][-1]["text"])
            result = {"stopReason": "end_turn"}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        os.write(1, json.dumps(answer).encode() + b"\n")


def lend(path: str, order: str, pipe: int = 1) -> None:
    """Has the emitter write to a pipe; returns when it has."""
    with socket.socket(socket.AF_UNIX) as emitter:
        emitter.connect(path)
        fds = array.array("i", [pipe]).tobytes()
        emitter.sendmsg([order.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        emitter.recv(1)
    os.set_blocking(pipe, True)


class Order:
    """One agent's chunks."""

    def __init__(self, customer: socket.socket) -> None:
        text, fds, _, _ = socket.recv_fds(customer, 1000, 1)
        begin, count, per_s = text.decode().split()
        self.customer = customer
        self.pipe = fds[0]
        os.set_blocking(self.pipe, False)
        self.due = float(begin)
        self.left = int(count)
        self.every_s = 1 / float(per_s) if float(per_s) else 0.0

    def write(self) -> None:
        """Writes what is due; where the pipe is full, it is tried again a little later."""
        many = min(self.left, FLOOD_LINES) if self.every_s == 0 else 1
        data = line() * many if many > 1 else line()
        try:
            written = os.write(self.pipe, data)
            while written < len(data):
                select.select([], [self.pipe], [])
                written += os.write(self.pipe, data[written:])
        except BlockingIOError:
            select.select([], [self.pipe], [], 0.001)
            return
        self.left -= many
        self.due += self.every_s

    def finish(self) -> None:
        """Lets the agent go on."""
        os.close(self.pipe)
        self.customer.close()


def emit(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1000)
        print("ready", flush=True)
        orders: list[tuple[float, int, Order]] = []
        while True:
            wait_s = max(0.0, orders[0][0] - time.monotonic()) if orders else None
            if select.select([listener], [], [], wait_s)[0]:
                order = Order(listener.accept()[0])
                heapq.heappush(orders, (order.due, id(order), order))
                continue
            _, _, order = heapq.heappop(orders)
            order.write()
            if order.left:
                heapq.heappush(orders, (order.due, id(order), order))
            else:
                order.finish()


if __name__ == "__main__":
    {"agent": agent, "emit": emit}[sys.argv[1]](sys.argv[2])
