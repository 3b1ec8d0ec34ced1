"""How the files of a session's workspace come and go. Pure: bytes go to where the caller says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from clawdforge.client import _api, _calls, _flow
from clawdforge.client._api import Reply
from clawdforge.client._bodies import FileBody, OnProgress, Source
from clawdforge.client._core import Core
from clawdforge.client._retry import wait_s
from clawdforge.client._steps import Fault, Flow, Items, Open, Read, Shut, Sleep

if TYPE_CHECKING:
    from clawdforge.wire.workspace import FilePut, WorkspaceEntry


def entries(core: Core, session_id: str, path: str, *, recursive: bool) -> Items[WorkspaceEntry]:
    """What lies in a directory, in the order of paths."""
    call = _calls.list_files(session_id, path=path, recursive=recursive)
    yield from _flow.pages(core, call, "files", _api.workspace_entry)


def fetch(
    core: Core, session_id: str, path: str | WorkspaceEntry, sink: BinaryIO, on_progress: OnProgress | None
) -> Flow[None]:
    """Writes a file of the workspace into `sink`, from where that stands, whole.

    Raises:
        ForgeTransportError: it broke off, and again when it was begun anew.
        ForgeError: there is no such file.
    """
    call = _calls.fetch_file(session_id, path)
    start = sink.tell()
    attempt = 0
    while True:
        reply = yield from _flow.exchange(core, call, Open)
        if not reply.ok:
            raise _flow.refusal(core, reply)
        sink.seek(start)
        sink.truncate()
        fault = yield from _written(reply, sink.write, on_progress)
        if fault is None:
            return
        wait = wait_s(
            fault,
            attempt=attempt,
            retries=core.retries,
            safe=core.gateway.honours_keys,
            left_s=call.patience_s,
            jitter=core.jitter(),
        )
        if wait is None:
            raise _flow.transport_error(core, call, fault) from fault.cause
        attempt += 1
        yield Sleep(wait)


def _written(reply: Reply, write: Callable[[bytes], object], on_progress: OnProgress | None) -> Flow[Fault | None]:
    length = reply.headers.get("Content-Length", "")
    # Where a proxy has packed them, the length is not that of the file's bytes.
    whole = length.isascii() and length.isdigit() and "Content-Encoding" not in reply.headers
    total = int(length) if whole else None
    done = 0
    while True:
        piece: bytes | Fault = yield Read()
        if isinstance(piece, Fault):
            return piece
        if not piece:
            yield Shut()
            return None if total is None or done == total else Fault("it ended before its end")
        write(piece)
        done += len(piece)
        if on_progress is not None:
            on_progress(done, total)


def put(core: Core, session_id: str, path: str | WorkspaceEntry, source: bytes | Source) -> Flow[FilePut]:
    """Puts a file into the workspace."""
    body = source if isinstance(source, bytes) else FileBody(source, _calls.BYTES)
    return _api.file_put((yield from _flow.ask(core, _calls.put_file(session_id, path, body))))


def delete(core: Core, session_id: str, path: str | WorkspaceEntry, *, recursive: bool) -> Flow[None]:
    """Removes a file, a link or a directory from the workspace."""
    yield from _flow.ask(core, _calls.delete_workspace_file(session_id, path, recursive=recursive))
