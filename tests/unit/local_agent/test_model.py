"""What is asked of the model library, and how its answers are read: chunks as it was seen to send them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawdforge.local_agent.model import (
    ANSWER_TOKENS,
    LlamaModel,
    ModelFailed,
    ModelMissing,
    Reply,
    RequestRefused,
    Usage,
    WindowFull,
    load,
)

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
WINDOW_TOKENS = 2048


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"finish_reason": finish, "index": 0, "delta": delta}], **more}


def counts(cached: int, read: int, written: int) -> dict[str, int]:
    return {"cache_n": cached, "prompt_n": read, "predicted_n": written}


class RecordedServer:
    """Calls back with what the library once said, until it is told to stop."""

    def __init__(self, *chunks: Any, error: Exception | None = None) -> None:
        self.request: dict[str, Any] = {}
        self.played = 0
        self._chunks = chunks
        self._error = error

    def handle_chat_completions(self, request: dict[str, Any], callback: Callable[[Any], bool]) -> None:
        self.request = request
        if self._error is not None:
            raise self._error
        for each in self._chunks:
            self.played += 1
            if callback(each):
                return


def chat(server: RecordedServer, schema: Any = None, cancelled: Callable[[], bool] = lambda: False) -> Any:
    said: list[str] = []
    reply = LlamaModel(server, WINDOW_TOKENS).chat(MESSAGES, schema, said.append, cancelled)
    return said, reply


def test_an_answer() -> None:
    server = RecordedServer(
        chunk(timings=counts(31, 0, 0), prompt_progress={"total": 32, "processed": 31}),
        chunk("Hel", timings=counts(31, 1, 1)),
        chunk("lo", timings=counts(31, 1, 2)),
        chunk(finish="stop"),
        {"choices": [], "timings": counts(31, 1, 3)},
    )

    assert chat(server) == (["Hel", "lo"], Reply("end_turn", Usage(32, 3)))
    assert server.request["messages"] == MESSAGES
    assert server.request["temperature"] == 0
    assert server.request["max_tokens"] == ANSWER_TOKENS
    assert "response_format" not in server.request


def test_an_answer_that_was_cut_short() -> None:
    assert chat(RecordedServer(chunk("Hel"), chunk(finish="length")))[1].stop_reason == "max_tokens"


def test_a_schema_constrains_the_answer_and_the_model_hears_of_json() -> None:
    server = RecordedServer(chunk("{}"), chunk(finish="stop"))
    chat(server, {"type": "object"})

    assert server.request["response_format"]["type"] == "json_schema"
    assert server.request["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert server.request["messages"][0] == MESSAGES[0]
    assert server.request["messages"][1]["content"].startswith("Hi")
    assert "JSON" in server.request["messages"][1]["content"]
    assert MESSAGES[1]["content"] == "Hi", "the conversation itself stays as it was said"


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_cancel_stops_it_at_the_next_chunk(after: int) -> None:
    server = RecordedServer(
        chunk(timings=counts(0, 64, 0), prompt_progress={"total": 99, "processed": 64}),
        chunk("Hel", timings=counts(0, 99, 1)),
        chunk("lo"),
        chunk("!"),
    )

    _, reply = chat(server, cancelled=lambda: server.played >= after)

    assert server.played == after
    assert reply.stop_reason == "cancelled"
    assert reply.usage == (Usage(64, 0) if after == 1 else Usage(99, 1))


def test_a_window_that_is_full() -> None:
    error = {
        "code": 400,
        "message": "…",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 3631,
        "n_ctx": 2048,
    }

    with pytest.raises(WindowFull) as caught:
        chat(RecordedServer({"error": error}))

    assert (caught.value.needed_tokens, caught.value.window_tokens) == (3631, 2048)


def test_what_can_never_fit_is_not_even_read() -> None:
    server = RecordedServer()

    with pytest.raises(WindowFull):
        LlamaModel(server, 256).chat([{"role": "user", "content": "x" * 70_000}], None, print, lambda: False)

    assert not server.request


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (
            RecordedServer({"error": {"code": 400, "message": "…", "type": "invalid_request_error"}}),
            RequestRefused,
        ),
        (RecordedServer({"error": {"code": 500, "message": "…", "type": "server_error"}}), ModelFailed),
        (RecordedServer(error=ValueError("JSON schema error at #: unrecognized type")), RequestRefused),
        (RecordedServer(error=RuntimeError("[json.exception.parse_error.101]")), ModelFailed),
    ],
)
def test_errors(server: RecordedServer, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        chat(server)


def test_no_model_to_load(tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(b"PK\x03\x04 a wheel, say")
    for path, word in (
        (tmp_path / "none.gguf", "no model at"),
        (tmp_path / "other.gguf", "no GGUF"),
        (tmp_path, "read"),
    ):
        with pytest.raises(ModelMissing, match=word) as caught:
            load(path, WINDOW_TOKENS)
        assert "clawdforge agents install local" in str(caught.value)


def test_no_library_to_load_it_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    with pytest.raises(ModelMissing, match="pip install"):
        load(tmp_path / "model.gguf", WINDOW_TOKENS)


def test_a_library_that_lacks_one_of_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)

    with pytest.raises(ModelMissing, match=r"lacks: libgomp\.so\.1"):
        load(tmp_path / "model.gguf", WINDOW_TOKENS)
