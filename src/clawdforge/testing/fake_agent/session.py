"""What `session/new` makes: a place to work, settings, a turn counter. Plain state, no I/O."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .memory import Conversation

    Message = dict[str, Any]

MODES = {"ask": "Asks before a tool runs", "auto": "Runs tools unasked"}
MODELS = ["default", "fake-small", "fake-large"]
EFFORTS = ["default", "low", "medium", "high", "xhigh", "max"]

INVALID_PARAMS, UNKNOWN_METHOD, CANCELLED, NO_RESOURCE = -32602, -32601, -32800, -32002


class RpcError(Exception):
    """Ends a request with this JSON-RPC error as its answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Session:
    """One session. `model_by` is FAKE_AGENT_MODEL_BY: how its model may be chosen."""

    def __init__(self, session_id: str, params: Message, more_models: list[str], model_by: str) -> None:
        self.id = session_id
        self.cwd: str = params["cwd"]
        self.meta: Any = params.get("_meta")
        self.settings: dict[str, str] = {"mode": "auto", "model": "default", "effort": "default"}
        self.turn_count = 0
        self.usage_count = 0
        self.cost_usd: float = 0.0
        self.cancelled = False
        self.then: list[tuple[str, str]] = []
        self.conversation: Conversation | None = None
        self._models = [*MODELS, *more_models]
        self._model_by = model_by

    def described(self) -> Message:
        """The answer to `session/new`."""
        modes = [{"id": mode, "name": mode.title(), "description": text} for mode, text in MODES.items()]
        answer: Message = {
            "sessionId": self.id,
            "modes": {"currentModeId": self.settings["mode"], "availableModes": modes},
            "configOptions": self.config_options(),
        }
        if self._model_by == "models":
            offered = [{"modelId": model, "name": model} for model in self._models]
            answer["models"] = {"currentModelId": self.settings["model"], "availableModels": offered}
        return answer

    def config_options(self) -> list[Message]:
        effort = self._select("effort", "Effort", "thought_level", EFFORTS)
        if self._model_by == "config":
            return [self._select("model", "Model", "model", self._models), effort]
        return [effort]

    def _select(self, name: str, title: str, category: str, values: Iterable[str]) -> Message:
        return {
            "id": name,
            "name": title,
            "category": category,
            "type": "select",
            "currentValue": self.settings[name],
            "options": [{"value": value, "name": value.title()} for value in values],
        }

    def set_mode(self, mode: Any) -> None:
        self._set("mode", mode, MODES)

    def set_model(self, model: Any) -> None:
        if self._model_by != "models":
            raise RpcError(UNKNOWN_METHOD, "Method not found: session/set_model")
        self._set("model", model, self._models)

    def set_config_option(self, name: Any, value: Any) -> None:
        offered = {option["id"]: [one["value"] for one in option["options"]] for option in self.config_options()}
        self._set(name, value, offered.get(name, []))

    def _set(self, name: str, value: Any, offered: Iterable[str]) -> None:
        if value not in offered:
            raise RpcError(INVALID_PARAMS, f"no such {name}: {value}")
        self.settings[name] = value
