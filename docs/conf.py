"""How Sphinx builds the documentation: `make docs`.

The whole repository is its source, so that a link between pages is the same file here and on a code host. The
order of the pages is that of the links in `docs/index.md`, and what the reference tells of the code is made of the
code (`tools/reference`). Nothing is fetched.
"""

from __future__ import annotations

import importlib.metadata
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.reference import MADE

project = "clawdforge"
release = importlib.metadata.version("clawdforge")
copyright = "The clawdforge authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "bench/RESULTS.md", "docs/**.md"]
exclude_patterns = [".*", "build", "src", "tests"]

myst_heading_anchors = 4
default_role = "literal"  # docstrings mark code as Markdown does
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
napoleon_use_ivar = True
toc_object_entries_show_parents = "hide"
suppress_warnings = ["ref.python"]  # `type[T]` in a signature could also be the attribute `type` of some class

html_theme = "furo"
html_title = "clawdforge"
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Pages get what is made of the index and of the code when they are read."""
    app.connect("source-read", _complete)
    app.connect("autodoc-process-docstring", _as_markdown, priority=1)  # before napoleon
    app.connect("build-finished", _open_at_root)
    app.connect("env-get-outdated", lambda *_: [*MADE])  # code may have changed where its page has not


def _open_at_root(app: Sphinx, error: Exception | None) -> None:
    """Who opens the site's directory comes to its first page."""
    page = f"{root_doc}.html"
    (Path(app.outdir) / "index.html").write_text(
        f'<!doctype html><meta charset="utf-8"><title>{project}</title>'
        f'<meta http-equiv="refresh" content="0; url={page}"><a href="{page}">{project}</a>\n'
    )


def _complete(app: Sphinx, page: str, source: list[str]) -> None:
    if page == root_doc:
        source[0] += _contents(source[0])
    if page == "docs/decisions/README":
        source[0] += "\n```{toctree}\n:glob:\n\n0*\n```\n"
    if page in MADE:
        source[0] += MADE[page]()


def _contents(index: str) -> str:
    """A table of contents for each section of the index: the pages that it links to, in their order."""
    trees = []
    for section in index.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        links = re.findall(r"\[([^\]]+)\]\((?!\w+:)([^)#]+)\.md\)", text)
        places = "\n".join(f"{name} </{posixpath.normpath(f'docs/{page}')}>" for name, page in links)
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{places}\n```\n")
    return "\n\n" + "\n".join(trees)


def _as_markdown(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Docstrings show code by its indentation alone, name `**options` among others, and speak of `Event`s."""
    lines[:] = [re.sub(r"(`[^`]+`)(\w)", r"\1\\ \2", each).replace(", **", ", \\*\\*") for each in lines]
    for number in range(len(lines) - 1, 1, -1):
        begins = lines[number].startswith("    ") and not lines[number - 1]
        if begins and lines[number - 2][:1].strip():
            lines[number - 1 : number - 1] = ["", "::"]
    if what == "property":
        lines[:0] = ["..", ""]  # else napoleon takes what stands ahead of a colon for a type
