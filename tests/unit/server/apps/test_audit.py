from __future__ import annotations

import pytest

from clawdforge.server.apps.audit import Audit
from clawdforge.server.store.stored import AuditRow, SessionRow, TurnRow
from clawdforge.wire.usage import Usage, estimate

USAGE = Usage(
    input_tokens=1, output_tokens=2, cached_read_tokens=3, cached_write_tokens=4, thought_tokens=5,
    total_tokens=10, cost_usd=0.25, source="agent",
)  # fmt: skip
SESSION = SessionRow("sess_1", "app_1", "one", "session", "claude", "/w", {}, {}, created_at=1)


@pytest.mark.parametrize(("keep", "prompt"), [(True, "Grüße"), (False, None)])
def test_the_line_of_a_turn(keep: bool, prompt: str | None) -> None:
    turn = TurnRow("sess_1", 3, "done", 5000, stop_reason="end_turn", ok=True, duration_ms=12, model="opus")
    change = Audit(keep_prompts=keep).turn(SESSION, turn, USAGE, "Grüße", "hello", files=2)
    assert change.row == AuditRow(
        at_ms=5000, app_id="app_1", app_name="one", kind="session", session_id="sess_1", turn_index=3,
        agent="claude", model="opus", duration_ms=12, stop_reason="end_turn", ok=True,
        prompt_bytes=7, answer_bytes=5, files=2, input_tokens=1, output_tokens=2, cached_read_tokens=3,
        cached_write_tokens=4, thought_tokens=5, total_tokens=10, cost_usd=0.25, estimated=False, prompt=prompt,
    )  # fmt: skip


def test_a_turn_that_never_told_why_it_ended() -> None:
    turn = TurnRow("sess_1", 1, "failed", 5000, error="agent_failed")
    row = Audit(keep_prompts=False).turn(SESSION, turn, estimate(1, 3), "p", "\ud800").row
    assert (row.stop_reason, row.ok, row.duration_ms, row.answer_bytes) == ("agent_failed", False, 0, 3)
    assert (row.input_tokens, row.output_tokens, row.cost_usd, row.estimated) == (1, 1, None, True)
