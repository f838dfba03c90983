# SPDX-License-Identifier: Apache-2.0
"""`mizar apply`: make what manifests say."""

from __future__ import annotations

import pathlib

import click

from mizar.cli import options, output, progress


@click.command(
    epilog=options.examples(
        ("mizar apply -f examples/01-two-tenants.yaml", "create or update all that is in the file"),
        ("mizar apply -f vpc.yaml -f web.yaml --wait", "both files at once, and return when they work"),
        ("kubectl get -o yaml ... | mizar apply -f -", "from standard input"),
    )
)
@options.files
@click.option("--wait/--no-wait", default=False, help="Return when all of it is ready.")
@options.timeout("60s")
@options.output(options.Output.TABLE, options.Output.JSON)
@options.api
def apply(files: tuple[pathlib.Path, ...], wait: bool, timeout: float, output: options.Output) -> None:
    """Create or update objects.

    FILE is YAML or JSON with any number of objects.

    All or nothing: when one object is refused, nothing is changed.
    """
    from mizar.client import api, manifests

    client = options.client()
    objects = [obj for path in files for obj in manifests.read(path)]
    with progress.Progress() as shown:
        shown.step(f"applying {len(objects)} objects")
        results = client.apply(objects)
        _show(results, output)
        if wait:
            client.wait_ready(
                [api.ref_of(obj) for obj in objects],
                timeout=timeout,
                seen=lambda done, total: shown.step(f"{done} of {total} objects are ready"),
            )


def _show(results: list[dict[str, str]], form: options.Output) -> None:
    if form is options.Output.JSON:
        output.print_json(results)
        return
    for row in results:
        click.echo(f"{row['kind'].lower()} {row['name']} {row['result']}")
