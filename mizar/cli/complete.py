# SPDX-License-Identifier: Apache-2.0
"""Completion of kinds, names, hosts and tables. What fails completes to nothing: no noise at the prompt."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import click
from click import shell_completion

from mizar import errors
from mizar.cli import options
from mizar.model import kinds

Items = list[shell_completion.CompletionItem]
Completer = Callable[[click.Context, click.Parameter, str], Items]


def _quiet(completer: Completer) -> Completer:
    @functools.wraps(completer)
    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
        try:
            with context:
                return completer(context, parameter, incomplete)
        except errors.MizarError:
            return []

    return complete


def kind_names(incomplete: str) -> Items:
    return _items(
        (name for kind in (*kinds.KINDS, *kinds.VIEWS) for name in (kind.singular, kind.plural)), incomplete
    )


def kinds_alone(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return _items((kind.singular for kind in kinds.KINDS), incomplete)


@_quiet
def object_names(context: click.Context, _: click.Parameter, incomplete: str) -> Items:
    """Names of the kind that was given before."""
    kind, vpc = context.params.get("kind"), context.params.get("vpc")
    if not isinstance(kind, kinds.Kind):
        return []
    found = options.client().list(kind, vpc=vpc)
    full = (kinds.full_name(obj) for obj in found)
    return _items((name.removeprefix(f"{vpc}/") if vpc else name for name in full), incomplete)


@_quiet
def hosts(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return _items((kinds.full_name(obj) for obj in options.client().list(kinds.HOST)), incomplete)


@_quiet
def endpoints(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    return _items((kinds.full_name(obj) for obj in options.client().list(kinds.ENDPOINT)), incomplete)


@_quiet
def lab_hosts(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    from mizar.lab import lab

    return _items((machine.name for machine in lab.current().topology.hosts), incomplete)


def tables(_: click.Context, __: click.Parameter, incomplete: str) -> Items:
    from mizar.cli import tables as tables_command

    return _items(tables_command.TABLES, incomplete)


def _items(names: Iterable[str], incomplete: str) -> Items:
    return [shell_completion.CompletionItem(name) for name in names if name.startswith(incomplete)]
