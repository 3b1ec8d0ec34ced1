"""A program that tries to get at what is not its own. Stdlib only, and any Python 3.9: it runs behind walls.

`intruder.py VERB ARGUMENT… + VERB ARGUMENT… + …` prints a line for each try, as Python writes it: {"got": …} where
it got what it wanted, else {"refused": errno name, or the signal that ended it}. Each try is a process of its own,
so that none meets what another has left. What it does to processes and to the kernel is in `intruder_calls`.
"""

import errno
import os
import signal
import socket
import struct
import sys
import time

FORKS_LIMIT = 2_000


def ids():
    return {
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "cwd": os.getcwd(),
        "home": os.environ["HOME"],
        "tmp": os.environ["TMPDIR"],
        "status": {
            name: value.strip()
            for name, value in (line.split(":", 1) for line in open("/proc/self/status"))
            if name in ("NoNewPrivs", "Seccomp", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        },
        "namespaces": {
            name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "ipc", "uts", "net")
        },
        "environ": dict(os.environ),
        "fds": INHERITED,
    }


def open_files():
    """What has come with it beyond its standard streams."""
    found = []
    for fd in range(3, 256):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue
    return found


INHERITED = open_files() if __name__ == "__main__" else []


def read(path):
    with open(path, "rb") as file:
        return file.read(1000).decode("utf-8", "replace")


def write(path):
    with open(path, "ab") as file:
        file.write(b"intruded")
    return path


def open_to_write(path):
    """And writes nothing: where that works it would harm nobody."""
    open(path, "ab").close()
    return path


def empty(path):
    os.truncate(path, 0)
    return path


def listing(path):
    return os.listdir(path)


def look(path):
    return os.stat(path).st_size


def change_mode(path):
    os.chmod(path, os.stat(path).st_mode ^ 0o004)
    return path


def change_times(path):
    os.utime(path, (0, 0))
    return path


def remove(path):
    os.unlink(path)
    return path


def rename(source, target):
    os.rename(source, target)
    return target


def make_folder(path):
    os.mkdir(path)
    return path


def make_link(target, path):
    os.symlink(target, path)
    return path


def make_pipe(path):
    os.mkfifo(path)
    return path


def make_device(path):
    os.mknod(path, 0o20666, os.makedev(1, 3))
    return path


def open_device(path):
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    return path


def give_away(path):
    """To root."""
    with open(path, "wb"):
        os.chown(path, 0, 0)
    return path


def grant(path):
    """A capability to a program of its own."""
    with open(path, "wb"):
        os.setxattr(path, "security.capability", bytes.fromhex("0100000200002000" + "00" * 12))
    return path


def rewrite(path):
    """What is there already: nothing changes for anybody."""
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content)
    return path


def climb(path, depth):
    """From below a directory whose own path is longer than any path may be, up to the root and down again."""
    for _ in range(int(depth)):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    at = os.open(".", os.O_PATH)
    while os.fstat(at).st_ino != os.stat("/").st_ino or os.fstat(at).st_dev != os.stat("/").st_dev:
        at = os.open("..", os.O_PATH, dir_fd=at)
    return os.read(os.open(path.lstrip("/"), os.O_RDONLY, dir_fd=at), 1000).decode()


def reopen(path):
    """By the name under which a file that is open for nothing is open."""
    return read(f"/proc/self/fd/{os.open(path, os.O_PATH)}")


def become_by(path):
    """By a copy of `id` that makes whoever runs it root."""
    if (who := os.popen(path + " -u").read().strip()) != "0":
        raise PermissionError(errno.EPERM, who)
    return who


def plant(path):
    """A program of its own that makes whoever runs it its owner."""
    with open("/bin/sh", "rb") as source, open(path, "wb") as target:
        target.write(source.read())
    os.chmod(path, 0o6777)
    return path


def hard_link(source, target):
    os.link(source, target)
    return read(target)


def address(name):
    """An abstract one begins with @."""
    return "\0" + name[1:] if name.startswith("@") else name


def connect_unix(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address(name))
        return name


def send_unix(name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"intruded", address(name))
        return name


def send_by_pair(name):
    """By a socket that was never made by itself: one of a pair, which can send to others too."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.sendto(b"intruded", address(name))
        return name


def connect_tcp(port):
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30):
        return port


def ask_gateway(port):
    """The status that it answers."""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as client:
        client.sendall(b"GET /sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return int(client.recv(12).split()[1])


def take_port(port):
    with socket.socket() as server:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            server.setsockopt(socket.SOL_SOCKET, option, 1)
        server.bind(("127.0.0.1", int(port)))
        server.listen()
        return port


def send_udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"intruded", ("127.0.0.1", int(port)))
        return port


def speak(family, kind, protocol="0"):
    with socket.socket(int(family), int(kind), int(protocol)):
        return family


def pair(family):
    for each in socket.socketpair(int(family), socket.SOCK_STREAM):
        each.close()
    return family


def change_network():
    """Turns the loopback on, which it is."""
    link = struct.pack("=BxHiII", 0, 0, 1, 1, 1)
    message = struct.pack("=IHHII", 16 + len(link), 16, 0x5, 1, 0) + link
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as routes:
        routes.send(message)
        (error,) = struct.unpack_from("=i", routes.recv(4096), 16)
    if error:
        raise OSError(-error, os.strerror(-error))
    return "lo"


def fill(path):
    """Until nothing more goes in, but no more than 64 MiB."""
    written = 0
    with open(path, "wb", buffering=0) as file:
        try:
            while written < 64 << 20:
                written += file.write(bytes(1 << 18))
        except OSError as error:
            return {"bytes": written, "stopped": errno.errorcode[error.errno]}
    return {"bytes": written, "stopped": None}


def multiply():
    """Until no process more can be started, but no more than so many. All of them end with it."""
    children = []
    stopped = None
    reading, writing = os.pipe()
    for _ in range(FORKS_LIMIT):
        try:
            child = os.fork()
        except OSError as error:
            stopped = errno.errorcode[error.errno]
            break
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        children.append(child)
    os.close(writing)
    for child in children:
        os.waitpid(child, 0)
    return {"processes": len(children), "stopped": stopped}


def open_many():
    fds = []
    try:
        while len(fds) < 4096:
            fds.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return {"files": len(fds), "stopped": errno.errorcode[error.errno]}
    return {"files": len(fds), "stopped": None}


def outlive():
    """Says so when its daemons are there, the second of which ignores SIGTERM; then waits to be killed."""
    reading, writing = os.pipe()
    for ignores in (False, True):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                if ignores:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.write(writing, b".")
                time.sleep(300)
            os._exit(0)
    for _ in range(2):
        os.read(reading, 1)
    print("settled", flush=True)
    time.sleep(300)


def attempt(verbs, verb, arguments):
    """In a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            answer = {"got": verbs[verb](*arguments)}
        except OSError as error:
            answer = {"refused": errno.errorcode.get(error.errno, str(error))}
        except Exception as error:  # noqa: BLE001 - a fault of the try's own, which is neither
            answer = {"failed": repr(error)}
        with open(writing, "w") as told:
            told.write(repr(answer))
        os._exit(0)
    os.close(writing)
    with open(reading) as told:
        answer = told.read()
    _, status = os.waitpid(child, 0)
    return answer or repr({"refused": signal.Signals(os.WTERMSIG(status)).name})


def main():
    sys.path.insert(0, os.path.dirname(__file__))
    import intruder_calls

    verbs = {**globals(), **vars(intruder_calls)}
    words = sys.argv[1:]
    while words:
        end = words.index("+") if "+" in words else len(words)
        verb, *arguments = words[:end]
        print(attempt(verbs, verb, arguments), flush=True)
        words = words[end + 1 :]


if __name__ == "__main__":
    main()
