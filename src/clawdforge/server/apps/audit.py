"""The audit: who had which agent do work, when, and how it ended. Builds the line; stores nothing."""

from __future__ import annotations

from clawdforge.server.store.base import AddAudit, AuditRow, SessionRow, TurnRow


class Audit:
    """Makes the audit's lines. The text of a prompt is in them only where `keep_prompts` says so."""

    def __init__(self, *, keep_prompts: bool) -> None:
        self._keep_prompts = keep_prompts

    def turn(
        self, session: SessionRow, turn: TurnRow, model: str | None, prompt: str, answer: str, files: int = 0
    ) -> AddAudit:
        """The line of a turn that has ended, to be stored in one unit with its end.

        Args:
            session: whose turn it was.
            turn: the ended turn.
            model: the model that was asked for, where one was.
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
                model=model,
                duration_ms=turn.duration_ms or 0,
                stop_reason=turn.stop_reason or turn.error or turn.status,
                ok=bool(turn.ok),
                prompt_bytes=_bytes(prompt),
                answer_bytes=_bytes(answer),
                files=files,
                prompt=prompt if self._keep_prompts else None,
            )
        )


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
