# SPDX-License-Identifier: Apache-2.0
"""`mizar get`: objects as a table, JSON or YAML, once or as they change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from mizar import errors
from mizar.cli import complete, options, output
from mizar.model import kinds

if TYPE_CHECKING:
    from mizar.client import api


@click.command(
    epilog=options.examples(
        ("mizar get endpoints", "all endpoints of all VPCs"),
        ("mizar get endpoints -n blue", "those of one VPC"),
        ("mizar get endpoint blue/web-1 -o json", "one whole object"),
        ("mizar get bouncers -o wide", "roles and the packets they have carried"),
        ("mizar get routes -n blue", "where packets go, from each of its networks"),
        ("mizar get sessions -n blue --host h1", "flows through services and gateways that h1 knows"),
        ("mizar get hosts --watch", "and again whenever one changes"),
    )
)
@click.argument("kind", type=options.KindType())
@click.argument("name", required=False, shell_complete=complete.object_names)
@options.vpc
@options.output(options.Output.TABLE, options.Output.WIDE, options.Output.JSON, options.Output.YAML)
@click.option("--host", metavar="HOST", shell_complete=complete.hosts, help="Only what is on this host.")
@click.option("-w", "--watch", is_flag=True, help="Go on printing objects as they change, until ^C.")
@options.api
def get(
    kind: kinds.Kind,
    name: str | None,
    vpc: str | None,
    output: options.Output,
    host: str | None,
    watch: bool,
) -> None:
    """List or show objects.

    KIND is host, vpc, network, endpoint, gateway, floatingaddress, portforward, routetable, peering, bouncer,
    divider, route or session, in singular or plural.

    JSON of a list is an array of whole objects, of one NAME the object; with --watch one event a line.
    """
    client = options.client()
    ref = options.ref(kind, name, vpc) if name else None
    if vpc and not kind.in_vpc:
        raise errors.UsageError(f"a {kind.singular} is in no VPC: leave out -n {vpc}")
    if host and (name or watch):
        raise errors.UsageError("get: --host is for lists: leave out NAME and --watch")
    if watch:
        _watch(client, kind, ref, vpc, output)
    elif ref:
        _show_one(kind, client.get(ref), output)
    else:
        _show_list(kind, client.list(kind, vpc=vpc, host=host), output)


def _show_one(kind: kinds.Kind, obj: api.Object, form: options.Output) -> None:
    if form is options.Output.JSON:
        output.print_json(obj)
    else:
        _show_list(kind, [obj], form)


def _show_list(kind: kinds.Kind, objects: list[api.Object], form: options.Output) -> None:
    match form:
        case options.Output.JSON:
            output.print_json(objects)
        case options.Output.YAML:
            output.print_yaml(objects)
        case _ if objects:
            output.print_objects(kind, objects, wide=form is options.Output.WIDE)
        case _:
            click.echo(f"no {kind.plural}", err=True)


def _watch(
    client: api.Client, kind: kinds.Kind, ref: kinds.Ref | None, vpc: str | None, form: options.Output
) -> None:
    """Rows as they come. Widths follow what exists at the beginning, so that rows stay aligned."""
    if kind.read_only:
        raise errors.UsageError(f"{kind.plural} cannot be watched: they are computed when asked for")
    rows = _Rows(kind, form)
    for event in client.watch(kind, vpc=ref.vpc if ref else vpc):
        if ref is None or kinds.full_name(event.object) == ref.full_name:
            rows.show(event)
    raise errors.UnavailableError(
        "the controller ended the watch: it is stopping, or cannot tell all changes"
    )


class _Rows:
    """Prints events one by one."""

    def __init__(self, kind: kinds.Kind, form: options.Output) -> None:
        self._form = form
        self._columns = output.columns_of(kind, wide=form is options.Output.WIDE)
        self._widths: list[int] = []

    def show(self, event: api.Event) -> None:
        match self._form:
            case options.Output.JSON:
                click.echo(json.dumps({"type": event.type, "object": event.object}, ensure_ascii=False))
            case options.Output.YAML:
                output.print_yaml({"type": event.type, "object": event.object})
                click.echo("---")
            case _:
                self._row(event.type, event.object)

    def _row(self, what: str, obj: dict[str, Any]) -> None:
        row = [what, *output.row_of(self._columns, obj)]
        if not self._widths:
            headers = ["EVENT", *(column.header for column in self._columns)]
            wanted = [max(len(a), len(b) + 4) for a, b in zip(headers, row, strict=True)]
            self._widths = output.fit([max(wanted[0], len("MODIFIED")), *wanted[1:]])
            output.print_row(headers, self._widths)
        output.print_row(row, self._widths)
