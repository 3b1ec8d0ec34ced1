"""What is typed at a terminal: prompts, with a history, and single keys as answers.

Knows nothing of sessions. readline comes with Python; where it is missing, lines are read all the same.
"""

from __future__ import annotations

import os
import select
import sys
import termios
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_HISTORY_LINES: Final = 1_000
_LOOK_S: Final = 0.1
_CTRL_C: Final = "\x03"
_ESCAPE: Final = "\x1b"


def read_prompt(sign: str) -> str:
    r"""One prompt. A line that ends with `\` goes on in the next; what is pasted is one prompt, whatever is in it.

    Raises:
        EOFError: Ctrl-D on an empty line.
        KeyboardInterrupt: Ctrl-C.
    """
    lines = [input(sign)]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input("  "))
    return "\n".join(lines)


@contextmanager
def history(path: Path, completed: Callable[[str], Sequence[str]]) -> Iterator[None]:
    """Within it, the prompts of earlier chats can be called up again; afterwards these can, too.

    Args:
        path: the file, made for its owner alone: prompts may hold anything.
        completed: what a line so far may become when Tab is pressed: whole lines.
    """
    try:
        import readline
    except ImportError:
        yield
        return
    readline.set_history_length(_HISTORY_LINES)
    readline.parse_and_bind("set enable-bracketed-paste on")
    readline.parse_and_bind("tab: complete")
    readline.set_completer_delims("\n")
    readline.set_completer(lambda line, number: dict(enumerate(completed(line))).get(number))
    with suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            readline.write_history_file(path)


@contextmanager
def silent() -> Iterator[None]:
    """Within it, what is typed ahead does not stand in what is drawn. It is there for the next prompt."""
    with _keys() as descriptor, _changed(descriptor, termios.ECHO):
        yield


def has_somebody() -> bool:
    """Whether somebody can be asked: stderr is a terminal, and there is one to press keys at."""
    try:
        with _keys():
            return sys.stderr.isatty()
    except OSError:
        return False


def choose(question: Callable[[], None], keys: Collection[str], is_over: Callable[[], bool]) -> str | None:
    """Puts a question, and waits for one of these keys to be pressed; no Enter is needed.

    What was typed before is dropped: nobody may have answered before they were asked.

    Args:
        question: prints it.
        keys: single characters, lower case.
        is_over: asked now and then whether the question is no more.

    Returns:
        The key; None for Escape and Ctrl-C, and where the question is no more.
    """
    with _keys() as descriptor, _changed(descriptor, termios.ECHO | termios.ICANON | termios.ISIG):
        termios.tcflush(descriptor, termios.TCIFLUSH)
        question()
        while not is_over():
            if select.select([descriptor], [], [], _LOOK_S)[0]:
                typed = os.read(descriptor, 64).decode(errors="replace")
                if typed in ("", _CTRL_C, _ESCAPE):
                    return None
                if len(typed) == 1 and typed.lower() in keys:
                    return typed.lower()
    return None


@contextmanager
def _keys() -> Iterator[int]:
    """Where keys come from: stdin, or, where that is none, the terminal that the process was started at.

    Raises:
        OSError: there is none.
    """
    if sys.stdin.isatty():
        yield sys.stdin.fileno()
        return
    descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _changed(descriptor: int, without: int) -> Iterator[None]:
    """This terminal, without these of its local modes."""
    before = termios.tcgetattr(descriptor)
    changed = [*before]
    changed[3] &= ~without
    termios.tcsetattr(descriptor, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
