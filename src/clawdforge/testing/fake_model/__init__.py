"""A scripted model endpoint on loopback: what a real agent talks to when a test must know every word.

    with FakeModel() as model:
        start_the_agent(ANTHROPIC_BASE_URL=model.url)
        model.wait_for(lambda model: len(model.turns) == 1, timeout_s=10)
        assert model.turns[0].body["model"] == "claude-test-9"

As a program: `python -m clawdforge.testing.fake_model [--port N]` prints its URL on one line and serves until it
is stopped. Stdlib only. It speaks, whole or streamed, Anthropic Messages (`POST /v1/messages`, `count_tokens`),
OpenAI Responses (`POST /v1/responses`) and Gemini (`POST /v1beta/models/NAME:generateContent`, with its stream and
`countTokens`); what it does not know it records and answers 404.

The answer is scripted by directives `[[VERB arg]]` in the last user message, wherever they stand in its last text
block that has any; several make one answer, in their order. Without one the answer is `FAKE: <last user text>`.
The answer to a tool's result is `TOOLDONE: <result>`.

  [[ECHO x]]              text `turns=N last=x`, N the number of user texts with a directive: kept context
  [[SAY x]]               text `x`
  [[JSON {..}]]           that JSON in a code fence
  [[THEN VERB arg]]       nothing yet: it answers the user messages without directives that follow; several add up
  [[THINK x]]             a block of thinking; alone, the text `thought` follows
  [[WRITE path content]]  a call of the agent's own tool for it; so do [[BASH command]] and [[READ path]]. Where a
                          model says itself that its command needs its user's consent (codex), BASH says so
  [[TOOL name json]]      a call of that tool
  [[STOP reason]]         another stop reason          [[REFUSE]]  the one for a refusal, no text
  [[EMPTY]]               no content at all
  [[BIG bytes]]           text of that size            [[SLOW n s]]  n pieces, s (0.1) seconds before each event
  [[HANG s]]              silence for s seconds, then the answer
  [[ERR status n]]        an error; with n, only the first n requests with this text
  [[DROP]]                the connection closes before an answer
  [[CUT]]                 the connection closes after half of the answer that the other directives made

Side requests, those that an agent sends by itself (titles, quota checks, token counts: they offer no tools), get a
harmless answer and are recorded with `kind` "side"; `model.turns` are the others.
"""

from clawdforge.testing.fake_model.server import FakeModel, Request

__all__ = ["FakeModel", "Request"]
