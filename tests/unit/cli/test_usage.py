"""`clawdforge usage`: what it asks, and the table that it prints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from click.testing import Result

URL = "http://gateway.test:8800"
Invoke = Callable[..., Result]

TOTAL = {
    "input_tokens": 300, "output_tokens": 20, "cached_read_tokens": 10, "cached_write_tokens": 0,
    "thought_tokens": 0, "total_tokens": 330, "turns": 3, "duration_ms": 1_250, "cost_usd": None,
    "estimated_turns": 1, "estimated_tokens": 120,
}  # fmt: skip
GROUP = {**TOTAL, "key": "claude", "cost_usd": 0.25}


def report(**fields: Any) -> dict[str, Any]:
    return {"ok": True, "since": None, "until": None, "by": None, "total": TOTAL, "groups": [], **fields}


def asked(http: responses.RequestsMock) -> dict[str, list[str]]:
    return parse_qs(urlsplit(str(http.calls[0].request.url)).query)


def test_without_options_it_prints_the_total(invoke: Invoke, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/usage", json=report())

    result = invoke("usage")

    assert result.exit_code == 0
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        ["ALL", "TURNS", "SECONDS", "INPUT", "OUTPUT", "CACHED", "TOKENS", "ESTIMATED", "COST USD"],
        ["total", "3", "1.2", "300", "20", "10", "330", "120", "-"],
    ]
    assert asked(http) == {}


def test_by_agent_it_prints_a_row_for_each(invoke: Invoke, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/usage", json=report(by="agent", groups=[GROUP, {**GROUP, "key": None}], left_out=2))

    result = invoke("usage", "--by", "agent")

    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["AGENT", "claude", "-", "total"]
    assert rows[1][-1] == "0.2500"
    assert "2 more" in result.stderr
    assert asked(http) == {"by": ["agent"]}


@pytest.mark.parametrize(
    ("span", "seconds"), [("90m", 5_400), ("12h", 43_200), ("7d", 604_800), ("4w", 2_419_200)]
)
def test_since_is_so_long_ago(invoke: Invoke, http: responses.RequestsMock, span: str, seconds: int) -> None:
    http.get(f"{URL}/usage", json=report())
    before = int(time.time())

    assert invoke("usage", "--since", span).exit_code == 0

    [since] = asked(http)["since"]
    assert before - seconds <= int(since) <= int(time.time()) - seconds


@pytest.mark.parametrize("span", ["", "7", "d", "-7d", "7 d", "7y", "1.5d", "7D", "9999999d"])
def test_a_span_that_is_none_is_refused(invoke: Invoke, http: responses.RequestsMock, span: str) -> None:
    assert invoke("usage", "--since", span).exit_code == 2
    assert len(http.calls) == 0


def test_as_json_it_is_the_gateway_s_own_answer(invoke: Invoke, http: responses.RequestsMock) -> None:
    http.get(f"{URL}/usage", json=report(news=1))

    assert json.loads(invoke("usage", "--json").stdout) == report(news=1)


@pytest.mark.parametrize("body", [{"ok": True}, {"total": [], "groups": []}, {"total": {}, "groups": {}}])
def test_an_answer_without_sums_is_no_gateway_s(
    invoke: Invoke, http: responses.RequestsMock, body: dict[str, Any]
) -> None:
    http.get(f"{URL}/usage", json=body)

    assert invoke("usage").exit_code == 5
