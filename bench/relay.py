"""The least that can stand between an agent and a reader: each reader's socket gets what its pipe holds, as it is.

Arguments: the emitter's socket, how many readers will come, and the order that is placed for each. Says its port.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent)]

from bench.chatter import lend  # noqa: E402 - the bench had to be found first

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
READ_BYTES = 1 << 18


def main() -> None:
    emitter, readers, order = sys.argv[1:]
    poller = select.epoll()
    sockets: dict[int, socket.socket] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        for _ in range(int(readers)):
            reader, _ = listener.accept()
            reader.recv(READ_BYTES)
            reader.sendall(HEAD)
            source, sink = os.pipe()
            threading.Thread(target=place, args=(emitter, order, sink)).start()
            sockets[source] = reader
            poller.register(source, select.EPOLLIN)
    while sockets:
        for fd, _ in poller.poll():
            if data := os.read(fd, READ_BYTES):
                sockets[fd].sendall(data)
            else:
                poller.unregister(fd)
                os.close(fd)
                sockets.pop(fd).close()


def place(emitter: str, order: str, sink: int) -> None:
    lend(emitter, order, sink)
    os.close(sink)


main()
