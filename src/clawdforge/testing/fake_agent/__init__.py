"""A scripted ACP agent: a real child process that does what the prompt tells it, faults included.

Run it as `python -m clawdforge.testing.fake_agent [--start-fault NAME]`, or as a folder,
`python .../fake_agent`, which spares the import of `clawdforge` itself (`argv()` gives that command).
It is stdlib only, imports nothing of the server, speaks ACP v1 over stdio and ends when its stdin does.
Without a directive it answers `turn N: <prompt text>`, in two chunks of one message.

A directive is `[[VERB arg]]`, anywhere in the text blocks of a prompt; several run in their order. An unknown
verb or a bad argument is an error answer (-32602), so that a typo is loud. The agent starts in mode `auto`,
where tools run unasked; in mode `ask` they ask first. Relative paths start at the session's cwd. A path or a
name holds no space, the last argument takes the rest, and none holds `]]`.

What it says
  [[ECHO x]]                 text `turn N: x`
  [[SAY x]]                  text `x`, nothing added
  [[JSON {..}]]              text: that JSON in a code fence
  [[THEN VERB arg]]          what the session's next prompt without directives is taken for; several add up
  [[THINK x]]                a thought
  [[TOOL name json]]         a tool call, pending to completed; rawOutput is {"echo": <json>}
  [[PLAN a|b]]               a plan of those entries
  [[USAGE]]                  usage in the result: 100 tokens in, 20 out, 10 cached; and [[COST 0.001]]
  [[USAGE_SO_FAR]]           such a usage of the session so far: each time that it is told it is that much more
  [[COST usd]]               a usage_update with the cost of the session so far, which is that much more
  [[CONTEXT tokens]]         a usage_update that tells how full the context is, and no cost
  [[COMMANDS]]               available_commands_update
  [[MODE id]]                changes its mode by itself: current_mode_update
  [[UNKNOWN]]                an update of an unknown kind
  [[LATE x]]                 text `x` AFTER the turn's answer
  [[LAST_WORDS x]]           text `x` when its stdin ends
  [[ENV NAME]] [[LEAK NAME]] an environment variable
  [[SPELL n NAME]]           the same, n characters at a time
  [[SPILL NAME]]             the same in a thought, a tool call, an ask, a plan, updates of unknown kinds
  [[CWD]] [[HOME]] [[PID]] [[ARGV]]
  [[READ path]]              a file's content
  [[BLOCKS]]                 the prompt's content blocks, as JSON
  [[META]]                   {"session": _meta, "prompt": _meta} as received, as JSON
  [[SYSTEM]]                 the systemPrompt of session/new's _meta, as JSON
  [[RECALL]]                 the prompts that it was asked in earlier processes, as far as it recalls them, as JSON
  [[HANDED]]                 the conversation that was handed over ahead of the prompt; no directive counts in that
  [[CONFIG]]                 {"mode", "model", "effort"}, as JSON
  [[CLIENT]]                 the params of initialize, as JSON

What it asks
  [[WRITE path content]]     asks (kind edit), writes if allowed; a tool call, completed or failed
  [[SH command]]             asks (kind execute), runs `sh -c`; rawOutput is {"exit": code, "output": text}
  [[ASK kind path]]          asks permission, says `ASK kind: <outcome JSON>`; path `-`: no locations
  [[ASKS n kind]]            asks n times at once, for one tool call, says `ASKS kind: [outcome, ..]`
  [[OPTIONS a|b]]            which option kinds the later asks of this turn offer
  [[FS_WRITE path content]]  fs/write_text_file to the client, says the answer as JSON
  [[REQUESTS n]]             n requests (unknown methods, fs reads, terminals); says `answered n errors m`

How it ends
  [[EMPTY]]                  nothing at all
  [[STOP reason]]            any stopReason
  [[RESULT json]]            that as the answer's result
  [[ERROR code message]]     a JSON-RPC error answer
  [[TWICE]]                  the answer, twice
  [[NO_NEWLINE]]             a last line without newline, then exit 0
  [[EXIT code]]              exits at once
  [[KILL9]]                  SIGKILL to itself
  [[CLOSE_STDOUT]]           closes stdout and lives on until its stdin ends
  [[SECRET_STDERR NAME]]     that variable's value on stderr, then exit 1

Time
  [[SLEEP s]]                a pause that a cancel ends
  [[HANG]]                   until cancelled
  [[NO_READ s]]              s seconds without reading stdin
  [[DEAF s]]                 the same, from the turn's answer on
  [[CANCEL_ERROR]]           answers a cancel with an error, -32800
  [[IGNORE_CANCEL]] [[IGNORE_SIGTERM]] [[IGNORE_EOF]]   from now on

Noise and size
  [[GARBAGE]]                log lines, ANSI, `123`, `[]`, `null`, invalid UTF-8, then goes on
  [[SPLIT]]                  text `split: €`, its line cut inside that character
  [[NUL]]                    text with U+0000 and a lone surrogate
  [[STRAY]]                  answers to unknown ids of every type, a repeated answer, a request with a string id
  [[BIGLINE bytes]]          one update line of that many bytes
  [[BIGTEXT bytes]]          text of that size in 64 KiB chunks
  [[FLOOD n]]                n updates `0 `, `1 `, … as fast as it can
  [[RATE n per_s]]           the same, paced
  [[STDERR bytes]]           that much on stderr

Processes (sleepers end by themselves after 300 s; a pid that is said counts in the agent's own pid namespace)
  [[CHILD]]                  a child that ignores SIGTERM; says its pid
  [[DAEMON]]                 setsid, double fork, all files closed; says its pid
  [[GRANDCHILD]]             a child that holds stdout; says its pid, then the agent exits 0
  [[FORKS n]]                n sleeping children
  [[RESPAWN n]]              n pairs of processes; each takes the place of the other when that is killed
  [[LEAVE way token]]        a process `sleep 300.TOKEN` that gets lost: group, setsid, orphan, daemon, bare (that,
                             without environment), deaf (to SIGTERM), pipe (an orphan that holds stdout)
  [[MEMORY bytes]]           holds that much from now on
  [[DISK path bytes]]        writes a file of that size

Environment
  FAKE_AGENT_LOG       a file of JSON lines: {"t", "pid", "argv"} at the start, {"t", "pid", "m"} per message in;
                       `~` stands for its home, which is also behind a wall a place to write
  FAKE_AGENT_CAPS      JSON, merged into agentCapabilities. With loadSession, or with resume or fork among the
                       sessionCapabilities, it has these, and keeps its conversations below HOME
  FAKE_AGENT_SCRIPT    JSON, {words: directives}: a prompt that holds these words is taken for those directives;
                       of several the first
  FAKE_AGENT_MODELS    model names offered beside default, fake-small, fake-large; comma separated
  FAKE_AGENT_MODEL_BY  config (default); models: `models` in session/new, and session/set_model; none
  FAKE_AGENT_START     a start fault, as --start-fault; `@path`: the one in that file, none where it is missing:
    exit0, exit1, exit137, stderr-then-exit   at once         exit-new                 in session/new
    hang-initialize, hang-new                 no answer       error-initialize, error-new, auth-required
    garbage-first    noise, then works        garbage         noise for ever, 100 lines a second, no answer
    no-recall        has none of the session/resume, load and fork that it advertises
    hang-recall      does not answer these            exit-recall   exits in these
    empty-load       an id that it does not know is an empty session for these
    late-history     tells what it loads after the answer to session/load
    ghost-recall     says that it has resumed what it does not know
    odd-session-id   an id of a megabyte, with a NUL and half a surrogate pair
    old-protocol n   answers version n, or 0  no-session-id   session/new answers without one
    slow s           before it reads          ignore-eof      lives on when its stdin ends
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def argv(*arguments: str) -> list[str]:
    """The fastest command that starts this agent: isolated, no site-packages, no import of `clawdforge`."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  (pathlib is slow to import)
    return [sys.executable, "-I", "-S", folder, *arguments]


def read_log(path: str | os.PathLike[str], method: str | None = None) -> list[dict[str, Any]]:
    """The entries of a FAKE_AGENT_LOG file, oldest first; with `method`, only the messages that call it.

    A file that is not there yet is an empty log.
    """
    import json

    try:
        with open(path, "rb") as file:  # noqa: PTH123
            entries: list[dict[str, Any]] = [json.loads(line) for line in file]
    except FileNotFoundError:
        return []
    if method is None:
        return entries
    return [entry for entry in entries if isinstance(entry.get("m"), dict) and entry["m"].get("method") == method]
