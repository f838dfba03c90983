# SPDX-License-Identifier: Apache-2.0
"""Entry of the `mizar` command: the command tree, and failures as one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from mizar import errors
from mizar.cli import (
    apply,
    completion,
    daemons,
    delete,
    describe,
    explain,
    get,
    lab,
    options,
    tables,
    wait,
)

REFUSED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=options.examples(
        ("mizar lab up --hosts 4 --file examples/01-two-tenants.yaml", "a cluster on this machine"),
        ("mizar lab exec blue/web-1 -- ping -c 3 10.0.1.2", "run a program where an endpoint is"),
        ("mizar get endpoints", "what there is"),
        ("mizar lab down", "leave nothing behind"),
    ),
)
@click.version_option(package_name="mizar", message="mizar %(version)s")
@options.api
def cli() -> None:
    """A cloud network of many tenants over ordinary Linux hosts."""


for _command in (
    apply.apply,
    completion.completion,
    daemons.agent,
    daemons.controller,
    delete.delete,
    describe.describe,
    explain.explain,
    get.get,
    lab.lab,
    tables.drops,
    tables.tables,
    wait.wait,
):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit."""
    try:
        code = cli.main(arguments, prog_name="mizar", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as failure:
        click.echo(failure.format_message())
        code = WRONG_USAGE
    except click.UsageError as failure:
        code = _complain(f"{failure.format_message()}{_see_help(failure)}", WRONG_USAGE)
    except errors.UsageError as failure:
        code = _complain(failure, WRONG_USAGE)
    except (errors.MizarError, click.ClickException) as failure:
        code = _complain(failure, REFUSED)
    except (KeyboardInterrupt, click.Abort):
        code = _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read stdout has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = REFUSED
    sys.exit(code if isinstance(code, int) else 0)


def _see_help(failure: click.UsageError) -> str:
    return f" (see `{failure.ctx.command_path} --help`)" if failure.ctx else ""


def _complain(what: object, code: int) -> int:
    """One line, whatever the message was made of."""
    click.echo("mizar: " + " ".join(str(what).split()), err=True)
    return code


if __name__ == "__main__":
    main()
