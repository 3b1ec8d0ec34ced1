"""Lines of JSON-RPC over pipes."""

from __future__ import annotations

import io
import json
import os
import threading

from clawdforge.local_agent.protocol import Peer


def test_a_last_line_without_its_newline_is_a_message() -> None:
    assert list(Peer(io.BytesIO(b'{"a":1}\n{"b":2}'), -1).messages()) == [{"a": 1}, {"b": 2}]


def test_a_client_that_stopped_listening_is_noticed_and_spared() -> None:
    source_fd, sink_fd = os.pipe()
    os.close(source_fd)
    peer = Peer(io.BytesIO(), sink_fd)
    peer.notify("session/update", {})
    peer.notify("session/update", {})
    os.close(sink_fd)

    assert peer.gone


def test_half_a_surrogate_pair_does_not_break_the_line() -> None:
    source_fd, sink_fd = os.pipe()
    Peer(io.BytesIO(), sink_fd).notify("session/update", {"text": "\ud800 \N{GRINNING FACE}"})
    os.close(sink_fd)
    with open(source_fd, "rb") as source:
        line = source.read()

    assert line.isascii()
    assert json.loads(line)["params"] == {"text": "\ud800 \N{GRINNING FACE}"}


def test_messages_of_many_threads_do_not_mix() -> None:
    source_fd, sink_fd = os.pipe()
    peer = Peer(io.BytesIO(), sink_fd)
    text = "x" * 100_000  # more than a pipe holds, so that writes come in parts
    threads = [threading.Thread(target=peer.notify, args=(str(n), {"text": text})) for n in range(8)]
    for thread in threads:
        thread.start()
    with open(source_fd, "rb") as source:
        messages = [json.loads(source.readline()) for _ in threads]
    for thread in threads:
        thread.join()
    os.close(sink_fd)

    assert sorted(each["method"] for each in messages) == [str(n) for n in range(8)]
    assert all(each["params"] == {"text": text} for each in messages)
