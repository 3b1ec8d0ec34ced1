"""`python -m clawdforge`: the same as the console script."""

from __future__ import annotations

from clawdforge.cli import main

main()
