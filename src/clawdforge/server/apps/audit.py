"""The audit: who had which agent do work, when, and how it ended. Builds the line; stores nothing."""

from __future__ import annotations

from clawdforge.server.store.stored import AuditRow, SessionRow, TurnRow
from clawdforge.server.store.writes import AddAudit
from clawdforge.wire.usage import Usage


class Audit:
    """Makes the audit's lines. The text of a prompt is in them only where `keep_prompts` says so."""

    def __init__(self, *, keep_prompts: bool) -> None:
        self._keep_prompts = keep_prompts

    def turn(
        self, session: SessionRow, turn: TurnRow, usage: Usage, prompt: str, answer: str, files: int = 0
    ) -> AddAudit:
        """The line of a turn that has ended, to be stored in one unit with its end.

        Args:
            session: whose turn it was.
            turn: the ended turn.
            usage: what the turn took.
            prompt: what the caller said.
            answer: the text that the agent answered.
            files: how many files went with the prompt.
        """
        return AddAudit(
            AuditRow(
                at_ms=turn.started_at_ms,
                app_id=session.app_id,
                app_name=session.app_name,
                kind=session.kind,
                session_id=session.session_id,
                turn_index=turn.turn_index,
                agent=session.agent,
                model=turn.model,
                duration_ms=turn.duration_ms or 0,
                stop_reason=turn.stop_reason or turn.error or turn.status,
                ok=bool(turn.ok),
                prompt_bytes=utf8_bytes(prompt),
                answer_bytes=utf8_bytes(answer),
                files=files,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cached_read_tokens=usage.cached_read_tokens,
                cached_write_tokens=usage.cached_write_tokens,
                thought_tokens=usage.thought_tokens,
                total_tokens=usage.total_tokens,
                cost_usd=usage.cost_usd,
                estimated=usage.source == "estimate",
                prompt=prompt if self._keep_prompts else None,
            )
        )


def utf8_bytes(text: str) -> int:
    """How long a text is as UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
