"""What begins with a slash in a chat: our own commands, then those that the agent has told of. Loads rich."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from clawdforge.cli import patches, terminal
from clawdforge.cli.diffs import patch_lines, stat_lines
from clawdforge.cli.talk import Talk
from clawdforge.client.events import CommandsEvent

_LISTED: Final = 200
_DIFF_LINES: Final = 400


class Wrong(Exception):
    """What was typed cannot be done; the message says why."""


class Slash:
    """The commands of one chat.

    Args:
        console: where to.
        talk: what they are about.
    """

    def __init__(self, console: Console, talk: Talk) -> None:
        self._console = console
        self._talk = talk
        self._commands: Mapping[str, tuple[Callable[[list[str]], None], str]] = {
            "help": (self._help, "this list"),
            "diff": (self._diff, "[TURN]: what the last turn, or that one, has changed"),
            "files": (self._files, "[DIRECTORY]: what lies in the workspace"),
            "attach": (self._attach, "FILE: upload a file; it goes with the next prompt"),
            "cancel": (self._cancel, "end a turn that was left to itself"),
            "fork": (self._fork, "go on in a copy; the session here stays as it is"),
            "exit": (self._exit, "leave"),
        }

    def prompt_in(self, line: str) -> str | None:
        """What of a line is a prompt for the agent; None where it was a command, which is done then.

        Raises:
            Wrong: it is a command that nobody knows, or that was given what it does not take.
        """
        if not line.startswith("/"):
            return line
        if line.startswith("//"):
            return line[1:]
        name, _, rest = line[1:].partition(" ")
        if name not in self._commands:
            if name.split()[:1] == [name] and name in dict(self._agents_commands()):
                return line
            raise Wrong(f"there is no command /{name}: see /help. A prompt that begins with a slash takes two.")
        try:
            words = shlex.split(rest)
        except ValueError as error:
            raise Wrong(f"/{name}: {error}") from None
        self._commands[name][0](words)
        return None

    def completed(self, line: str) -> list[str]:
        """What a line may become: a command, or one with the file that it attaches."""
        if line.startswith("/attach "):
            typed = Path(line.removeprefix("/attach ")).expanduser()
            folder, start = (typed, "") if line.endswith("/") else (typed.parent, typed.name)
            try:
                found = sorted(each for each in folder.iterdir() if each.name.startswith(start))
            except OSError:
                return []
            return [f"/attach {shlex.quote(str(each))}{'/' if each.is_dir() else ''}" for each in found]
        return [f"/{name} " for name in self._commands if line and f"/{name}".startswith(line)]

    def _help(self, words: list[str]) -> None:
        for name, (_, what) in self._commands.items():
            self._line(f"/{name} {what}" if what[0] in "[F" else f"/{name}: {what}")
        for name, what in self._agents_commands():
            self._line(f"/{name}: the agent's own. {what}")

    def _diff(self, words: list[str]) -> None:
        diff = self._talk.session.diff(_number(_at_most_one(words)))
        for line in stat_lines(diff):
            self._line(line)
        shown = patch_lines(diff)
        self._console.print(patches.coloured(islice(shown, _DIFF_LINES)), soft_wrap=True)
        if left := sum(1 for _ in shown):
            all_of_it = f"clawdforge session diff {self._talk.session.session_id} --turn {diff.turn_index}"
            self._line(f"… {left} more lines: {all_of_it}")

    def _files(self, words: list[str]) -> None:
        listed = self._talk.session.files.list(_at_most_one(words) or "")
        for number, entry in enumerate(listed):
            if number == _LISTED:
                self._line(f"… the first {_LISTED}")
                return
            size = "" if entry.size is None else f"  {entry.size} bytes"
            self._line(f"{entry.path}{'/' if entry.type == 'directory' else ''}{size}")

    def _attach(self, words: list[str]) -> None:
        path = _at_most_one(words)
        if path is None:
            raise Wrong("/attach FILE")
        try:
            token = self._talk.forge.upload_file(Path(path).expanduser())
        except OSError as error:
            raise Wrong(f"{path}: {error.strerror}") from None
        self._talk.files.append(token)
        self._line(f"{path} goes with the next prompt.")

    def _cancel(self, words: list[str]) -> None:
        self._line("Cancelled." if self._talk.session.cancel() else "No turn is running.")

    def _fork(self, words: list[str]) -> None:
        before = self._talk.session.session_id
        self._talk.session = self._talk.session.fork()
        self._talk.is_new = False
        self._line(f"You are in {self._talk.session.session_id} now; {before} stays as it is.")

    def _exit(self, words: list[str]) -> None:
        self._talk.left = True

    def _agents_commands(self) -> Iterator[tuple[str, str]]:
        """The name and description of each, as the agent told them last."""
        told: CommandsEvent | None = None
        for event in self._talk.session.events(follow=False):
            if isinstance(event, CommandsEvent):
                told = event
        for each in told.commands if told is not None else ():
            name, what = each.get("name"), each.get("description")
            if isinstance(name, str):
                yield name, what if isinstance(what, str) else ""

    def _line(self, text: str) -> None:
        self._console.print(Text(terminal.printable(text), "dim"))


def _at_most_one(words: list[str]) -> str | None:
    if len(words) > 1:
        raise Wrong("one word at most, or one in quotes")
    return words[0] if words else None


def _number(word: str | None) -> int | None:
    if word is None:
        return None
    if not word.isascii() or not word.isdigit():
        raise Wrong(f"{word!r} is no number of a turn")
    return int(word)
