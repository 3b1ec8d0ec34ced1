"""Verbs that ask the client something: permissions for tools, its files, requests it does not know."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .turn import Turn, Verb

REQUESTS_AT_ONCE = 50


def write(turn: Turn, argument: str) -> None:
    name, _, content = argument.partition(" ")
    path = turn.path(name)
    call = turn.tool_call(
        "Write",
        "edit",
        {"file_path": path, "content": content},
        content=[{"type": "diff", "path": path, "oldText": None, "newText": content}],
        locations=[{"path": path}],
    )
    if not turn.may_run(call):
        return
    try:
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(content)
    except OSError as error:
        turn.tool_done(call, "failed", f"cannot write {path}: {error.strerror}")
    else:
        turn.tool_done(call, "completed", f"wrote {path}")


def shell(turn: Turn, command: str) -> None:
    import subprocess

    call = turn.tool_call("Bash", "execute", {"command": command}, locations=[])
    if not turn.may_run(call):
        return
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=turn.session.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    status = "completed" if done.returncode == 0 else "failed"
    turn.tool_done(call, status, {"exit": done.returncode, "output": done.stdout.decode(errors="replace")})


def ask(turn: Turn, argument: str) -> None:
    kind, _, name = argument.partition(" ")
    locations = [] if name in ("", "-") else [{"path": turn.path(name)}]
    call = turn.tool_call(f"Ask {kind}", kind, {"path": name}, locations=locations)
    outcome = turn.permission(call)
    turn.tool_done(call, "completed" if turn.allows(outcome) else "failed", outcome)
    turn.say(f"ASK {kind}: {json.dumps(outcome)}")


def asks(turn: Turn, argument: str) -> None:
    """All at once, for one and the same call. It reads in between, so that answers never fill the pipe."""
    count, _, kind = argument.partition(" ")
    call = turn.tool_call(f"Ask {kind}", kind, {}, locations=[])
    ids = []
    for number in range(int(count)):
        ids.append(turn.agent.call("session/request_permission", turn.permission_params(call)))
        if number % REQUESTS_AT_ONCE == 0:
            turn.agent.take(0)
    turn.agent.wait_for(lambda: all(one in turn.agent.answers for one in ids))
    outcomes = [(turn.agent.answers.pop(one).get("result") or {}).get("outcome") for one in ids]
    turn.say(f"ASKS {kind}: {json.dumps(outcomes)}")


def options(turn: Turn, argument: str) -> None:
    turn.option_kinds = argument.split("|")


def fs_write(turn: Turn, argument: str) -> None:
    name, _, content = argument.partition(" ")
    params = {"sessionId": turn.session.id, "path": turn.path(name), "content": content}
    answer = turn.agent.ask("fs/write_text_file", params)
    turn.say(json.dumps({key: answer[key] for key in ("result", "error") if key in answer}))


def requests(turn: Turn, argument: str) -> None:
    """A few at a time, so that the client's answers never fill the pipe while we still write."""
    calls = [
        ("fs/read_text_file", {"sessionId": turn.session.id, "path": "/etc/hostname"}),
        ("terminal/create", {"sessionId": turn.session.id, "command": "true"}),
        ("nobody/knows", {}),
        ("_private/call", [1, 2]),
    ]
    total, errors = int(argument), 0
    for first in range(0, total, REQUESTS_AT_ONCE):
        numbers = range(first, min(first + REQUESTS_AT_ONCE, total))
        answers = turn.agent.ask_all([calls[number % len(calls)] for number in numbers])
        errors += sum("error" in answer for answer in answers)
    turn.say(f"answered {total} errors {errors}")


VERBS: dict[str, Verb] = {
    "WRITE": write,
    "SH": shell,
    "ASK": ask,
    "ASKS": asks,
    "OPTIONS": options,
    "FS_WRITE": fs_write,
    "REQUESTS": requests,
}
