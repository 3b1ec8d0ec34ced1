"""The records of one-shot runs, each for its own app only. Reads what is stored; must not run anything."""

from __future__ import annotations

from functools import partial

from clawdforge.server.apps.registry import App
from clawdforge.server.sessions import answers, turns
from clawdforge.server.store.base import Store
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunInfo, RunItem


class Runs:
    """The runs of one gateway, those that are under way too."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self, app: App, *, limit: int, before: tuple[int, str] | None) -> list[RunItem]:
        """The app's own runs, newest first."""
        rows = await self._store.runs(app.app_id, limit=limit, before=before)
        return [answers.run_item(row) for row in rows]

    async def get(self, app: App, run_id: str) -> RunInfo:
        """One of the app's runs, with its result.

        Raises:
            Problem: `not_found`.
        """
        row = await self._store.run(run_id)
        if row is None or row.session.app_id != app.app_id:
            raise Problem("not_found", "run not found")
        if row.turn.status != "done":
            return answers.run_info(row, [])
        return await turns.told(self._store, row.turn, partial(answers.run_info, row))
