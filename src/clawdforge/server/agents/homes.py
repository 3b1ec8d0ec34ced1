"""The private home of a session's agent, and its temporary directory: made, given to it, copied, cleared.

The home stays when the agent ends; the user's logins in it (`logins`) and the temporary directory do not.
Blocking: call it from a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from clawdforge.server.agents import logins
from clawdforge.server.agents.logins import Logins
from clawdforge.server.workspaces import beneath, copying, paths, removal
from clawdforge.server.workspaces.copying import Limits


def clear_leftovers(data_dir: Path) -> None:
    """Removes what an earlier life of the gateway left: temporary files, and copies of logins. No agent may run.

    A login that an agent had renewed by then is copied back first.
    """
    for session_id in logins.left(data_dir):
        with suppress(OSError, ValueError):
            AgentHome(data_dir, session_id).clear_after_crash()
    with suppress(OSError):
        removal.remove(data_dir / "tmp")


class AgentHome:
    """The home of a session's agent, and its temporary directory. Both belong to the agent.

    Args:
        data_dir: the gateway's data directory.
        session_id: the session's.
        agent_uid: who agents are, where they are not the gateway's own user.

    Attributes:
        data_dir: the gateway's.
        path: the agent's HOME; stays when the agent ends, and goes with the session.
        tmp: what it has for as long as it runs; never above or below `path`.
    """

    def __init__(self, data_dir: Path, session_id: str, agent_uid: int | None = None) -> None:
        self.data_dir = data_dir
        self.path: Path = paths.home_of(data_dir, session_id)
        self.tmp: Path = paths.tmp_of(data_dir, session_id)
        self._agent_uid = agent_uid
        self._logins = Logins(data_dir, session_id, agent_uid)
        self._brought: list[bytes] = []

    def prepare(
        self,
        login_files: Sequence[str] = (),
        home_files: Mapping[str, str] | None = None,
        resets: Sequence[str] = (),
        keeps: Sequence[str] = (),
    ) -> None:
        """Makes both directories, and has in them what an agent may start with.

        Args:
            login_files: copied in from the user's home; one missing is no error.
            home_files: our own files, by their path in the agent's home.
            resets: removed first, so that no earlier agent of the session has a say in them.
            keeps: what below those stays (see `beneath.remove`).

        Raises:
            OSError: something could not be made, written or removed.
        """
        for path in (self.path, self.tmp):
            with suppress(FileExistsError):
                paths.make_own(path, self._agent_uid)
            os.close(beneath.directory(path))
        for name in resets:
            beneath.remove(self.path, name, keeps)
        for name, text in (home_files or {}).items():
            beneath.write(self.path, name, text.encode(), self._agent_uid)
        if login_files:
            self._logins.copy_in(login_files)

    def copy_from(
        self,
        session_id: str,
        limits: Limits,
        go_on: Callable[[], None],
        login_files: Sequence[str] = (),
        resets: Sequence[str] = (),
        keeps: Sequence[str] = (),
    ) -> None:
        """Makes this home a copy of another session's, without a login; there is none before.

        Args:
            session_id: the other session; its agent may run. One without a home leaves this one without.
            limits: how much is copied at most.
            go_on: called before each piece of work; what it raises ends the copy.
            login_files: as for `prepare`; so are `resets` and `keeps`.

        Raises:
            copying.TooMuch: there is more; then there is no home here.
            OSError: it cannot be read or written.
        """
        source = paths.home_of(self.data_dir, session_id)
        if not os.path.lexists(source):
            return
        paths.make_own(self.path, None)  # the agent's once all is there, and what must not be is not
        try:
            without = {logins.copy_of(name) for name in login_files}
            copying.copy(source, self.path, self._agent_uid, limits, go_on, leave_out=without)
            for name in resets:
                beneath.remove(self.path, name, keeps)
        except copying.TooMuch:
            removal.remove(self.path)
            raise
        if self._agent_uid is not None:
            os.chown(self.path, self._agent_uid, self._agent_uid)

    def keep_login(self) -> None:
        """Copies login files back that the agent has changed since they were copied in (see `Logins.keep`)."""
        self._logins.keep()

    def logins(self) -> list[bytes]:
        """What the login files hold: for hiding it, never for showing it."""
        return [*self._logins.held(), *self._brought]

    def holds(self, login_file: str) -> bool:
        """Whether the agent has this one of its login files; `prepare` has named them."""
        return self._logins.holds(login_file)

    def bring(self, name: str, file: str) -> Path | None:
        """Hands a secret file of the user's to the agent, for as long as it runs.

        Args:
            name: how it is called there.
            file: where the user has it.

        Returns:
            The path of the copy; None where there is nothing to be read.
        """
        content = logins.read(Path(file))
        if content is None:
            return None
        self._brought.append(content)
        return self._write_tmp(name, content)

    def write_tmp(self, name: str, text: str) -> Path:
        """Writes a file of the session, for as long as its agent runs. Returns its path."""
        return self._write_tmp(name, text.encode())

    def clear(self) -> None:
        """Once the agent has ended: keeps its login, then removes its copy of it and its temporary files.

        The home stays, and so does a login that could not be copied back.
        """
        self._logins.keep()
        with suppress(OSError):  # what is left is removed at the gateway's next start
            self._logins.remove()
        with suppress(OSError):
            removal.remove(self.tmp)

    def clear_after_crash(self) -> None:
        """The same for an agent of an earlier life of the gateway. Raises as `Logins.find_left`."""
        self._logins.find_left()
        self.clear()

    def _write_tmp(self, name: str, content: bytes) -> Path:
        beneath.write(self.tmp, name, content, self._agent_uid)
        return self.tmp / name
