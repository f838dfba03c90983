# SPDX-License-Identifier: Apache-2.0
"""`mizar describe`: one object for a person, with what belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from mizar import errors
from mizar.cli import complete, options, output
from mizar.model import kinds

if TYPE_CHECKING:
    from mizar.client import api

_MOST: Final = 20
"""Rows of a list; a description is for reading, `get` shows all."""


@click.command(
    epilog=options.examples(
        ("mizar describe network blue/web", "its settings, its bouncers and what they carried"),
        ("mizar describe host h2", "its roles, its endpoints, its drops"),
    )
)
@click.argument("kind", type=options.KindType())
@click.argument("name", shell_complete=complete.object_names)
@options.vpc
@options.api
def describe(kind: kinds.Kind, name: str, vpc: str | None) -> None:
    """Show one object in full.

    Its settings, its state, why it is not ready, and what belongs to it.
    """
    client = options.client()
    obj = client.get(options.ref(kind, name, vpc))
    _head(kind, obj)
    _fields("Settings", obj["spec"])
    status = obj.get("status") or {}
    _fields("State", {key: value for key, value in status.items() if key != "conditions"})
    _conditions(status.get("conditions") or [])
    if kind.name in _BELONGINGS:
        _BELONGINGS[kind.name](client, obj)


def _head(kind: kinds.Kind, obj: api.Object) -> None:
    metadata = obj["metadata"]
    click.echo(f"{kind.name} {kinds.full_name(obj)}")
    labels = metadata.get("labels") or {}
    if labels:
        click.echo(f"  labels: {', '.join(f'{key}={value}' for key, value in labels.items())}")
    for label, key in (("created", "creationTimestamp"), ("being deleted since", "deletionTimestamp")):
        if metadata.get(key):
            click.echo(f"  {label}: {metadata[key]}")


def _fields(title: str, values: Mapping[str, Any]) -> None:
    if not values:
        return
    click.echo(f"{title}:")
    width = max(len(key) for key in values)
    for key, value in values.items():
        click.echo(f"  {key:<{width}}  {output.text_of(value)}")


def _conditions(conditions: list[api.Object]) -> None:
    for condition in conditions:
        if condition.get("status") != "True":
            reason = condition.get("message") or condition.get("reason") or "no reason given"
            click.echo(f"Not {condition['type'].lower()}: {reason}")


# ---------------------------------------------------------------- what belongs to it


def _of_host(client: api.Client, obj: api.Object) -> None:
    host = kinds.full_name(obj)

    def here(other: api.Object) -> bool:
        return bool(other["spec"].get("host") == host)

    for kind in (kinds.BOUNCER, kinds.DIVIDER, kinds.ENDPOINT):
        _list(kind, [other for other in client.list(kind) if here(other)])
    try:
        drops = client.drops(host)
    except errors.MizarError as failure:
        click.echo(f"\nDrops: unknown, {failure}")
        return
    if drops:
        click.echo("\nDrops:")
        output.print_rows([{key: row[key] for key in ("reason", "packets", "bytes")} for row in drops])


def _of_vpc(client: api.Client, obj: api.Object) -> None:
    name = kinds.full_name(obj)
    for kind in (kinds.DIVIDER, kinds.NETWORK, kinds.ENDPOINT):
        _list(kind, client.list(kind, vpc=name))


def _of_network(client: api.Client, obj: api.Object) -> None:
    vpc, name = obj["metadata"]["vpc"], obj["metadata"]["name"]
    for kind in (kinds.BOUNCER, kinds.ENDPOINT):
        _list(kind, [other for other in client.list(kind, vpc=vpc) if other["spec"].get("network") == name])


def _of_endpoint(client: api.Client, obj: api.Object) -> None:
    name = kinds.full_name(obj)
    try:
        counted = client.counters(obj["spec"]["host"])["endpoints"]
    except errors.MizarError as failure:
        click.echo(f"Traffic: unknown, {failure}")
        return
    for row in counted:
        if row["name"] == name:
            _fields("Traffic", {key: value for key, value in row.items() if key != "name"})


_BELONGINGS: Final[Mapping[str, Callable[[api.Client, api.Object], None]]] = {
    kinds.HOST.name: _of_host,
    kinds.VPC.name: _of_vpc,
    kinds.NETWORK.name: _of_network,
    kinds.ENDPOINT.name: _of_endpoint,
}


def _list(kind: kinds.Kind, objects: list[api.Object]) -> None:
    if not objects:
        return
    click.echo(f"\n{kind.plural.capitalize()}: {len(objects)}")
    columns = output.columns_of(kind, wide=False)
    output.print_table(
        [column.header for column in columns],
        [output.row_of(columns, obj) for obj in objects[:_MOST]],
    )
    if len(objects) > _MOST:
        click.echo(f"and {len(objects) - _MOST} more: mizar get {kind.plural}")
