"""`FakeGateway`: what a test holds. It says what shall happen, and shows what the app has asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from clawdforge.testing.fake_gateway import chances, script
from clawdforge.testing.fake_gateway import connection as http
from clawdforge.testing.fake_gateway.calls import table
from clawdforge.testing.fake_gateway.chances import Chance, Drop, Refusal, Reply
from clawdforge.testing.fake_gateway.connection import JSON, Answer, Incoming, Stream
from clawdforge.testing.fake_gateway.prompt import Prompt, Request, SentFile
from clawdforge.testing.fake_gateway.script import Gate, Told
from clawdforge.testing.fake_gateway.server import Fate, Server
from clawdforge.testing.fake_gateway.state import State
from clawdforge.wire.problems import Problem
from clawdforge.wire.usage import Usage

AGENTS: Final = ("claude", "codex", "gemini")


class FakeGateway:
    """A gateway without agents, in the process of a test: it speaks the contract on a port of 127.0.0.1.

    It listens from when it is made until `close()`, or the end of its `with` block. What it answers is told
    beforehand: `answers` and `fails` are for one prompt each, in their order; `on_prompt` is for all others;
    without it a prompt is answered by `turn N: <prompt>`. Every instance is a world of its own.

    Args:
        agents: the names of the agents that it has.
        honours_keys: whether it heeds an `Idempotency-Key`, as every gateway but the oldest does.
        heartbeat_s: after so long without an event a stream shows that it lives.

    Attributes:
        url: where it listens.
        token: of an app named `app`.
        admin_token: opens `/admin/*`.
    """

    def __init__(
        self, *, agents: Iterable[str] = AGENTS, honours_keys: bool = True, heartbeat_s: float = 15.0
    ) -> None:
        self._state = State(
            tuple(agents),
            honours_keys=honours_keys,
            heartbeat_s=heartbeat_s,
            start=lambda work: self._server.start(work),
        )
        self.token: str = self._state.mint("app").token
        self.admin_token: str = self._state.admin_token
        self._server = Server(self._answer)
        self.url: str = f"http://127.0.0.1:{self._server.port}"

    # --- what shall happen -----------------------------------------------------------------------------------

    def answers(
        self,
        *parts: Any,
        stop_reason: str = "end_turn",
        usage: Mapping[str, Any] | None = None,
        model: str | None = None,
        schema_errors: Iterable[str] | None = None,
        repair: Any = None,
    ) -> None:
        """The next prompt that has no answer yet is answered with these parts.

        Args:
            parts: texts; steps (`text`, `thinking`, `tool_call`, `plan`, `ask`, `write`, …); anything else is said
                as JSON, as an agent does that is asked for a `schema`. Without any the agent says nothing.
            stop_reason: how the turn ends.
            usage: the agent's own count, by the names of `clawdforge.wire.usage.Usage`; else there is an estimate.
            model: the one that the agent says it has used.
            schema_errors: what is wrong with the answer by the prompt's `schema`; else it is looked at.
            repair: one part, which is the answer where the first one did not fit and is asked for once more; else
                that is the same again.

        Raises:
            TypeError, ValueError: a part is no JSON; there is no such stop reason, or no such count.
        """
        errors = None if schema_errors is None else tuple(schema_errors)
        counted = None if usage is None else Usage(**{"source": "agent", **usage})
        told, end = Told(counted, model, errors), script.stop(stop_reason)
        again = None if repair is None else (Told(counted, model), repair, end)
        self._add((told, *parts, end), again)

    def fails(
        self, code: str = "agent_failed", detail: str = "", *, after: Iterable[Any] = (), **extra: Any
    ) -> None:
        """The turn of the next prompt that has no answer yet begins, and fails.

        Args:
            code: `agent_failed`, `timeout`, `interrupted` or `budget_exceeded`.
            detail: what a person is told.
            after: parts of an answer that come before, as in `answers`.
            extra: what the error tells besides: `exit_code` and `stderr_tail`, `phase`, `limit`.

        Raises:
            ValueError: no turn fails so: see `refuses`.
        """
        self._add((*after, script.fail(code, detail, **extra)))

    def on_prompt(self, answerer: Callable[[Prompt], Any]) -> Callable[[Prompt], Any]:
        """A function answers all prompts that have no answer of their own. Also as a decorator.

        It returns a text, a step, a value that is said as JSON, or None for an echo; or it is a generator of
        these, and hears at each `yield ask(…)` what was decided. An answer that does not fit the prompt's `schema`
        is asked for once more, with a prompt that has `errors`. What it raises ends the turn `agent_failed`, with
        the reason. It runs in a thread of the turn's own.
        """
        with self._state.lock:
            self._state.script.always = answerer
        return answerer

    def refuses(
        self,
        code: str,
        detail: str | None = None,
        *,
        retry_after_s: int | None = None,
        at: str | None = None,
        times: int = 1,
    ) -> None:
        """The next prompt, or the next request at another place, is refused; nothing is done.

        Args:
            code: of the contract (`rate_limited`, `overloaded`, `turn_in_progress`, …); it has its HTTP status.
            detail: what a person is told.
            retry_after_s: the answer's `Retry-After`, in seconds.
            at: another place, as `"GET /usage"`; `*` stands for any part of the path.
            times: how many requests are refused.

        Raises:
            ValueError: the contract has no such code, or `at` is no place.
        """
        problem = chances.refused(code, detail, retry_after_s)
        self._chance(Refusal(_places(at, chances.PROMPTS), problem), times)

    def replies(
        self,
        status: int,
        body: bytes | str = b"",
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str = JSON,
        at: str | None = None,
        times: int = 1,
    ) -> None:
        """The next prompt, or request at another place, gets this answer, as of a proxy's or another server's.

        Args:
            status: of the answer.
            body: its bytes, or a text in UTF-8.
            headers: besides its type and length.
            content_type: what it says that it is.
            at, times: as in `refuses`.
        """
        raw = body.encode() if isinstance(body, str) else body
        answer = Answer(raw, status, dict(headers or {}), content_type)
        self._chance(Reply(_places(at, chances.PROMPTS), answer), times)

    def drops(
        self,
        *,
        after_bytes: int | None = None,
        after_events: int | None = None,
        at: str | None = None,
        times: int = 1,
    ) -> None:
        """The connection of the next prompt's answer, or the next stream's, is cut. What was asked is done.

        Args:
            after_bytes: so many bytes of the answer are sent, its head included; 0 where nothing is said.
            after_events: so many events of a stream are sent.
            at, times: as in `refuses`.
        """
        if after_events is None and after_bytes is None:
            after_bytes = 0
        self._chance(Drop(_places(at, chances.LASTING), after_bytes, after_events), times)

    def gate(self) -> Gate:
        """A step at which a turn waits until the test calls `.open()`."""
        return Gate(self._ring)

    # --- what has happened -----------------------------------------------------------------------------------

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts that were let in, oldest first."""
        with self._state.lock:
            return [*self._state.prompts]

    @property
    def requests(self) -> list[Request]:
        """All requests that came, oldest first, refused ones too."""
        with self._state.lock:
            return [*self._state.requests]

    @property
    def uploads(self) -> list[SentFile]:
        """The files that were handed in and are there still, oldest first."""
        with self._state.lock:
            return [each.file for each in self._state.uploads.values()]

    @property
    def unused(self) -> int:
        """How many answers wait for a prompt that has not come."""
        with self._state.lock:
            return self._state.script.left

    def workspace(self, session_id: str) -> dict[str, bytes]:
        """The files of a session by their paths. What is put in is there; it is the agent's side of `files`.

        Raises:
            KeyError: there is no such session.
        """
        with self._state.lock:
            return self._state.sessions[session_id].workspace

    def wait_for_prompt(self, number: int = 1, *, within_s: float = 10.0) -> Prompt:
        """The prompt of this number, counted from 1, once it has been let in.

        Raises:
            TimeoutError: it did not come in time.
        """
        state = self._state
        with state.lock:
            if not state.prompted.wait_for(lambda: len(state.prompts) >= number, within_s):
                raise TimeoutError(f"{len(state.prompts)} prompts came in {within_s:g} s, not {number}")
            return state.prompts[number - 1]

    @property
    def honours_keys(self) -> bool:
        """Whether it heeds an `Idempotency-Key`; can be changed at any time."""
        return self._state.honours_keys

    @honours_keys.setter
    def honours_keys(self, value: bool) -> None:
        self._state.honours_keys = value

    # --- its life --------------------------------------------------------------------------------------------

    @property
    def environ(self) -> dict[str, str]:
        """The environment by which a `Forge()` without arguments finds it."""
        return {"CLAWDFORGE_URL": self.url, "CLAWDFORGE_TOKEN": self.token}

    def close(self) -> None:
        """Ends all turns and connections, whatever they are at; no thread and no socket is left. Safe to repeat.

        Raises:
            RuntimeError: a function of `on_prompt` does not return.
        """
        with self._state.lock:
            self._state.closing = True
            for session in self._state.sessions.values():
                session.stop(script.fail("interrupted", "the fake gateway was closed while the turn ran"))
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FakeGateway {self.url}>"

    # --- inside ----------------------------------------------------------------------------------------------

    def _add(self, parts: tuple[Any, ...], repair: tuple[Any, ...] | None = None) -> None:
        for each in (*parts, *(repair or ())):
            script.check(each)
        with self._state.lock:
            self._state.script.add(script.of(parts, repair))

    def _chance(self, chance: Chance, times: int) -> None:
        with self._state.lock:
            self._state.chances += [chance] * times

    def _ring(self) -> None:
        with self._state.lock:
            for session in self._state.sessions.values():
                session.changed.notify_all()

    def _answer(self, incoming: Incoming, request_id: str) -> tuple[Answer | Stream, Fate]:
        state = self._state
        ours = {"Idempotency-Supported": "true"} if state.honours_keys else {}
        with state.lock:
            state.requests.append(incoming.request)
            chance = next((each for each in state.chances if each.fits(incoming)), None)
            if chance is not None:
                state.chances.remove(chance)
            if isinstance(chance, Reply):
                return chance.answer, Fate({})
            fate = Fate(ours)
            if isinstance(chance, Drop):
                fate = Fate(ours, chance.after_bytes, chance.after_events)
            try:
                if isinstance(chance, Refusal):
                    raise chance.problem
                return table.answer(state, incoming, request_id), fate
            except Problem as problem:
                return http.problem(problem.with_traceback(None), request_id), fate


def _places(at: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    return usual if at is None else (at,)
