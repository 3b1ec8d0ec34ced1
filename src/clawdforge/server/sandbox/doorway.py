"""A program that opens a port behind a wall without network, hands it out, and becomes its agent.

Run as `python -I -S doorway.py PORT SOCKET PROGRAM …`. What connects to PORT on the loopback of the session's own
network then talks to whoever listens at SOCKET: the listening socket itself is sent there, so that nothing of this
program stays and no byte is copied behind the wall. It runs at every start, and imports would be half of its time:
these are part of the interpreter, or a small library.
"""

import _socket
import posix
import sys

FAILED = 72


def main() -> None:
    """Opens the port, hands it out, becomes the program."""
    _, port, path, *command = sys.argv
    try:
        door = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        door.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", int(port)))
        door.listen(128)
        outside = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        outside.connect(path)
        rights = door.fileno().to_bytes(4, sys.byteorder)
        outside.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        if not outside.recv(1):  # it is in good hands: what connects from now on is answered
            raise OSError("nobody took it")
        posix.execv(command[0], command)
    except OSError as error:
        sys.stderr.write(f"the way to the model could not be opened: {error}\n")
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
