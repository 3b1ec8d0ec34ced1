"""`/healthz`, `/agents`, `/usage`, `/admin/tokens`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from clawdforge.testing.fake_gateway import bodies
from clawdforge.testing.fake_gateway import connection as http
from clawdforge.testing.fake_gateway.calls.call import Call
from clawdforge.testing.fake_gateway.connection import Answer
from clawdforge.testing.fake_gateway.session import SANDBOX, Session, Turn
from clawdforge.wire import codec
from clawdforge.wire.agents import AgentAnswer, AgentCapabilities, AgentInfo, AgentPage
from clawdforge.wire.apps import AppToken, TokenCreate, TokenInfo, TokenPage, TokenRevoked
from clawdforge.wire.health import Health
from clawdforge.wire.problems import Problem, invalid
from clawdforge.wire.usage import By, UsageGroup, UsageReport, UsageSum

_VERSION: Final = "fake"
_TIMES: Final = range(10**12)
_GROUPINGS: Final[tuple[By, ...]] = ("agent", "model", "day")
_COUNTS: Final = (
    *("input_tokens", "output_tokens", "cached_read_tokens", "cached_write_tokens"),
    *("thought_tokens", "total_tokens"),
)


def healthz(call: Call) -> Answer:
    """The gateway is up."""
    try:
        ours = version("clawdforge")
    except PackageNotFoundError:
        ours = _VERSION
    sessions = call.state.sessions.values()
    count = sum(each.closed_at is None and not each.is_run for each in sessions)
    claude = "claude" in call.state.agents
    told = (claude, _VERSION if claude else None, False, None, count, SANDBOX)
    return http.of(Health(True, ours, *told))


def list_agents(call: Call) -> Answer:
    """All agents, by name."""
    call.query()
    agents = [AgentInfo(**_agent(each)) for each in sorted(call.state.agents)]
    return http.of(AgentPage(True, agents, len(agents), SANDBOX))


def get_agent(call: Call) -> Answer:
    """One agent."""
    call.query()
    name = call.name("name")
    if name not in call.state.agents:
        raise Problem("not_found", "agent not found")
    return http.of(AgentAnswer(ok=True, **_agent(name)))


def _agent(name: str) -> dict[str, Any]:
    capabilities = AgentCapabilities(system_modes=("append", "replace"))
    told = {"name": name, "title": f"{name}, a fake", "available": True, "version": _VERSION}
    return {**told, "capabilities": capabilities}


def usage(call: Call) -> Answer:
    """What the app's turns took."""
    query = call.query("since", "until", "by")
    since, until = query.integer("since", _TIMES), query.integer("until", _TIMES)
    named = query.values.get("by")
    by = next((each for each in _GROUPINGS if each == named), None)
    if named != by:
        raise invalid(f"by is one of: {', '.join(_GROUPINGS)}", "by")
    mine = (each for each in call.state.sessions.values() if each.app_name == call.app.name)
    found = [(each, turn) for each in mine for turn in each.turns if turn.ended]
    found = [each for each in found if (since or 0) <= each[1].started_at < (until or _TIMES.stop)]
    keys = {_group(by, *each) for each in found} if by is not None else set()
    groups = [
        UsageGroup(key=key, **codec.to_json(_sum(turn for each, turn in found if _group(by, each, turn) == key)))
        for key in keys
    ]
    groups.sort(key=lambda each: each.key or "" if by == "day" else each.total_tokens, reverse=True)
    return http.of(UsageReport(True, since, until, by, _sum(turn for _, turn in found), groups, 0))


def _group(by: str | None, session: Session, turn: Turn) -> str | None:
    if by == "agent":
        return session.options.agent
    return turn.model if by == "model" else time.strftime("%Y-%m-%d", time.gmtime(turn.started_at))


def _sum(turns: Iterable[Turn]) -> UsageSum:
    rows = [(turn, turn.usage or {}) for turn in turns]
    costs = [cost for _, each in rows if (cost := each["cost_usd"]) is not None]
    estimates = [each for _, each in rows if each["source"] == "estimate"]
    return UsageSum(
        **{name: sum(each[name] for _, each in rows) for name in _COUNTS},
        turns=len(rows),
        duration_ms=sum(turn.duration_ms or 0 for turn, _ in rows),
        cost_usd=sum(costs) if costs else None,
        estimated_turns=len(estimates),
        estimated_tokens=sum(each["total_tokens"] for each in estimates),
    )


def mint_token(call: Call) -> Answer:
    """Makes an app and its token."""
    wanted = bodies.read(call.request, TokenCreate)
    app = call.state.mint(wanted.name, wanted.ip_cidrs or ())
    return http.of(AppToken(True, app.name, app.token, app.ip_cidrs, app.created_at))


def list_tokens(call: Call) -> Answer:
    """All tokens, without their secrets."""
    call.query()
    apps = call.state.apps.values()
    rows = [
        TokenInfo(each.name, each.ip_cidrs, each.created_at, each.last_used_at, each.revoked_at) for each in apps
    ]
    return http.of(TokenPage(True, rows, len(rows)))


def revoke_token(call: Call) -> Answer:
    """Takes a token out of use; its streams end."""
    call.query()
    app = call.state.apps.get(call.name("name"))
    if app is None:
        raise Problem("not_found", "no app of that name")
    app.revoked_at = app.revoked_at or int(time.time())
    for session in call.state.sessions.values():
        session.changed.notify_all()
    return http.of(TokenRevoked(True, app.name))
