"""What an `intruder` does to other processes, and to the kernel. Stdlib only: it runs behind walls."""

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import struct
import termios

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
NAMESPACES = {"user": 0x10000000, "pid": 0x20000000, "net": 0x40000000, "mount": 0x00020000}
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
WAIT_ALL = 0x40000000
TIOCLINUX = 0x541C
NR_CLONE = 56 if X86 else 220
NR_CLONE3, NR_IO_URING_SETUP = 435, 425
NR_PIDFD_SEND_SIGNAL, NR_PIDFD_OPEN, NR_PIDFD_GETFD = 424, 434, 438
NR_PROCESS_VM_READV, NR_PROCESS_VM_WRITEV = (310, 311) if X86 else (270, 271)
NR_KCMP, NR_MIGRATE_PAGES, NR_IOPRIO_SET = (312, 256, 251) if X86 else (272, 238, 30)
HARMLESS = signal.SIGURG  # who does not wait for it does not notice it
PAGE = mmap.PAGESIZE


def call(function, *arguments):
    ctypes.set_errno(0)
    if (answer := function(*arguments)) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def syscall(number, *arguments):
    """Numbers fill a whole word: of a shorter one the kernel would see what was beside it."""
    whole = [ctypes.c_long(each) if isinstance(each, int) else each for each in (number, *arguments)]
    return call(LIBC.syscall, *whole)


# --- other processes: what they are ------------------------------------------------------------------------------


def _read(path):
    with open(path, "rb") as file:
        return file.read(1000).decode("utf-8", "replace")


def processes():
    """All that are in sight."""
    return len([name for name in os.listdir("/proc") if name.isdigit()])


def command_line(pid):
    return _read(f"/proc/{pid}/cmdline")


def environment(pid):
    return _read(f"/proc/{pid}/environ")


def memory_map(pid):
    return _read(f"/proc/{pid}/maps")


def memory(pid):
    """Asks for it to write, which is more than to read."""
    with open(f"/proc/{pid}/mem", "r+b", buffering=0):
        return pid


def directory(pid):
    return os.listdir(f"/proc/{pid}/cwd/")


def root(pid):
    return os.listdir(f"/proc/{pid}/root/")


def files(pid):
    """What it has open."""
    return os.readlink(f"/proc/{pid}/fd/0")


def read_process(pid, address):
    """By process_vm_readv: past the files of /proc."""
    return _transfer(NR_PROCESS_VM_READV, pid, address)


def write_process(pid, address):
    """What stands there already."""
    return _transfer(NR_PROCESS_VM_WRITEV, pid, address)


def _transfer(number, pid, address):
    here = ctypes.create_string_buffer(8)
    local = (ctypes.c_ulong * 2)(ctypes.addressof(here), 8)
    remote = (ctypes.c_ulong * 2)(int(address), 8)
    return syscall(number, int(pid), local, 1, remote, 1, 0)


def take_file(pid):
    """A copy of its standard input."""
    pidfd = syscall(NR_PIDFD_OPEN, int(pid), 0)
    return os.fstat(syscall(NR_PIDFD_GETFD, pidfd, 0, 0)).st_ino


def compare(pid):
    """Whether a file of its own is the same as one of the other's."""
    return syscall(NR_KCMP, os.getpid(), int(pid), 0, 0, 0)


# --- other processes: what is done to them -----------------------------------------------------------------------


def kill(pid):
    os.kill(int(pid), HARMLESS)
    return pid


def kill_group(pid):
    os.killpg(int(pid), HARMLESS)
    return pid


def kill_thread(pid):
    return syscall(234 if X86 else 131, int(pid), int(pid), int(HARMLESS))


def kill_by_descriptor(pid):
    return syscall(NR_PIDFD_SEND_SIGNAL, syscall(NR_PIDFD_OPEN, int(pid), 0), int(HARMLESS), None, 0)


def trace(pid):
    call(LIBC.ptrace, PTRACE_ATTACH, int(pid), None, None)
    os.waitpid(int(pid), WAIT_ALL)
    call(LIBC.ptrace, PTRACE_DETACH, int(pid), None, None)
    return pid


def limit(pid):
    """Leaves it as it is."""
    resource.prlimit(int(pid), resource.RLIMIT_CORE, resource.prlimit(int(pid), resource.RLIMIT_CORE))
    return pid


def pin(pid):
    """To the cores on which it may run already."""
    os.sched_setaffinity(int(pid), os.sched_getaffinity(int(pid)))
    return pid


def slow(pid):
    os.setpriority(os.PRIO_PROCESS, int(pid), 1)
    return pid


def slow_all(_pid):
    """All that its user runs."""
    os.setpriority(os.PRIO_USER, os.getuid(), os.getpriority(os.PRIO_USER, os.getuid()))
    return "all"


def idle(pid):
    os.sched_setscheduler(int(pid), os.SCHED_BATCH, os.sched_param(0))
    return pid


def slow_disk(pid):
    return syscall(NR_IOPRIO_SET, 1, int(pid), (2 << 13) | 7)


def sacrifice(pid):
    """First in the line when memory runs out."""
    with open(f"/proc/{pid}/oom_score_adj", "w") as file:
        file.write("1000")
    return pid


def move_memory(pid):
    nodes = ctypes.c_ulong(1)
    return syscall(NR_MIGRATE_PAGES, int(pid), 2, ctypes.byref(nodes), ctypes.byref(nodes))


def enter(pid, kind):
    return call(LIBC.setns, os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), 0)


def enter_inherited():
    """Any namespace that it was left a descriptor of."""
    for fd in range(3, 256):
        try:
            if ":[" in os.readlink(f"/proc/self/fd/{fd}"):
                return call(LIBC.setns, fd, 0)
        except FileNotFoundError:
            continue
    raise FileNotFoundError(errno.ENOENT, "none was left")


# --- what the kernel tells of files ------------------------------------------------------------------------------


def watch(path):
    """Asks to be told what is made there, by name."""
    return call(LIBC.inotify_add_watch, call(LIBC.inotify_init), path.encode(), 0x100)


# --- namespaces and mounts ---------------------------------------------------------------------------------------


def mount(where):
    call(LIBC.mount, b"none", where.encode(), b"tmpfs", 0, None)
    return call(LIBC.umount2, where.encode(), 2)


def namespace(kind):
    return call(LIBC.unshare, NAMESPACES[kind])


def clone_into_namespace(high_bits="0"):
    """The kernel looks at the lower half of the flags alone."""
    flags = NAMESPACES["user"] | signal.SIGCHLD | int(high_bits) << 32
    if (child := syscall(NR_CLONE, ctypes.c_ulong(flags), 0, 0, 0, 0)) == 0:
        os._exit(0)
    return child


def unshare_by_32_bits():
    """By the calls of another architecture that the processor knows: there unshare is 310."""
    code = bytes.fromhex("53b836010000bb00000010cd805bc3")
    page = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    return answer


def unshare_by_x32():
    return syscall(0x40000000 + 272, NAMESPACES["user"])


def become(uid):
    os.setuid(int(uid))
    return uid


def rename_machine():
    """To the name that it has."""
    name = os.uname().nodename.encode()
    return call(LIBC.sethostname, name, len(name))


# --- calls into the kernel ---------------------------------------------------------------------------------------


def clone3():
    return syscall(NR_CLONE3, None, 0)


def io_uring():
    return syscall(NR_IO_URING_SETUP, 1, ctypes.create_string_buffer(120))


def numbered(number, *arguments):
    """Any call, by its number."""
    return syscall(int(number), *map(int, arguments))


def type_into_terminal(high_bits="0"):
    """Into its standard input. The kernel looks at the lower half of the number alone."""
    _take_terminal()
    number = termios.TIOCSTI | int(high_bits) << 32
    return syscall(16 if X86 else 29, 0, ctypes.c_ulong(number), b"x")


def paste_into_terminal():
    """Only a console of the machine knows this: without a wall, any other terminal does not understand it."""
    return syscall(16 if X86 else 29, 0, ctypes.c_ulong(TIOCLINUX), b"\3")


def _take_terminal():
    """Makes it its own, where it is still free: who types into another's needs to be root."""
    os.setsid()
    try:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    except OSError:
        return


# --- what the kernel keeps for all of a user, by number or by name -----------------------------------------------


def attach_memory(number):
    """SysV shared memory."""
    LIBC.shmat.restype = ctypes.c_void_p
    at = LIBC.shmat(int(number), None, 0)
    if at == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "shmat")
    return ctypes.string_at(at).decode()


def send_message(number):
    """To a SysV queue."""
    return call(LIBC.msgsnd, int(number), struct.pack("l8s", 1, b"intruded"), 8, 0o4000)


def take_semaphore(number):
    return call(LIBC.semctl, int(number), 0, 12)


def open_queue(name):
    """A POSIX one."""
    os.close(call(LIBC.mq_open, name.encode(), os.O_RDWR))
    return name


# --- what programs need ------------------------------------------------------------------------------------------


def run_from_memory():
    """A program that lies in no file."""
    fd = os.memfd_create("program", 0)
    with open("/bin/true", "rb") as source:
        os.write(fd, source.read())
    child = os.fork()
    if child == 0:
        os.execv(f"/proc/self/fd/{fd}", ["true"])
    return os.waitpid(child, 0)[1]


def wall_itself_in():
    """As an agent does that has a sandbox of its own."""
    call(LIBC.prctl, 38, 1, 0, 0, 0)
    handled = ctypes.c_ulong(1 << 1)
    ruleset = syscall(444, ctypes.byref(handled), ctypes.c_size_t(8), 0)
    syscall(446, ruleset, 0)
    try:
        open("file", "w").close()
    except PermissionError:
        return "walled in"
    return "not walled in"


def talk_to_itself():
    one, other = socket.socketpair()
    one.send(b"hello")
    return other.recv(10).decode()


def raise_limit():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, tuple(each + 1 for each in limits))
    except ValueError as error:
        raise PermissionError(errno.EPERM, str(error)) from None
    return limits


def core_limits():
    return resource.getrlimit(resource.RLIMIT_CORE)


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)
