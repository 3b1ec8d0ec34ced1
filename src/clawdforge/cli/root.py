"""The command `clawdforge` and its subcommands."""

from __future__ import annotations

from typing import Any

import click

from clawdforge.cli import (
    agents,
    chat,
    completion,
    doctor,
    failures,
    files,
    health,
    logs,
    run,
    serve,
    sessions,
    terminal,
    tokens,
    usage,
)
from clawdforge.cli.caller import Caller
from clawdforge.cli.options import HELP, Group


class Root(Group):
    """Turns the failure of any command into words and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except failures.Failure as error:
            failure = error
        except KeyboardInterrupt:
            asked = ctx.ensure_object(Caller).has_asked
            failure = failures.Interrupted(failures.MAY_GO_ON if asked else "interrupted")
        except BrokenPipeError:
            terminal.hush_if_broken()  # whoever read has enough, as `head` does
            raise click.exceptions.Exit(failures.Exit.PIPE) from None
        except OSError as error:
            terminal.hush_if_broken()
            failure = failures.Failure(str(error), failures.Exit.USAGE)
        except RecursionError:
            # JSON that could just be read may be too deep to be written.
            failure = failures.Failure("the answer is nested too deeply to be printed", failures.Exit.GATEWAY)
        failure.show(as_json=ctx.ensure_object(Caller).as_json)
        raise click.exceptions.Exit(failure.exit_code)


@click.group(cls=Root, epilog=failures.EXIT_CODES, context_settings=HELP)
@click.version_option(package_name="clawdforge", message="clawdforge %(version)s")
def cli() -> None:
    """Coding agents as a service on your own machine.

    \b
    Start a gateway, make a token, ask something:
      clawdforge serve
      export CLAWDFORGE_TOKEN=$(clawdforge token mint my-app)
      clawdforge run "What does this error mean: EADDRINUSE?"

    Answers go to stdout, everything else to stderr. Where the gateway is and who asks may also stand in
    ~/.config/clawdforge/cf.env, as lines CLAWDFORGE_URL=… and CLAWDFORGE_TOKEN=…; the environment counts first.
    """


for _command in (
    serve.serve,
    chat.chat,
    run.run,
    sessions.session,
    logs.logs,
    usage.usage,
    files.upload,
    files.file,
    tokens.token,
    agents.agents,
    doctor.doctor,
    health.healthz,
    completion.completion,
):
    cli.add_command(_command)
