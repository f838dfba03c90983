# SPDX-License-Identifier: Apache-2.0
"""`mizar completion`: what a shell needs to complete mizar commands."""

from __future__ import annotations

import click
from click import shell_completion

from mizar import errors
from mizar.cli import options

_VARIABLE = "_MIZAR_COMPLETE"
"""click answers a shell's questions when this is set; derived by it from the program's name."""


@click.command(
    epilog=options.examples(
        ('eval "$(mizar completion bash)"', "in ~/.bashrc"),
        ('eval "$(mizar completion zsh)"', "in ~/.zshrc"),
        ("mizar completion fish | source", "in ~/.config/fish/config.fish"),
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL."""
    kind = shell_completion.get_completion_class(shell)
    if kind is None:
        raise errors.UsageError(f"no completion for {shell!r}")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "mizar", _VARIABLE).source())
