"""A program that tries to get at what is not its own. Stdlib only: it runs behind walls.

`intruder.py VERB ARGUMENT…` prints, as JSON, {"got": …} where it got what it wanted, else {"refused": errno name}.
"""

import ctypes
import errno
import fcntl
import http.client
import json
import os
import signal
import socket
import sys
import termios
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_TRACEME = 16, 17, 0
NAMESPACES = {
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "mount": 0x00020000,
}
NR_CLONE3, NR_IO_URING_SETUP = 435, 425
FORKS_LIMIT = 2_000


def call(function, *arguments):
    if (answer := function(*arguments)) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


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
            if name in ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd", "NSpid")
        },
        "namespaces": {
            name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "ipc", "uts", "net")
        },
        "environ": dict(os.environ),
        "fds": open_files(),
    }


def open_files():
    """What it has inherited beyond its standard streams."""
    found = []
    for fd in range(3, 256):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue
    return found


def read(path):
    with open(path, "rb") as file:
        return file.read(1000).decode("utf-8", "replace")


def write(path):
    with open(path, "ab") as file:
        file.write(b"intruded")
    return path


def empty(path):
    os.truncate(path, 0)
    return path


def listing(path):
    return os.listdir(path)


def hard_link(source, target):
    os.link(source, target)
    return read(target)


def environment(pid):
    return read(f"/proc/{pid}/environ")


def memory(pid):
    with open(f"/proc/{pid}/maps") as maps:
        start = int(maps.readline().split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb") as mem:
        mem.seek(start)
        return len(mem.read(16))


def kill(pid):
    os.kill(int(pid), signal.SIGUSR1)
    return pid


def trace(pid):
    call(LIBC.ptrace, PTRACE_ATTACH, int(pid), None, None)
    os.waitpid(int(pid), 0x40000000)
    call(LIBC.ptrace, PTRACE_DETACH, int(pid), None, None)
    return pid


def read_process(pid):
    """By process_vm_readv: past the files of /proc."""
    return call(LIBC.process_vm_readv, int(pid), None, 0, None, 0, 0)


def mount(where):
    return call(LIBC.mount, b"none", where.encode(), b"tmpfs", 0, None)


def namespace(kind):
    return call(LIBC.unshare, NAMESPACES[kind])


def clone_into_namespace():
    child = LIBC.syscall(
        56 if os.uname().machine == "x86_64" else 220, NAMESPACES["user"] | signal.SIGCHLD, 0, 0, 0, 0
    )
    if child == 0:
        os._exit(0)
    return call(lambda: child)


def clone3():
    return call(LIBC.syscall, NR_CLONE3, None, 0)


def io_uring():
    return call(LIBC.syscall, NR_IO_URING_SETUP, 1, ctypes.create_string_buffer(120))


def type_into_terminal():
    """The filter looks before anybody asks whether this is a terminal: without it, the answer is ENOTTY."""
    fcntl.ioctl(0, termios.TIOCSTI, b"x")
    return "typed"


def make_device(path):
    os.mknod(path, 0o20666, os.makedev(1, 3))
    return path


def become(uid):
    os.setuid(int(uid))
    return uid


def connect_abstract(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name)
        return name


def connect_file(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        return path


def connect_tcp(port):
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
        return port


def ask_model(port, text):
    """By the Anthropic Messages format, whole."""
    body = {
        "model": "m",
        "max_tokens": 100,
        "tools": [{"name": "t", "input_schema": {}}],
        "messages": [{"role": "user", "content": text}],
    }
    client = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
    client.request("POST", "/v1/messages", json.dumps(body), {"Content-Type": "application/json"})
    answer = client.getresponse()
    told = answer.read()
    return {"status": answer.status, "text": json.loads(told)["content"][0]["text"] if told else ""}


def send_udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"intruded", ("127.0.0.1", int(port)))
        return port


def speak(family):
    kind = socket.SOCK_RAW if family == "AF_PACKET" else socket.SOCK_STREAM
    with socket.socket(getattr(socket, family), kind):
        return family


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


def main():
    verb, *arguments = sys.argv[1:]
    try:
        answer = {"got": globals()[verb](*arguments)}
    except OSError as error:
        answer = {"refused": errno.errorcode.get(error.errno, str(error))}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
