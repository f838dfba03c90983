# SPDX-License-Identifier: Apache-2.0
"""`mizar wait`: until an object works, or is gone."""

from __future__ import annotations

import click

from mizar import errors
from mizar.cli import complete, options, progress
from mizar.model import kinds


@click.command(
    epilog=options.examples(
        ("mizar wait endpoint blue/web-1 --for ready", "every host that must know it has said so"),
        ("mizar wait vpc blue --for deleted --timeout 2m", "exit code 1 when it is not by then"),
    )
)
@click.argument("kind", type=options.KindType())
@click.argument("name", shell_complete=complete.object_names)
@options.vpc
@click.option(
    "--for", "goal", type=click.Choice(["ready", "deleted"]), required=True, help="What to wait for."
)
@options.timeout("30s")
@options.api
def wait(kind: kinds.Kind, name: str, vpc: str | None, goal: str, timeout: float) -> None:
    """Wait until an object is ready or deleted. Exit code 1 if it is not in time."""
    if kind.read_only and goal == "ready":
        raise errors.UsageError(f"a {kind.singular} is never waited for: it follows from networks and hosts")
    client = options.client()
    ref = options.ref(kind, name, vpc)
    until = client.wait_ready if goal == "ready" else client.wait_gone
    with progress.Progress() as shown:
        until([ref], timeout=timeout, seen=lambda done, total: shown.step(f"waiting for {ref} to be {goal}"))
