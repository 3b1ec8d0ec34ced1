"""The language model: the only file that imports the model library, and only once a model is loaded.

Must not know of ACP, JSON-RPC or sessions: it is given a whole conversation and answers it.

The library runs an HTTP server inside of this process. It is bound to a Unix socket in a private directory, and
both are removed before anybody could ask it anything; a random key guards it besides.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

Message = Mapping[str, str]
"""`{"role": "system" | "user" | "assistant", "content": …}`"""

ANSWER_TOKENS: Final = 512
"""The longest answer: some eight seconds on one core."""

# Measured on SmolLM2-135M at 4 bits, 15 short conversations with 29 answers that can be checked. Always taking
# the most likely token is best (drawing at a temperature of 0.4 got fewer right with each of three seeds) and says
# the same again. It also runs into loops: a trace of a repeat penalty, and DRY striking at runs of a dozen
# repeated tokens, end most of these with 27 answers right; a usual repeat penalty, 1.1, costs a third of them.
_SAMPLING: Final[Mapping[str, Any]] = {"temperature": 0.0, "seed": 1, "repeat_penalty": 1.01}
_AGAINST_LOOPS: Final[Mapping[str, Any]] = {
    "dry_multiplier": 0.8,
    "dry_allowed_length": 12,
    "dry_sequence_breakers": ["<|im_end|>"],
}
# A batch is the step in which a prompt is read, and a cancel heard: 64 tokens take 0.4 s, and larger ones were
# not faster.
_BATCH_TOKENS: Final = 64
# No known vocabulary has a longer token. What is beyond this many characters a token of the window is refused
# unread: ten million of them cost the tokenizer 16 s and 1.4 GB.
_LONGEST_TOKEN_CHARS: Final = 256
# The grammar makes the answer JSON whether it is asked for or not, but the model answers better when it is.
_ASK_FOR_JSON: Final = "\n\nAnswer in JSON."

_ADVICE: Final = "Run: clawdforge agents install local"

StopReason = Literal["end_turn", "max_tokens", "cancelled"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read (also those that were still in the cache) and written, by the library's count."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """How an answer ended. `usage` is None where the library had counted nothing yet."""

    stop_reason: StopReason
    usage: Usage | None


class ModelMissing(Exception):
    """There is no model to start with; the text says what to do."""


class ModelFailed(Exception):
    """The library could not answer."""


class RequestRefused(Exception):
    """The library does not take the request, such as a schema that it cannot turn into a grammar."""


class WindowFull(Exception):
    """The conversation is longer than the context window. Nothing was generated.

    Attributes:
        needed_tokens: what it takes; None where that was not even counted.
        window_tokens: what there is.
    """

    def __init__(self, needed_tokens: int | None, window_tokens: int) -> None:
        super().__init__(f"{needed_tokens or 'too many'} tokens for a window of {window_tokens}")
        self.needed_tokens = needed_tokens
        self.window_tokens = window_tokens


class Model(Protocol):
    """What the agent needs of a language model."""

    def chat(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        say: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Reply:
        """Answers the last message of a conversation. One call at a time.

        Args:
            messages: the whole conversation, the system prompt first.
            schema: a JSON Schema for the answer, or None for free text.
            say: gets the text piece by piece, in the caller's thread; must not raise.
            cancelled: asked between two pieces, and between two batches of the prompt.

        Raises:
            WindowFull: nothing of the conversation is ever left out to make it fit.
            RequestRefused: above all for a schema.
            ModelFailed: anything else.
        """


class LlamaModel:
    """A GGUF file, loaded."""

    def __init__(self, server: Any, window_tokens: int) -> None:
        self._server = server
        self._window_tokens = window_tokens

    def chat(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        say: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Reply:
        """As `Model.chat` says."""
        if sum(len(each["content"]) for each in messages) > self._window_tokens * _LONGEST_TOKEN_CHARS:
            raise WindowFull(None, self._window_tokens)
        listener = _Listener(say, cancelled)
        try:
            self._server.handle_chat_completions(_request(messages, schema), listener)
        except ValueError as error:  # so it refuses schemas
            raise RequestRefused(str(error)) from None
        except RuntimeError as error:
            raise ModelFailed(str(error)) from None
        return listener.reply()


def load(path: Path, window_tokens: int) -> LlamaModel:
    """Loads a GGUF file; half a second for a small one that is in the page cache.

    The library's destructor can hang, so the process should end with `os._exit`.

    Raises:
        ModelMissing: no such file, no model in it, or no library to load it with.
    """
    _check(path)
    try:
        import xllamacpp
    except ModuleNotFoundError:
        raise ModelMissing(
            "the model library is not installed in this Python. Run: pip install 'clawdforge[local]'"
        ) from None
    except ImportError as error:
        raise ModelMissing(f"the model library needs what this machine lacks: {error}") from None
    try:
        with _listening_place() as host:
            return LlamaModel(xllamacpp.Server(parameters(path, window_tokens, host)), window_tokens)
    except RuntimeError:
        raise ModelMissing(
            f"{path} could not be loaded: it is damaged, not a language model, or too large for this machine's "
            f"memory. Delete it to fetch it again. {_ADVICE}"
        ) from None
    except OSError as error:
        raise ModelMissing(f"there is no temporary directory for the model's socket: {error}") from None


def parameters(path: Path, window_tokens: int, host: str) -> Any:
    """The library's parameters for a model that is asked from within this process only.

    Args:
        path: of the GGUF file.
        window_tokens: how long a conversation can get.
        host: where the library's HTTP server is to listen: a name that ends with `.sock`, or an address.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = window_tokens
    params.n_batch = params.n_ubatch = _BATCH_TOKENS
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    params.warmup = False
    params.cache_ram_mib = 0  # else it keeps up to 8 GiB of other conversations' state
    params.verbosity = -1
    params.hostnames = [host]
    params.api_keys = [os.urandom(32).hex()]
    params.n_threads_http = 1
    params.ui = params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = False
    return params


def _threads() -> int:
    """How many threads compute: half of the cores, for an agent is seldom alone.

    They wait for each other by spinning, so that one that is kept from its core holds up all. On two cores, two
    agents at once wrote 7 tokens a second each with two threads, and 57 with one; alone it was 92 and 66.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2)


@contextlib.contextmanager
def _listening_place() -> Iterator[str]:
    """A name for a socket in a directory of our own; at the end both are gone, and with them the way in.

    Behind a wall that refuses such sockets it is the loopback, at a port that is free: nobody has the key.
    """
    if not _has_unix_sockets():
        yield "127.0.0.1"
        return
    with tempfile.TemporaryDirectory(prefix="clawdforge-local-") as folder:
        directory_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            # Through the descriptor: a socket's path can have 107 bytes, a temporary directory's many more.
            yield f"/proc/self/fd/{directory_fd}/model.sock"
        finally:
            os.close(directory_fd)


def _has_unix_sockets() -> bool:
    try:
        socket.socket(socket.AF_UNIX).close()
    except OSError:
        return False
    return True


class _Listener:
    """What the library calls back with each piece of an answer; True from it ends the answer."""

    def __init__(self, say: Callable[[str], None], cancelled: Callable[[], bool]) -> None:
        self._say = say
        self._cancelled = cancelled
        self._finish: StopReason = "end_turn"
        self._timings: Mapping[str, Any] | None = None
        self._error: Mapping[str, Any] | None = None

    def __call__(self, chunk: Mapping[str, Any]) -> bool:
        self._error = chunk.get("error", self._error)
        self._timings = chunk.get("timings", self._timings)
        for choice in chunk.get("choices", ()):
            if piece := choice["delta"].get("content"):
                self._say(piece)
            if choice["finish_reason"] == "length":
                self._finish = "max_tokens"
        if self._cancelled():
            self._finish = "cancelled"
        return self._finish == "cancelled"

    def reply(self) -> Reply:
        if self._error is not None:
            raise _exception(self._error)
        if (counted := self._timings) is None:
            return Reply(self._finish, None)
        return Reply(self._finish, Usage(counted["cache_n"] + counted["prompt_n"], counted["predicted_n"]))


def _exception(error: Mapping[str, Any]) -> Exception:
    kind, message = error.get("type"), str(error.get("message"))
    if kind == "exceed_context_size_error":
        return WindowFull(error["n_prompt_tokens"], error["n_ctx"])
    return RequestRefused(message) if kind == "invalid_request_error" else ModelFailed(message)


def _request(messages: Sequence[Message], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The library's request: with progress of the prompt and counts in each chunk, so that a cancel is heard."""
    request: dict[str, Any] = {
        "messages": list(messages),
        "max_tokens": ANSWER_TOKENS,
        "stream": True,
        "return_progress": True,
        "timings_per_token": True,
        **_SAMPLING,
    }
    if schema is None:
        return {**request, **_AGAINST_LOOPS}
    last = messages[-1]
    return {
        **request,
        "messages": [*messages[:-1], {**last, "content": last["content"] + _ASK_FOR_JSON}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "result", "schema": schema}},
    }


def _check(path: Path) -> None:
    """Refuses what cannot be a model: of a file that it cannot load, the library says only that it failed."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise ModelMissing(f"there is no model at {path}. {_ADVICE}") from None
    except OSError as error:
        raise ModelMissing(f"the model {path} cannot be read: {error.strerror}. {_ADVICE}") from None
    if magic != b"GGUF":
        raise ModelMissing(f"{path} is no GGUF file. Delete it to fetch it again. {_ADVICE}")
