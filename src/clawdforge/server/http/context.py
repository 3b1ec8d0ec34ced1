"""What the routes work with: the rooms below, put together once by `server.app`. Decides nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from clawdforge.server.agents.host import LocalHost
from clawdforge.server.apps.keys import Keys
from clawdforge.server.apps.registry import App, AppRegistry
from clawdforge.server.apps.usage import UsageReports
from clawdforge.server.files.uploads import Uploads
from clawdforge.server.http.auth import Gate
from clawdforge.server.http.stream import Streams
from clawdforge.server.http.trees import Trees
from clawdforge.server.sessions.answering import Answering
from clawdforge.server.sessions.registry import Sessions
from clawdforge.server.sessions.runs import Runs
from clawdforge.server.sessions.turns import Turns
from clawdforge.server.settings import Settings
from clawdforge.server.workspaces.space import Space


@dataclass(frozen=True, slots=True)
class Context:
    """The gateway's rooms."""

    settings: Settings
    gate: Gate[App]
    apps: AppRegistry
    sessions: Sessions
    runs: Runs
    turns: Turns
    answering: Answering
    keys: Keys
    usage: UsageReports
    streams: Streams
    uploads: Uploads
    host: LocalHost
    trees: Trees
    space: Space

    def caller(self, request: Request) -> App:
        """The app that asks; its token is noted as used. Raises Problem 401 or 403 (see `Gate.app`)."""
        app = self.gate.app(request)
        self.apps.touch(app)
        return app


def of(request: Request) -> Context:
    """The rooms of the gateway that a request came to."""
    return cast("Context", request.app.state.context)
