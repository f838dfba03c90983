# SPDX-License-Identifier: Apache-2.0
"""`mizar describe`: one object for a person, with what belongs to it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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
        ("mizar describe endpoint blue/shop", "of a scaled endpoint: its ports and its backends"),
        ("mizar describe gateway blue/out", "its hosts, and the addresses and ports behind it"),
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
    _fields("Settings", {key: value for key, value in obj["spec"].items() if not _is_list_of_rows(value)})
    status = obj.get("status") or {}
    _fields(
        "State",
        {key: value for key, value in status.items() if key != "conditions" and not _is_list_of_rows(value)},
    )
    _conditions(status.get("conditions") or [])
    for title, rows in _rows_of(obj):
        click.echo(f"\n{title}: {len(rows)}")
        output.print_rows(rows[:_MOST])
        if len(rows) > _MOST:
            click.echo(
                f"and {len(rows) - _MOST} more: mizar get {kind.singular} {kinds.full_name(obj)} -o yaml"
            )
    if kind.name in _BELONGINGS:
        _BELONGINGS[kind.name](client, obj)


def _is_list_of_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _rows_of(obj: api.Object) -> Iterator[tuple[str, list[api.Object]]]:
    """Lists within an object that are tables of their own. What the status says of one replaces what the spec
    does: of a backend it has the host and the health, too."""
    status = obj.get("status") or {}
    for part in (obj["spec"], status):
        for key, value in part.items():
            replaced = part is not status and _is_list_of_rows(status.get(key))
            if key != "conditions" and _is_list_of_rows(value) and not replaced:
                yield key.capitalize(), [_flat(row) for row in value]


def _flat(row: api.Object) -> api.Object:
    """A route by its target, which it has one of."""
    return {"to": row["to"], "target": kinds.route_target(row)} if "to" in row else row


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
    for kind in (kinds.DIVIDER, kinds.NETWORK, kinds.ENDPOINT, *kinds.FIXTURES, kinds.ROUTE):
        _list(kind, client.list(kind, vpc=name))


def _of_network(client: api.Client, obj: api.Object) -> None:
    vpc, name = obj["metadata"]["vpc"], obj["metadata"]["name"]
    for kind in (kinds.BOUNCER, kinds.ENDPOINT):
        _list(kind, [other for other in client.list(kind, vpc=vpc) if other["spec"].get("network") == name])


def _of_endpoint(client: api.Client, obj: api.Object) -> None:
    name = kinds.full_name(obj)
    if "host" in obj["spec"]:
        _traffic(client, name, obj["spec"]["host"])
    else:
        network, vpc = obj["spec"]["network"], obj["metadata"]["vpc"]
        bouncers = client.list(kinds.BOUNCER, vpc=vpc)
        hosts = [one["spec"]["host"] for one in bouncers if one["spec"].get("network") == network]
        _role(client, "Flows begun", hosts, {"role": "service", "service": name})
    _list_those(client, obj, "endpoint", (kinds.FLOATING_ADDRESS, kinds.PORT_FORWARD))


def _role(client: api.Client, title: str, hosts: Iterable[str], wanted: Mapping[str, str]) -> None:
    """What hosts have counted in a role; those that do not answer are left out."""
    rows = []
    for host in sorted(hosts):
        with contextlib.suppress(errors.UnavailableError):
            rows += [
                {"host": host, "packets": one["packets"], "bytes": one["bytes"]}
                for one in client.counters(host)["roles"]
                if wanted.items() <= one.items()
            ]
    if rows:
        click.echo(f"\n{title}:")
        output.print_rows(rows)


def _traffic(client: api.Client, name: str, host: str) -> None:
    try:
        counted = client.counters(host)["endpoints"]
    except errors.MizarError as failure:
        click.echo(f"Traffic: unknown, {failure}")
        return
    for row in counted:
        if row["name"] == name:
            _fields("Traffic", {key: value for key, value in row.items() if key != "name"})


def _of_gateway(client: api.Client, obj: api.Object) -> None:
    machines = [kinds.full_name(one) for one in client.list(kinds.HOST)]
    hosts = obj["spec"].get("hosts") or machines
    _role(client, "Traffic out and in", hosts, {"role": "gateway", "vpc": obj["metadata"]["vpc"]})
    _list_those(client, obj, "gateway", (kinds.FLOATING_ADDRESS, kinds.PORT_FORWARD))


def _of_route_table(client: api.Client, obj: api.Object) -> None:
    """What applies in its networks, all declarations together."""
    networks = obj["spec"].get("networks") or [None]
    found = client.list(kinds.ROUTE, vpc=obj["metadata"]["vpc"])
    _list(kinds.ROUTE, [route for route in found if route["spec"].get("network") in networks])


def _list_those(client: api.Client, obj: api.Object, field: str, several: tuple[kinds.Kind, ...]) -> None:
    """Objects of the VPC whose spec names this one."""
    vpc, name = obj["metadata"]["vpc"], obj["metadata"]["name"]
    for kind in several:
        _list(kind, [other for other in client.list(kind, vpc=vpc) if other["spec"].get(field) == name])


_BELONGINGS: Final[Mapping[str, Callable[[api.Client, api.Object], None]]] = {
    kinds.HOST.name: _of_host,
    kinds.VPC.name: _of_vpc,
    kinds.NETWORK.name: _of_network,
    kinds.ENDPOINT.name: _of_endpoint,
    kinds.GATEWAY.name: _of_gateway,
    kinds.ROUTE_TABLE.name: _of_route_table,
}


def _heading(kind: kinds.Kind) -> str:
    """`Floating addresses` of FloatingAddress."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.name).capitalize()
    return words + kind.plural.removeprefix(kind.singular)


def _list(kind: kinds.Kind, objects: list[api.Object]) -> None:
    if not objects:
        return
    click.echo(f"\n{_heading(kind)}: {len(objects)}")
    columns = output.columns_of(kind, wide=False)
    output.print_table(
        [column.header for column in columns],
        [output.row_of(columns, obj) for obj in objects[:_MOST]],
    )
    if len(objects) > _MOST:
        click.echo(f"and {len(objects) - _MOST} more: mizar get {kind.plural}")
