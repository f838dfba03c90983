# SPDX-License-Identifier: Apache-2.0
"""`mizar delete`: by name or by manifest, and wait until it is gone."""

from __future__ import annotations

import pathlib

import click

from mizar import errors
from mizar.cli import complete, options, progress
from mizar.model import kinds


@click.command(
    epilog=options.examples(
        ("mizar delete endpoint blue/web-1", "and wait until no host knows it any more"),
        ("mizar delete network web -n blue --no-wait", "return when the controller has noted it"),
        ("mizar delete -f examples/01-two-tenants.yaml", "all that is in the file, in the right order"),
    )
)
@click.argument("kind", type=options.KindType(), required=False)
@click.argument("name", required=False, shell_complete=complete.object_names)
@options.files_optional
@options.vpc
@click.option("--wait/--no-wait", default=True, show_default=True, help="Return when it is gone everywhere.")
@options.timeout("60s")
@options.api
def delete(
    kind: kinds.Kind | None,
    name: str | None,
    files: tuple[pathlib.Path, ...],
    vpc: str | None,
    wait: bool,
    timeout: float,
) -> None:
    """Delete objects.

    One by KIND and NAME, or all of manifests.

    Refused while something else needs it: a VPC that has networks, a network or host that has endpoints,
    a gateway that a port forward names. Backends of a scaled endpoint leave it. All or nothing.
    """
    client = options.client()
    if files:
        if kind or name:
            raise errors.UsageError("delete: give KIND and NAME, or -f FILE, not both")
        refs = _delete_files(files)
    elif kind and name:
        refs = [options.ref(kind, name, vpc)]
        _refuse_read_only(kind)
        client.delete(refs[0])
    else:
        raise errors.UsageError("delete: wanted KIND and NAME, or -f FILE")
    if wait:
        with progress.Progress() as shown:
            client.wait_gone(
                refs,
                timeout=timeout,
                seen=lambda done, total: shown.step(f"{done} of {total} objects are gone"),
            )
    for ref in refs:
        click.echo(f"{ref.kind.singular} {ref.full_name} {'deleted' if wait else 'is being deleted'}")


def _delete_files(files: tuple[pathlib.Path, ...]) -> list[kinds.Ref]:
    from mizar.client import api, manifests

    objects = [obj for path in files for obj in manifests.read(path)]
    options.client().delete_all(objects)
    return [api.ref_of(obj) for obj in objects]


def _refuse_read_only(kind: kinds.Kind) -> None:
    if kind.read_only:
        raise errors.UsageError(f"a {kind.singular} cannot be deleted: it follows from networks and hosts")
