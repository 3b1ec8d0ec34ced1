"""The command `clawdforge` and its subcommands."""

from __future__ import annotations

from typing import Any

import click

from clawdforge.cli import agents, doctor, failures, files, run, serve, sessions, tokens, usage
from clawdforge.cli.options import Caller, Group


class _Root(Group):
    """Turns the failure of any command into words and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except failures.Failure as error:
            failure = error
        except KeyboardInterrupt:
            failure = failures.Interrupted()
        except RecursionError:
            # JSON that could just be read may be too deep to be written.
            failure = failures.Failure("the answer is nested too deeply to be printed", failures.Exit.GATEWAY)
        failure.show(as_json=ctx.ensure_object(Caller).as_json)
        raise click.exceptions.Exit(failure.exit_code)


@click.group(cls=_Root, epilog=failures.EXIT_CODES)
@click.version_option(package_name="clawdforge", message="clawdforge %(version)s")
def cli() -> None:
    """Coding agents as a service on your own machine.

    \b
    Start a gateway, make a token, ask something:
      clawdforge serve
      export CLAWDFORGE_TOKEN=$(clawdforge token mint my-app)
      clawdforge run "What does this error mean: EADDRINUSE?"

    Answers go to stdout, everything else to stderr.
    """


for _command in (
    serve.serve,
    run.run,
    sessions.session,
    usage.usage,
    files.upload,
    files.file,
    tokens.token,
    agents.agents,
    doctor.doctor,
):
    cli.add_command(_command)
