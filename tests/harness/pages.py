"""The snippets of the documentation, and how they run: `python pages.py PAGE` runs the Python of a page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(str(each.relative_to(ROOT)) for each in (ROOT / "docs").rglob("*.md")))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# What needs more than a gateway: a package index, another terminal, root.
_NOT_HERE = re.compile(r"\b(pip install|make \w+|clawdforge (serve|agents install)|systemctl|docker)\b")


class Snippet(NamedTuple):
    """A block of a page; `line` is where its first line stands."""

    page: str
    line: int
    code: str

    @property
    def is_test(self) -> bool:
        """Whether it shows a test, for pytest to run."""
        return "def test_" in self.code


def snippets(page: str, language: str) -> list[Snippet]:
    """The blocks of a page that are in this language."""
    text = (ROOT / page).read_text()
    return [
        Snippet(page, text.count("\n", 0, block.start(2)) + 1, block[2])
        for block in _BLOCK.finditer(text)
        if block[1] == language
    ]


def programs(page: str) -> list[Snippet]:
    return [each for each in snippets(page, "python") if not each.is_test]


def tests(page: str) -> list[Snippet]:
    return [each for each in snippets(page, "python") if each.is_test]


def scripts(page: str) -> list[Snippet]:
    return [each for each in snippets(page, "sh") if not _NOT_HERE.search(each.code)]


def run(page: str) -> None:
    """Each program in a module of its own; a traceback names the page and the line."""
    for each in programs(page):
        print(f"--- {page}:{each.line}")
        code = compile("\n" * (each.line - 1) + each.code, str(ROOT / page), "exec", dont_inherit=True)
        module = sys.modules["__main__"] = ModuleType("__main__")
        exec(code, module.__dict__)


if __name__ == "__main__":
    run(sys.argv[1])
