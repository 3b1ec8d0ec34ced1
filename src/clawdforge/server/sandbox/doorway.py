"""A program that opens a port behind a wall without network, hands it out, and becomes its agent.

Run as `python -I -S doorway.py PORT SOCKET -- PROGRAM …`. What connects to PORT on the loopback of the session's
own network then talks to whoever listens at SOCKET: the listening socket itself is sent there, so that nothing of
this program stays and no byte is copied behind the wall. Stdlib only, and of that little: it runs for every start.
"""

import array
import os
import socket
import sys

FAILED = 72


def main() -> None:
    """Opens the port, hands it out, becomes the program."""
    port, path, _, *command = sys.argv[1:]
    try:
        with socket.socket() as door, socket.socket(socket.AF_UNIX) as outside:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", int(port)))
            door.listen(128)
            outside.connect(path)
            passed = array.array("i", [door.fileno()])
            outside.sendmsg([b"door"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
            outside.recv(1)  # it is in good hands: what connects from now on is answered
        os.execv(command[0], command)  # noqa: S606 - that is its job
    except OSError as error:
        sys.stderr.write(f"the way to the model could not be opened: {error}\n")
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
