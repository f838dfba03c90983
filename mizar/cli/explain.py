# SPDX-License-Identifier: Apache-2.0
"""`mizar explain`: what may be written in a manifest."""

from __future__ import annotations

import click

from mizar import errors
from mizar.cli import complete, options, output
from mizar.model import kinds


@click.command(
    epilog=options.examples(
        ("mizar explain gateway", "all its fields"),
        ("mizar explain endpoint.spec.healthCheck", "a part of them"),
    )
)
@click.argument("what", metavar="KIND[.FIELD...]", shell_complete=complete.kinds_alone)
@options.output(options.Output.TABLE, options.Output.JSON)
def explain(what: str, output: options.Output) -> None:
    """Explain the fields of a kind.

    Each with its type, what it is when it is left out, and what it means.
    """
    from mizar.model import explain as model

    name, dot, path = what.partition(".")
    kind = kinds.find(name)
    if kind in kinds.VIEWS:
        raise errors.InvalidError(
            f"{kind.plural} have no fields of their own; they follow from other objects"
        )
    found = [field for field in model.fields(kind) if _is_below(field.path, path)]
    if dot and not found:
        raise errors.InvalidError(f"{kind.name} has no field {path!r}; `mizar explain {kind}` has all")
    if output is options.Output.JSON:
        _print([field._asdict() for field in found])
        return
    click.echo(f"{kind.name}: {model.summary(kind)}\n")
    _table([field for field in found if dot or not field.path.startswith("metadata.")])


def _is_below(path: str, wanted: str) -> bool:
    """Whether `wanted` names the field or what it is in; `[]` and `(scaled)` may be left out."""
    plain = path.replace("[]", "").replace("(simple)", "").replace("(scaled)", "")
    return not wanted or any(f"{one}.".startswith(f"{wanted}.") for one in (path, plain))


def _print(rows: list[dict[str, str]]) -> None:
    output.print_json(rows)


def _table(found: list[tuple[str, str, str, str]]) -> None:
    output.print_table(["FIELD", "TYPE", "DEFAULT", "MEANING"], found)
