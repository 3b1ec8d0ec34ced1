"""A server of canned answers, so that what is measured against it is the client: a process of its own.

`python -m bench.canned EVENTS` says its port, then answers every POST: with a stream of so many events where one
is asked for, each a chunk of its own, in rounds over all streams that wait; else with a run's result.
"""

from __future__ import annotations

import asyncio
import json
import sys

RESULT = {"ok": True, "result": "x", "duration_ms": 1, "stop_reason": "end_turn", "run_id": "run_1"}
HEAD = b"HTTP/1.1 200 OK\r\nIdempotency-Supported: true\r\nContent-Type: %b\r\n%b\r\n\r\n"
TEXT = "some words of an answer, about as many as an agent says at a time"


def answer() -> bytes:
    """The answer of a run, whole."""
    body = json.dumps(RESULT).encode()
    return HEAD % (b"application/json", b"Content-Length: %d" % len(body)) + body


def chunk(seq: int, kind: str, **data: object) -> bytes:
    """An event as a chunk of a stream."""
    told = json.dumps({"seq": seq, "type": kind, "turn_index": 1, "ts": 1_795_000_000_000, **data})
    frame = f"id: {seq}\nevent: {kind}\ndata: {told}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(frame), frame)


class Server:
    """Holds the streams that have been asked for, and writes to all of them together."""

    def __init__(self, events: int) -> None:
        texts = [chunk(seq, "text", content=TEXT) for seq in range(2, events)]
        end = chunk(events, "turn_end", stop_reason="end_turn", ok=True, duration_ms=1)
        self._chunks = [chunk(1, "turn_start", prompt="x", files=[]), *texts, end + b"0\r\n\r\n"]
        self._waiting: list[asyncio.StreamWriter] = []
        self._wanted = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: whole answers at once, streams when as many wait as `X-Streams` says."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if "event-stream" not in headers.get("accept", ""):
                    writer.write(answer())
                    continue
                writer.write(HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked"))
                self._waiting.append(writer)
                if len(self._waiting) == int(json.loads(body)["prompt"]):
                    streams, self._waiting = self._waiting, []
                    await self._tell(streams)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has left

    async def _tell(self, streams: list[asyncio.StreamWriter]) -> None:
        for each in self._chunks:
            for writer in streams:
                writer.write(each)
            for writer in streams:
                await writer.drain()


async def main(events: int) -> None:
    server = await asyncio.start_server(Server(events).serve, "127.0.0.1", 0, backlog=2000)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
