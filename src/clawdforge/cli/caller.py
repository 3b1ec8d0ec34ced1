"""Who types, where to, and how the answer shall look: what every command is given, and its way to the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from clawdforge.cli import failures, identity
from clawdforge.errors import ForgeError

if TYPE_CHECKING:
    from clawdforge.client.forge import Forge

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Caller:
    """Who types, where to, and how the answer shall look. None: what `identity` says.

    Attributes:
        has_asked: whether the gateway may have been asked for something.
    """

    url: str | None = None
    token: str | None = field(default=None, repr=False)
    as_json: bool = False
    has_asked: bool = False

    @contextmanager
    def forge(self, token: str | None = None, **options: Any) -> Iterator[Forge]:
        """The gateway, for one command. What the SDK raises within ends the command as a `Failure`.

        Args:
            token: asks as somebody else than `--token` and `CLAWDFORGE_TOKEN` say: the administrator.
            options: further ones of `Forge`.
        """
        from clawdforge.client.forge import Forge  # here: loading it takes longer than most commands

        url = self.url or ""
        try:
            with Forge(base_url=self.place(), token=token or self.app_token(), **options) as forge:
                url, self.has_asked = forge.base_url, True
                yield forge
        except (ForgeError, ValueError, TypeError) as error:
            raise failures.from_error(error, url) from error

    def place(self) -> str | None:
        """Where the gateway is; None: where the SDK takes it to be."""
        return self.url or identity.value(identity.URL)

    def app_token(self) -> str | None:
        """The app's token, where there is one."""
        return self.token or identity.value(identity.TOKEN)


def pass_caller(command: Callable[Concatenate[Caller, P], R]) -> Callable[P, R]:
    """Gives a command its `Caller`, ahead of its own arguments."""
    return click.make_pass_decorator(Caller)(command)
