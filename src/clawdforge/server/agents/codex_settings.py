"""What codex finds as its user's settings, `~/.codex/config.toml`, in a private home. Data.

Written whole before every start, so that nothing which a session made of it lives on: in the modes `auto` and
`full-access` codex notes there that it trusts the workspace, and then takes up settings and servers from it.
"""

from typing import Final

SETTINGS: Final = """\
check_for_update_on_startup = false
analytics.enabled = false
# What lies in a workspace, or above it, is no instruction.
project_doc_max_bytes = 0
project_root_markers = []
skills.include_instructions = false
skills.bundled.enabled = false
# Commands of the model need none of the keys that the agent has: see also shell_snapshot.
shell_environment_policy.ignore_default_excludes = false

[features]
# Commands run in a sandbox of its own: by Landlock, which needs no other program and also works in a container.
use_legacy_landlock = true
# It would keep the environment, with its keys, in a file, and hand it to every command.
shell_snapshot = false
hooks = false
plugins = false
apps = false
skill_mcp_dependency_install = false
# Goals would prompt the model between turns, and what sub-agents ask for reaches nobody.
goals = false
multi_agent = false
"""
