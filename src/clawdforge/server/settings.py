"""Everything that can be set about a gateway: defaults < config file < `CLAWDFORGE_*` < arguments.

Reads settings and checks them; must not create, open or start anything.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from clawdforge.wire.agents import PermissionPolicy
from clawdforge.wire.sandbox import SandboxLevel, SandboxNetwork

MIB = 1024 * 1024
GIB = 1024 * MIB
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/clawdforge`, by default `~/.local/share/clawdforge`."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "clawdforge"


class ScriptedSettings(BaseModel):
    """`[agents.NAME.scripted]`: what points an agent at a scripted model, `{url}` standing for the model's URL."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    env: dict[str, str] = {}
    argv: list[str] = []
    home_files: dict[str, str] = {}


class AgentSettings(BaseModel):
    """`[agents.NAME]`: adds an agent to the catalog, or changes one that is in it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    argv: list[str] | None = Field(default=None, min_length=1)
    env: dict[str, str] = {}
    inherit_env: list[str] | None = None
    login_files: list[str] | None = None
    home_files: dict[str, str] = {}
    resets: list[str] = []
    readable: list[str] = []
    ask_mode: str | None = None
    model: str | None = None
    base_url: str | None = None
    usage_counts: Literal["prompt", "session"] | None = None
    title: str | None = None
    scripted: ScriptedSettings | None = None


class Settings(BaseSettings):
    """The settings of one gateway. Every field is `CLAWDFORGE_<NAME>` in the environment."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="CLAWDFORGE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8800, ge=0, le=65_535)
    data_dir: Path = Field(default_factory=default_data_dir)
    admin_token: str | None = Field(default=None, min_length=16, repr=False)
    allow_cidrs: Annotated[list[str], NoDecode] = []
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    sandbox: SandboxLevel | None = None
    network: SandboxNetwork = "open"
    agent_uid: int = Field(default=64_001, ge=1, lt=2**32 - 1)

    # What one session may take; 0: no limit of ours. How each is kept, and why so much: docs/limits.md.
    agent_memory_bytes: int = Field(default=4 * GIB, ge=0)
    agent_processes: int = Field(default=1024, ge=0)
    agent_cpu_cores: float = Field(default=0, ge=0, allow_inf_nan=False)
    agent_open_files: int = Field(default=8192, ge=0)
    agent_file_bytes: int = Field(default=8 * GIB, ge=0)
    agent_tmp_bytes: int = Field(default=1 * GIB, ge=64 * 1024)
    workspace_bytes: int = Field(default=10 * GIB, ge=0)
    snapshot_bytes: int = Field(default=128 * MIB, ge=0)  # of texts that its turns have changed; 0: none are kept

    default_permissions: PermissionPolicy = "workspace"
    agents: dict[str, AgentSettings] = {}

    startup_timeout_secs: float = Field(default=60, gt=0)
    idle_timeout_secs: float = Field(default=300, gt=0)
    turn_timeout_secs: int = Field(default=120, ge=1, le=86_400)
    cancel_timeout_secs: float = Field(default=10, gt=0)
    permission_timeout_secs: float = Field(default=120, gt=0)
    drain_timeout_secs: float = Field(default=30, ge=0)
    session_ttl_secs: int = Field(default=3_600, ge=1)
    agent_idle_secs: float = Field(default=600, ge=0, allow_inf_nan=False)  # 0: agents stay awake
    session_hard_ttl_secs: int = Field(default=86_400, ge=1)
    reap_interval_secs: float = Field(default=30, gt=0)
    max_sessions_per_app: int = Field(default=200, ge=1)
    max_running_turns: int = Field(default=200, ge=1)
    max_queued_turns: int = Field(default=20, ge=0)

    max_streams: int = Field(default=500, ge=1)
    max_streams_per_app: int = Field(default=250, ge=1)
    heartbeat_secs: float = Field(default=15, gt=0)

    max_json_bytes: int = Field(default=32 * MIB, ge=1024)
    max_upload_bytes: int = Field(default=512 * MIB, ge=1024)
    max_agent_line_bytes: int = Field(default=32 * MIB, ge=1024)
    max_head_bytes: int = Field(default=64 * 1024, ge=1024)
    head_timeout_secs: float = Field(default=10, gt=0)
    min_body_bytes_per_sec: int = Field(default=1024, ge=1)

    durability: Literal["full", "process"] = "full"
    audit_prompts: bool = False

    @field_validator("allow_cidrs", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        cidrs = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        for cidr in cidrs:
            ip_network(cidr, strict=False)
        return cidrs

    @model_validator(mode="after")
    def _agents_sleep_before_their_sessions_are_closed(self) -> Self:
        if "agent_idle_secs" in self.model_fields_set and self.agent_idle_secs >= self.session_ttl_secs:
            raise ValueError("agent_idle_secs must be below session_ttl_secs, by which a session is closed")
        return self

    @property
    def allowed_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Where callers may come from: loopback always, and what `allow_cidrs` adds."""
        return (*LOOPBACK, *(ip_network(cidr, strict=False) for cidr in self.allow_cidrs))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = settings_cls.model_config.get("toml_file")
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if file is not None:
            sources.append(TomlConfigSettingsSource(settings_cls))
        return tuple(sources)


def load(config: Path | None = None, **arguments: Any) -> Settings:
    """Reads the settings; arguments that are None are taken as not given.

    Raises:
        OSError: the config file cannot be read.
        tomllib.TOMLDecodeError: it is no TOML.
        pydantic.ValidationError: a setting is unknown or out of range.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    if config is None:
        return Settings(**given)
    config.stat()  # a file that is named but missing is an error, not an empty file

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    return FromFile(**given)
