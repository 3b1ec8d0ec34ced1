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

    env: dict[str, str] = {}  #: added to its environment
    argv: list[str] = []  #: added to its command line
    home_files: dict[str, str] = {}  #: written into its home


class AgentSettings(BaseModel):
    """`[agents.NAME]`: adds an agent to the catalog, or changes one that is in it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    argv: list[str] | None = Field(default=None, min_length=1)  #: the command that starts it
    env: dict[str, str] = {}  #: added to its environment, which is empty otherwise
    inherit_env: list[str] | None = None  #: passed on from the gateway's environment
    login_files: list[str] | None = None  #: copied into its home, and back if it changed them
    home_files: dict[str, str] = {}  #: written into its home before every start
    resets: list[str] = []  #: removed from its home before that
    readable: list[str] = []  #: what its program needs besides what the gateway finds
    ask_mode: str | None = None  #: the ACP mode in which it asks, set after every start
    model: str | None = None  #: where the caller names none
    base_url: str | None = None  #: where its model is: docs/network.md
    usage_counts: Literal["prompt", "session"] | None = None  #: what its `usage` counts
    title: str | None = None  #: its name for people
    scripted: ScriptedSettings | None = None  #: for `clawdforge agents test`


class Settings(BaseSettings):
    """The settings of one gateway. Every field is `CLAWDFORGE_<NAME>` in the environment."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="CLAWDFORGE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    host: str = "127.0.0.1"  #: where it listens
    port: int = Field(default=8800, ge=0, le=65_535)  #: 0: a free one, which its first line names
    data_dir: Path = Field(default_factory=default_data_dir)  #: of all that it keeps: `~/.local/share/clawdforge`
    admin_token: str | None = Field(default=None, min_length=16, repr=False)  #: none: one is made and kept
    allow_cidrs: Annotated[list[str], NoDecode] = []  #: of callers, beside loopback; `a,b` in the environment
    log_level: Literal["debug", "info", "warning", "error"] = "info"  #: from where on it is written to stderr

    sandbox: SandboxLevel | None = None  #: the wall around agents; none: the best that works here
    network: SandboxNetwork = "open"  #: what agents reach: docs/network.md
    agent_uid: int = Field(default=64_001, ge=1, lt=2**32 - 1)  #: the user of agents where the gateway is root

    # What one session may take; 0: no limit of ours. How each is kept, and why so much: docs/limits.md.
    agent_memory_bytes: int = Field(default=4 * GIB, ge=0)  #: of all its processes
    agent_processes: int = Field(default=1024, ge=0)  #: processes and threads
    agent_cpu_cores: float = Field(default=0, ge=0, allow_inf_nan=False)  #: processor time, in cores
    agent_open_files: int = Field(default=8192, ge=0)  #: of one process
    agent_file_bytes: int = Field(default=8 * GIB, ge=0)  #: one file
    agent_tmp_bytes: int = Field(default=1 * GIB, ge=64 * 1024)  #: its own `/tmp`
    workspace_bytes: int = Field(default=10 * GIB, ge=0)  #: its workspace and its home
    snapshot_bytes: int = Field(default=128 * MIB, ge=0)  #: of texts that turns have changed; 0: none are kept

    default_permissions: PermissionPolicy = "workspace"  #: of sessions and runs that name none
    agents: dict[str, AgentSettings] = {}  #: by their names

    startup_timeout_secs: float = Field(default=60, gt=0)  #: until an agent is ready
    idle_timeout_secs: float = Field(default=300, gt=0)  #: of a turn, since its agent last showed that it works
    turn_timeout_secs: int = Field(default=120, ge=1, le=86_400)  #: the total of a blocking call that names none
    cancel_timeout_secs: float = Field(default=10, gt=0)  #: then an agent that does not stop is ended
    permission_timeout_secs: float = Field(default=120, gt=0)  #: then a request for permission is rejected
    drain_timeout_secs: float = Field(default=30, ge=0)  #: for running turns, when the gateway is told to stop
    session_ttl_secs: int = Field(default=3_600, ge=1)  #: then an idle session is closed
    agent_idle_secs: float = Field(default=600, ge=0, allow_inf_nan=False)  #: then an idle agent ends; 0: never
    session_hard_ttl_secs: int = Field(default=86_400, ge=1)  #: then a closed one is removed
    reap_interval_secs: float = Field(default=30, gt=0)  #: how often the gateway looks for these
    max_sessions_per_app: int = Field(default=200, ge=1)  #: open ones
    max_running_turns: int = Field(default=200, ge=1)  #: of all apps
    max_queued_turns: int = Field(default=20, ge=0)  #: that wait in one session

    max_streams: int = Field(default=500, ge=1)  #: streams and other calls that last, of all apps
    max_streams_per_app: int = Field(default=250, ge=1)  #: of these, of one app
    heartbeat_secs: float = Field(default=15, gt=0)  #: between the signs of life of a quiet stream

    max_json_bytes: int = Field(default=32 * MIB, ge=1024)  #: a body
    max_upload_bytes: int = Field(default=512 * MIB, ge=1024)  #: a file, also one that is put into a workspace
    max_agent_line_bytes: int = Field(default=32 * MIB, ge=1024)  #: a message of an agent
    max_head_bytes: int = Field(default=64 * 1024, ge=1024)  #: a request's head
    head_timeout_secs: float = Field(default=10, gt=0)  #: until that is there
    min_body_bytes_per_sec: int = Field(default=1024, ge=1)  #: what a client sends or reads at least

    durability: Literal["full", "process"] = "full"  #: `process` may lose the last commits when the power fails
    audit_prompts: bool = False  #: whether the audit keeps prompts

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        """What runs from there, an agent or npm, has a working directory of its own."""
        home = value.parts[:1] == ("~",)
        return (Path.home() / Path(*value.parts[1:]) if home else value).absolute()

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
