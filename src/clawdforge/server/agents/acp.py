"""One agent over ACP: from a started process to answers, and every way in which that fails.

Speaks ACP version 1 and advertises no capability of its own: all agents work without. Must not know turns, logs
or policies: its owner is told what happens and decides. Source: https://agentclientprotocol.com
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any, Final

from clawdforge.server.agents import blame, prompts, recall, rpc, setup
from clawdforge.server.agents.asks import Asks
from clawdforge.server.agents.base import (
    AgentFailed,
    AgentOwner,
    Answered,
    Failed,
    OpenAgent,
    Prompt,
)
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.failures import Failures, not_started
from clawdforge.server.agents.homes import AgentHome
from clawdforge.server.agents.launch import Launch, how_to_log_in
from clawdforge.server.agents.offers import Offers
from clawdforge.server.agents.process import ChildProcess
from clawdforge.server.agents.redact import Redactor
from clawdforge.server.agents.spawner import Command, Spawner
from clawdforge.server.agents.translate import Translator
from clawdforge.server.agents.uncut import uncut
from clawdforge.server.agents.usage import Meter, Told
from clawdforge.server.sandbox.limits import Exceeded
from clawdforge.wire.problems import invalid

_log: Final = logging.getLogger(__name__)
_NOISE_LIMIT: Final = 1_000
_START_LIMIT_BYTES: Final = 32 * 1024 * 1024


class Forgetful(AgentFailed):
    """The agent did not live through recalling its conversation: without it, it may."""


class AcpAgent:
    """A running agent (`base.Agent`). Make one with `open`.

    Attributes:
        offers: what it offers to choose from.
        recalled: whether it goes on with what it was opened to go on with.
    """

    def __init__(
        self, entry: AgentEntry, request: OpenAgent, launch: Launch, home: AgentHome, owner: AgentOwner
    ) -> None:
        self.offers: Offers = Offers()
        self.recalled: bool = False
        self._entry = entry
        self._request = request
        self._launch = launch
        self._home = home
        self._owner = owner
        self._redactor = Redactor(launch.secrets, owner.on_update)
        self._translator = Translator(entry.unkept)
        self._meter = Meter(entry.usage_counts)
        self._peer = rpc.Peer(self._send, self)
        self._recall = recall.Recall(request.memory, request.startup_timeout_s / 2)
        self._failures = Failures(entry, launch, lambda: self._process.stderr_tail())
        self._process: ChildProcess
        self._acp_session: str | None = None
        self._ahead: list[str] = []
        self._untold = False
        self._asks = Asks(owner, self._redactor, self._translator, request.workspace, self.here)
        self._cancelling = False
        self._noise = 0
        self._start_bytes = 0
        self._failure: Failed | None = None
        self._ending = False

    @classmethod
    async def open(
        cls,
        spawner: Spawner,
        entry: AgentEntry,
        request: OpenAgent,
        launch: Launch,
        home: AgentHome,
        owner: AgentOwner,
        *,
        mark: str,
        line_limit_bytes: int,
    ) -> AcpAgent:
        """Starts an agent, up to where it can take a prompt.

        Raises:
            AgentFailed: it did not get there, or not in time; nothing of it is left. Forgetful: over its memory.
            Problem: it refused a value that the caller chose; nothing of it is left.
        """
        self = cls(entry, request, launch, home, owner)
        try:
            command = Command(launch.argv, launch.env, launch.space, mark, line_limit_bytes)
            self._process = await ChildProcess.start(spawner, command, self)
        except BaseException as error:
            await uncut(self._clear())
            if not isinstance(error, OSError):
                raise
            raise not_started(error) from error
        try:
            await self._start()
        except BaseException:
            await self.end(now=True)
            raise
        return self

    async def _start(self) -> None:
        """Brings the agent to where it can take a prompt. Raises as `open`, and leaves what is to be ended."""
        request = self._request
        try:
            async with asyncio.timeout(request.startup_timeout_s):
                started = await setup.start_session(
                    self._peer, self._entry, request.options, self._launch.view.workspace, self._recall
                )
        except TimeoutError:
            raise self._not_ready(self._failures.late(request.startup_timeout_s)) from None
        except setup.ValueRefused as error:
            raise invalid(blame.sentence(str(error), self._launch.secrets), error.field) from error
        except (rpc.RpcError, rpc.Gone, setup.Refused) as error:
            raise self._not_ready(self._why(error)) from error
        if self._failure is not None:
            raise AgentFailed(self._failure)
        self._acp_session = started.session_id
        self._ahead = [started.prefix] if started.prefix else []
        self.recalled = started.recalled
        self.offers = started.offers.as_told(self._redactor.hide)
        if started.recalled:
            self._meter.take()  # what it counted before is no prompt's of its own

    def _not_ready(self, failure: Failed) -> AgentFailed:
        return (Forgetful if self._recall.pending else AgentFailed)(failure)

    @property
    def usable(self) -> bool:
        """Whether it can take a prompt (see `base.Agent`)."""
        return self._failure is None and self._process.running

    @property
    def agent_session_id(self) -> str | None:
        """Its own id of the conversation (see `base.Agent`)."""
        if self._acp_session is None or self._untold:
            return None
        return self._recall.lasting(self._acp_session)

    @property
    def history_bytes(self) -> int:
        """How long a conversation it can be handed over (see `base.Agent`)."""
        return self._entry.history_bytes

    def hand_over(self, conversation: str) -> None:
        """Has this go ahead of its next prompt (see `base.Agent`)."""
        self._ahead.append(conversation)
        self._untold = True

    def here(self, path: str) -> str | None:
        """A path of the agent's on this machine (see `base.Agent`)."""
        return self._launch.view.here(path)

    # --- the five verbs ------------------------------------------------------------------------------------

    def prompt(self, prompt: Prompt) -> None:
        """Sends a prompt (see `base.Agent`)."""
        ahead: list[str] = []
        if not prompts.is_command(prompt.text):  # with anything ahead of it, it would be none
            ahead, self._ahead, self._untold = self._ahead, [], False
        params = prompts.params(
            self._acp_session,
            prompt,
            ahead,
            self.offers,
            self._launch.view,
            literal_uris=self._entry.literal_uris,
        )
        self._redactor.begin()
        self._cancelling = False
        self._meter.prompted()
        self._recall.over()
        self._peer.request("session/prompt", params, self._prompt_answered)

    def cancel(self) -> None:
        """Asks the agent to end its prompt; open permission requests are answered `cancelled`, as ACP wants."""
        self._asks.drop()
        self._cancelling = True
        self._redactor.flush()
        self._peer.notify("session/cancel", {"sessionId": self._acp_session})

    def answer(self, permission_id: str, place: int | None) -> None:
        """Answers a permission request (see `base.Agent`); one that is no longer open is left alone."""
        self._asks.answer(permission_id, place)

    def take_usage(self) -> Told:
        """What was told of the prompt's tokens and cost (see `base.Agent`)."""
        told = self._meter.take()
        model = told.model or self._entry.default_model or self.offers.model
        return replace(told, model=self._redactor.hide(model))

    def pause(self) -> None:
        """Stops listening until `resume`."""
        self._process.pause()

    def resume(self) -> None:
        """Listens on."""
        self._process.resume()

    async def turn_over(self) -> None:
        """Keeps a login that the agent has renewed."""
        if self._entry.login_files:
            await asyncio.to_thread(self._home.keep_login)

    async def end(self, *, now: bool) -> None:
        """Ends the agent with its tree, keeps its login, removes its temporary files; all of it, once begun."""
        self._ending = True
        self._asks.drop()
        await uncut(self._end(now))

    async def _end(self, now: bool) -> None:
        await self._process.end(now=now, heeds_eof=self._entry.heeds_eof)
        await self._clear()

    async def _clear(self) -> None:
        """Keeps its login, and lets go of what else it had for as long as it ran."""
        if self._launch.relay is not None:
            await self._launch.relay.close()
        await asyncio.to_thread(self._home.clear)

    # --- what the process tells ----------------------------------------------------------------------------

    def on_line(self, line: bytes) -> None:
        """A line came on stdout. Before the start there may only be so much of them: they are kept in memory."""
        if self._failure is not None:
            return
        if self._acp_session is None and not self._recall.pending:  # what it tells again may be long
            self._start_bytes += len(line)
            if self._start_bytes > _START_LIMIT_BYTES:
                self.on_broken("the agent said too much before it was ready")
                return
        self._owner.on_activity()
        try:
            self._peer.feed(line)
        except Exception:  # noqa: BLE001 - a fault of ours: whoever waits must hear of it now, not at a deadline
            _log.exception("a line of the agent %s could not be taken", self._entry.name)
            self.on_broken("the gateway could not make sense of what the agent said")

    def on_broken(self, reason: str) -> None:
        """The agent can no longer be talked to: it is of no more use, though it may still run."""
        self._lost(self._failures.failed(reason))

    def on_exit(self, code: int, exceeded: Exceeded | None) -> None:
        """The process is gone."""
        self._lost(self._failures.ended(code, exceeded, ready=self._acp_session is not None))

    def _lost(self, failure: Failed) -> None:
        if self._failure is not None:
            return
        self._failure = failure
        self._process.deafen()
        self._peer.close(failure.detail)
        self._asks.drop()
        if self._acp_session is not None and not self._ending:
            self._owner.on_exit(failure)

    # --- what the agent says -------------------------------------------------------------------------------

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        """A notification came: session updates are events, private ones are kept as they are."""
        update = params.get("update")
        if method == "session/update" and isinstance(update, dict):
            if update.get("sessionUpdate") == "usage_update":
                self._meter.update(update)
            if self._recall.hears(update):
                return
            draft = self._translator.update(update)
        else:
            draft = prompts.unknown(method, params)
        if draft is not None:
            self._redactor.take(draft)

    def on_request(self, method: str, params: dict[str, Any], reply: rpc.Reply) -> None:
        """A request came. Before the session is open nobody has asked the agent for anything.

        After a cancel, or while it is ended, nobody wants it any more.
        """
        unwanted = self._acp_session is None or self._cancelling or self._ending
        self._asks.take(method, params, reply, wanted=not unwanted)

    def on_noise(self, line: bytes) -> None:
        """A line came that is no message: agents log to stdout too. Before the start, only so much of it."""
        if self._acp_session is not None:
            return
        self._noise += 1
        if self._entry.login_words is not None and self._entry.login_words.encode() in line:
            self.on_broken(f"the agent wants a login: {how_to_log_in(self._entry)}")
        elif self._noise > _NOISE_LIMIT:
            self.on_broken("the agent does not speak ACP: its output is not JSON-RPC")

    def _prompt_answered(self, answer: Any) -> None:
        self._translator.turn_over()
        self._asks.drop()
        self._redactor.end()
        forgotten = self._recall.proved_none(answer)
        if isinstance(answer, rpc.Gone):
            return  # the owner hears of it by `on_exit`
        if isinstance(answer, rpc.RpcError):
            # Without a login it is of no use: the next turn starts one that sees what has been mended by then.
            alive = self._entry.survives_failures and answer.code != setup.AUTH_REQUIRED and not forgotten
            self._owner.on_prompt_end(self._failures.failed(self._failures.said("reported", answer), alive=alive))
            return
        reason = answer.get("stopReason") if isinstance(answer, dict) else None
        if not isinstance(reason, str) or reason not in prompts.STOP_REASONS:
            detail = f"the agent ended its turn with the unknown stop reason {reason!r}"
            self._owner.on_prompt_end(self._failures.failed(detail, alive=True))
        else:
            self._meter.answered(answer)
            self._owner.on_prompt_end(Answered(reason))

    # --- ---------------------------------------------------------------------------------------------------

    def _send(self, line: bytes) -> None:
        self._process.send(line)

    def _why(self, error: Exception) -> Failed:
        """What to say of a start that failed: an exit is told as one, also where the pipe closed before it."""
        if isinstance(error, rpc.Gone) and self._failure is not None:
            return self._failure
        return self._failures.failed(self._failures.said("refused to start", error))
