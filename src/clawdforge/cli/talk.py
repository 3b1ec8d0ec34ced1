"""A session that is talked in, as those know it who talk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clawdforge.client.forge import Forge
    from clawdforge.client.session import Session
    from clawdforge.wire.files import FileToken


@dataclass(slots=True)
class Talk:
    """What becomes of a session while one talks.

    Attributes:
        forge: the way to its gateway.
        session: the one that is talked in; a fork may take its place.
        is_new: whether it was opened for this talk.
        talked: whether it has taken a prompt.
        files: uploads that go with the next prompt.
        left: whether there is nothing more to say.
    """

    forge: Forge
    session: Session
    is_new: bool
    talked: bool = False
    files: list[FileToken] = field(default_factory=list)
    left: bool = False
