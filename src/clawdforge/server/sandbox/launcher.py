"""A program that gives up what a session must not have, for good, and becomes its agent.

Run as `python -I -S launcher.py FD -- PROGRAM …`; FD is a file with the orders, by `marshal`:

    write, read    paths below which all, or only reading and running, is allowed; what is not there is left out
    devices        files that may be read and written
    closed         True: no TCP
    filter         a seccomp program
    limits         {name: number}, as `resource` calls them
    uid            who to become, or None

Stdlib only, and of that little: it runs for every start. What cannot be given up ends it with code 71 and a word
on stderr. Source: landlock(7), prctl(2).
"""

import ctypes
import marshal  # json would cost as much as the rest together
import os
import resource
import stat
import struct
import sys

REFUSED = 71

# Since ABI 1, 2, 3, 5 of Landlock.
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_CHANGE = 0x1FF0  # remove and make what a directory holds
_REFER, _TRUNCATE, _DEVICE_CONTROL = 1 << 13, 1 << 14, 1 << 15
_READING = _EXECUTE | _READ | _LIST
_OF_FILES = _EXECUTE | _READ | _WRITE | _TRUNCATE | _DEVICE_CONTROL
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # on every architecture
_PATH_BENEATH = 1
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Carries the orders out, and becomes the program."""
    fd, _, *command = sys.argv[1:]
    with os.fdopen(int(fd), "rb") as file:
        orders = marshal.load(file)  # noqa: S302 - the gateway wrote it
    try:
        for name, value in orders["limits"].items():
            resource.setrlimit(getattr(resource, name), (value, value))
        if orders["uid"] is not None:
            _become(orders["uid"])
        _prctl(_SET_NO_NEW_PRIVS, 1)
        _wall(orders)
        _filter(orders["filter"])
    except OSError as error:
        sys.stderr.write(f"the wall could not be built: {error}\n")
        sys.exit(REFUSED)
    try:
        os.execv(command[0], command)  # noqa: S606 - that is its job
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(REFUSED)


def abi() -> int:
    """Which version of Landlock the kernel has; 0: none, or it is turned off."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _wall(orders: dict) -> None:  # type: ignore[type-arg]
    version = abi()
    handled = _READING | _WRITE | _CHANGE
    handled |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    handled |= _DEVICE_CONTROL if version >= 5 else 0
    fields = [handled]
    if version >= _NETWORK_SINCE:
        fields.append(_TCP if orders["closed"] else 0)
    if version >= _SCOPES_SINCE:
        fields.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    devices = _READ | _WRITE | _TRUNCATE | _DEVICE_CONTROL
    for name, allowed in (("write", handled), ("read", _READING), ("devices", devices)):
        for path in orders[name]:
            _allow(ruleset, path, allowed & handled)
    _call(_RESTRICT, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, allowed: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        allowed &= _OF_FILES
    _call(_ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
    os.close(fd)


def _filter(program: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    _prctl(_SET_SECCOMP, _FILTER, ctypes.byref(Program(len(program) // 8, program)))


def _call(number: int, *arguments: object) -> int:
    if (answer := _libc.syscall(number, *arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(answer)


def _prctl(*arguments: object) -> None:
    if _libc.prctl(*arguments, *(0,) * (5 - len(arguments))) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main()
