"""The agents that clawdforge knows by name: data. An agent that behaves is one entry, and no code.

Facts about the agents: docs/agents.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from clawdforge.server.agents import codex_settings, endpoints, gemini_settings
from clawdforge.server.agents.entry import AgentEntry, LoginChoice, Scripted
from clawdforge.server.agents.ways import (
    Arguments,
    ConfigOption,
    FileArguments,
    FileVariable,
    MetaOption,
    MetaSystemPrompt,
    SetModel,
)

_CLAUDE = AgentEntry(
    name="claude",
    title="Claude Code",
    argv=("claude-agent-acp",),
    package="@agentclientprotocol/claude-agent-acp@0.49.0",
    env=MappingProxyType(
        {
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # By default it retries a failing endpoint for three minutes without a word: longer than a blocking
            # turn may last. Four retries take about eight seconds, and the failure still reaches the caller.
            "CLAUDE_CODE_MAX_RETRIES": "4",
            # By itself it writes down what was said up to 0.1 s later, and one that was killed before that left a
            # conversation that went on without it. With this all is in its file before the turn is answered.
            "CLAUDE_CODE_EAGER_FLUSH": "1",
            # All of these work on when a turn is over, and report to the model by a prompt of their own: it would
            # be paid for by nobody's turn, and its answer was seen in the middle of the next one's.
            "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
            "CLAUDE_CODE_DISABLE_CRON": "1",
            "CLAUDE_CODE_DISABLE_WORKFLOWS": "1",
        }
    ),
    inherit_env=(
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CODE_OAUTH_TOKEN",
    ),
    endpoints=endpoints.CLAUDE,
    login_files=("~/.claude/.credentials.json",),
    resets=(".claude", ".claude.json"),
    keeps=(".claude/projects/*/*.jsonl",),
    ask_mode="default",
    # Config options refuse model names that the adapter has not heard of: of those it hears in `_meta`. Told the
    # same again by its option, it answers with the efforts of that model; what the model lacks it lowers silently.
    model=MetaOption(("claudeCode", "options", "model"), config_id="model"),
    effort=ConfigOption("effort"),
    efforts=("low", "medium", "high", "xhigh", "max"),
    system=MetaSystemPrompt(),
    system_replace=MetaSystemPrompt(),
    new_meta=MappingProxyType(
        {
            "claudeCode": {
                "options": {
                    # Else a workspace could grant itself rights and run hooks by its own .claude/settings.json.
                    "settingSources": ["user"],
                    "settings": {
                        # While it plans it would let its model judge which commands run, and not ask.
                        "useAutoModeDuringPlan": False,
                        # Where it is not root it could ask for nothing at all, and did not while it planned.
                        "permissions": {"disableBypassPermissionsMode": "disable"},
                    },
                    # Planning ends when a person says yes to the plan: in a turn there is none.
                    "disallowedTools": ["EnterPlanMode"],
                }
            }
        }
    ),
    scripted=Scripted(
        env=MappingProxyType({"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "sk-scripted"}),
    ),
)

_CODEX = AgentEntry(
    name="codex",
    title="Codex",
    argv=("codex-acp",),
    package="@zed-industries/codex-acp@0.16.0",
    native=True,
    heeds_eof=False,
    # It tells of the failure before it is done with the prompt: of those that came right after, one in thirty went
    # into the one that was ending, and was never answered.
    survives_failures=False,
    endpoints=endpoints.CODEX,
    inherit_env=("CODEX_API_KEY", "OPENAI_API_KEY"),
    login_files=("~/.codex/auth.json",),
    home_files=MappingProxyType({".codex/config.toml": codex_settings.SETTINGS}),
    resets=(".codex", ".agents"),
    keeps=(".codex/sessions",),
    ask_mode="read-only",
    effort=ConfigOption("reasoning_effort"),
    efforts=("low", "medium", "high", "xhigh"),
    system=Arguments(("-c", "developer_instructions={value}")),
    system_replace=FileArguments(("-c", "model_instructions_file={path}")),
    lacks=MappingProxyType({"usage": "it tells how full its context is, not what a turn took"}),
    scripted=Scripted(
        env=MappingProxyType({"CODEX_API_KEY": "sk-scripted"}),
        argv=(
            "-c",
            'model_provider="scripted"',
            "-c",
            'model_providers.scripted={name="scripted",base_url="{url}/v1",wire_api="responses",'
            'env_key="CODEX_API_KEY",requires_openai_auth=false,request_max_retries=2,stream_max_retries=1}',
        ),
    ),
)

_GEMINI = AgentEntry(
    name="gemini",
    title="Gemini CLI",
    argv=("gemini", "--acp"),
    package="@google/gemini-cli@0.61.0",
    env=MappingProxyType(
        {
            # It would start itself once more, with more memory: that takes as long again.
            "GEMINI_CLI_NO_RELAUNCH": "true",
            # Else a workspace could grant itself rights, run programs and instruct the model by its own .gemini.
            "GEMINI_CLI_TRUST_WORKSPACE": "false",
        }
    ),
    inherit_env=(
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_GEMINI_BASE_URL",
        "GOOGLE_GENAI_USE_VERTEXAI",
        "GOOGLE_VERTEX_BASE_URL",
    ),
    endpoints=endpoints.GEMINI,
    # Not its settings: they would bring the user's MCP servers, hooks and rights into every app's agent.
    login_files=("~/.gemini/oauth_creds.json", "~/.gemini/google_accounts.json"),
    login_choice=LoginChoice(
        "CLAWDFORGE_GEMINI_LOGIN",
        (
            ("GOOGLE_GENAI_USE_VERTEXAI", "vertex-ai"),
            ("GEMINI_API_KEY", "gemini-api-key"),
            ("GOOGLE_API_KEY", "vertex-ai"),
            ("~/.gemini/oauth_creds.json", "oauth-personal"),
        ),
    ),
    login_words="Please visit the following URL to authorize",
    home_files=MappingProxyType({".gemini/settings.json": gemini_settings.SETTINGS}),
    # The last two: Node looks there for what a program asks for and does not have. Planted, it ran at the start.
    resets=(".gemini", ".agents", ".env", ".node_libraries", ".node_modules"),
    keeps=(".gemini/tmp/*/chats",),
    file_env=("GOOGLE_APPLICATION_CREDENTIALS",),
    literal_uris=True,
    unkept=frozenset({("edit", "allow_always")}),
    ask_mode="default",
    model=SetModel(),
    # ~/.gemini/GEMINI.md would append too, but all sessions of an app share it, and it would replace `@name` by a
    # file, or by a word about the file's absence. The first prompt is a session's own, and taken as it is.
    system_replace=FileVariable("GEMINI_SYSTEM_MD"),
    scripted=Scripted(
        env=MappingProxyType({"GOOGLE_GEMINI_BASE_URL": "{url}", "GEMINI_API_KEY": "scripted-key"}),
    ),
)

_LOCAL = AgentEntry(
    name="local",
    title="Local model (embedded, offline)",
    # `available` puts the interpreter and the weights in place of these words. Without -I a file of the workspace
    # that is called like a module is taken for it, and runs.
    argv=("{python}", "-I", "-m", "clawdforge.local_agent", "--model", "{weights}"),
    model=None,
    system=MetaSystemPrompt(),
    system_replace=MetaSystemPrompt(),
    history_bytes=2 * 1024,  # its model reads 2048 tokens
    lacks=MappingProxyType({"scripted": "it is a model itself, and asks no other"}),
)

# Launch commands of agents that were seen to work the same way, or that a public registry lists.
_BY_COMMAND: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "opencode": ("opencode", ("opencode", "acp")),
    "copilot": ("GitHub Copilot CLI", ("copilot", "--acp")),
    "qwen": ("Qwen Code", ("qwen", "--acp")),
    "kimi": ("Kimi CLI", ("kimi", "acp")),
    "cline": ("Cline", ("cline", "--acp")),
    "droid": ("Factory Droid", ("droid", "exec", "--output-format", "acp")),
    "kilo": ("Kilo Code", ("kilo", "acp")),
    "pi": ("Pi", ("pi-acp",)),
    "hermes": ("Hermes", ("hermes", "acp")),
    "fast-agent": ("fast-agent", ("fast-agent", "acp")),
    "vibe": ("Mistral Vibe", ("vibe-acp",)),
    "deepagents": ("Deep Agents", ("{python}", "-I", "-m", "deepagents_acp")),
    "cursor": ("Cursor", ("cursor-agent", "acp")),
    "devin": ("Devin", ("devin", "acp")),
    "junie": ("Junie", ("junie", "--acp=true")),
    "kiro": ("Kiro", ("kiro-cli-chat", "acp")),
    "qoder": ("Qoder", ("qodercli", "--acp")),
    "grok": ("Grok", ("grok", "agent", "stdio")),
    "iflow": ("iFlow", ("iflow", "--experimental-acp")),
}

# Their programs work although no lifecycle script of theirs has run.
_PACKAGES: Final[Mapping[str, str]] = {
    "cline": "cline@3.0.65",
    "copilot": "@github/copilot@1.0.102",
    "qwen": "@qwen-code/qwen-code@0.15.10",  # the last that Node 20 runs
}

# These are not npm's, or their packages must run a script or bring a second one before they work.
_BY_HAND: Final[Mapping[str, str]] = {
    "deepagents": "pip install deepagents-acp",
    "droid": "npm install -g droid",
    "fast-agent": "pip install fast-agent-acp",
    "hermes": "pip install hermes-agent",
    "kilo": "npm install -g @kilocode/cli",
    "opencode": "npm install -g opencode-ai",
    "pi": "npm install -g pi-acp @earendil-works/pi-coding-agent",
    "vibe": "pip install mistral-vibe",
}

# They tell, with every answer, the tokens of their session so far.
_COUNT_THE_SESSION: Final = frozenset({"copilot", "hermes"})

BUILT_IN: Final[Mapping[str, AgentEntry]] = MappingProxyType(
    {entry.name: entry for entry in (_CLAUDE, _CODEX, _GEMINI, _LOCAL)}
    | {
        name: AgentEntry(
            name=name,
            title=title,
            argv=argv,
            package=_PACKAGES.get(name),
            by_hand=_BY_HAND.get(name),
            usage_counts="session" if name in _COUNT_THE_SESSION else "prompt",
        )
        for name, (title, argv) in _BY_COMMAND.items()
    }
)
