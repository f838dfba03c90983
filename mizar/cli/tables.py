# SPDX-License-Identifier: Apache-2.0
"""`mizar tables` and `mizar drops`: what the kernels of the hosts really hold and count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mizar.cli import complete, options, output

if TYPE_CHECKING:
    from mizar.client import api

TABLES: Final = (
    "config",
    "hosts",
    "vpcs",
    "routes",
    "shards",
    "locations",
    "endpoints",
    "ports",
    "direct",
    "flows",
    "fragments",
    "services",
    "maglev",
    "backends",
    "gateways",
    "outside",
    "floating",
    "forwards",
)
"""Of the node API, in the order in which a packet's life explains them."""

_MOST: Final = 20
"""Rows of each when all tables are shown."""


@click.command(
    epilog=options.examples(
        ("mizar tables h1", "all tables of a host"),
        ("mizar tables h2 locations", "what h2 knows as a bouncer"),
        ("mizar tables h1 direct -o json", "the paths that h1 has learnt"),
        ("mizar tables h1 flows", "both directions of the flows that h1 translates"),
    )
)
@click.argument("host", shell_complete=complete.hosts)
@click.argument("table", required=False, shell_complete=complete.tables)
@options.output(options.Output.TABLE, options.Output.JSON)
@options.api
def tables(host: str, table: str | None, output: options.Output) -> None:
    """Show what a host's kernel holds.

    Decoded: one TABLE of HOST, or all.

    Tables: config, hosts, vpcs, routes, shards, locations, endpoints, ports, direct, flows, fragments,
    services, maglev, backends, gateways, outside, floating, forwards. JSON of one table is an array of rows,
    of all an object with an array for each.
    """
    client = options.client()
    if table:
        _show_one(client.table(host, table), output)
    else:
        _show_all(host, {name: client.table(host, name) for name in TABLES}, output)


def _show_one(rows: list[api.Object], form: options.Output) -> None:
    if form is options.Output.JSON:
        output.print_json(rows)
    elif rows:
        output.print_rows(_in_order(rows))
    else:
        click.echo("no rows", err=True)


def _show_all(host: str, found: Mapping[str, list[api.Object]], form: options.Output) -> None:
    if form is options.Output.JSON:
        output.print_json(found)
        return
    for number, (name, rows) in enumerate(found.items()):
        if number:
            click.echo()
        click.echo(f"{name}: {len(rows)}")
        if rows:
            output.print_rows(_in_order(rows)[:_MOST])
        if len(rows) > _MOST:
            click.echo(f"and {len(rows) - _MOST} more: mizar tables {host} {name}")


def _in_order(rows: list[api.Object]) -> list[api.Object]:
    """By the first fields, which are the key; numbers inside texts count as numbers. The kernel's own order
    is that of its hash."""
    return sorted(rows, key=lambda row: [_rank(value) for value in row.values()])


def _rank(value: Any) -> list[tuple[int, str]]:
    """Comparable for any value; 10.0.2.1 is before 10.0.10.1."""
    parts = re.findall(r"\d+|\D+", output.text_of(value))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


@click.command(
    epilog=options.examples(
        ("mizar drops", "of all hosts"),
        ("mizar drops h2", "of one"),
        ("mizar drops -o json", "for scripts"),
    )
)
@click.argument("host", required=False, shell_complete=complete.hosts)
@options.output(options.Output.TABLE, options.Output.JSON)
@options.api
def drops(host: str | None, output: options.Output) -> None:
    """Count dropped packets by reason.

    Of HOST or of all hosts.

    Counters run since a host's programs were loaded.
    """
    found = options.client().drops(host)
    if output is options.Output.JSON:
        _print(found)
    elif found:
        _drop_table(found)
    else:
        click.echo("no drops", err=True)


def _print(found: Sequence[Mapping[str, Any]]) -> None:
    output.print_json(found)


def _drop_table(found: Sequence[Mapping[str, Any]]) -> None:
    from mizar.abi import verdicts

    meaning = {verdict.label: verdict.description for verdict in verdicts.Verdict}
    output.print_table(
        ["HOST", "REASON", "PACKETS", "BYTES", "MEANING"],
        [
            [
                row["host"],
                row["reason"],
                str(row["packets"]),
                str(row["bytes"]),
                meaning.get(row["reason"], "-"),
            ]
            for row in found
        ],
    )
