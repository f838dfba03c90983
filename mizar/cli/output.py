# SPDX-License-Identifier: Apache-2.0
"""Printing: tables that fit the terminal, JSON, YAML.

What holds: a table is cut to the terminal's width, but never when it goes into a file or pipe: scripts see
every value in full.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from mizar.model import kinds

_GAP = "  "
_ELLIPSIS = "…"
_NARROWEST = 6
"""No column is cut below this; a table that is still too wide is left to wrap."""


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_yaml(value: Any) -> None:
    """One document; a list as several documents, so that it can be applied again."""
    import yaml

    documents = value if isinstance(value, list) else [value]
    click.echo(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True), nl=False)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = fit([max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)])
    for row in (headers, *rows):
        print_row(row, widths)


def print_row(row: Sequence[str], widths: Sequence[int]) -> None:
    cells = (_cell(text, width) for text, width in zip(row, widths, strict=True))
    click.echo(_GAP.join(cells).rstrip())


def print_objects(kind: kinds.Kind, objects: Iterable[Mapping[str, Any]], *, wide: bool) -> None:
    """A table with the columns of the kind."""
    found = list(objects)
    columns = [
        column for column in columns_of(kind, wide=wide) if not column.wide or _is_filled(column, found)
    ]
    print_table([column.header for column in columns], [row_of(columns, obj) for obj in found])


def columns_of(kind: kinds.Kind, *, wide: bool) -> list[kinds.Column]:
    return [column for column in kind.columns if wide or not column.wide]


def _is_filled(column: kinds.Column, objects: Iterable[Mapping[str, Any]]) -> bool:
    """Whether it says anything of any object: most wide columns speak of exceptions."""
    return any(column.text(obj, now=0) != column.missing for obj in objects)


def row_of(columns: Sequence[kinds.Column], obj: Mapping[str, Any]) -> list[str]:
    now = time.time()
    return [column.text(obj, now=now) for column in columns]


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of whatever fields the rows have, in the order of the first."""
    fields = list(dict.fromkeys(field for row in rows for field in row))
    print_table(
        [_header(field) for field in fields],
        [[text_of(row.get(field)) for field in fields] for row in rows],
    )


def _header(field: str) -> str:
    """TARGET PORT of targetPort and of target_port."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", field).replace("_", " ").upper()


def text_of(value: Any) -> str:
    """A JSON value in a cell or behind a label."""
    match value:
        case None | [] | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(text_of(item) for item in value)
        case dict():
            return " ".join(f"{key}={text_of(item)}" for key, item in value.items())
        case _:
            return str(value)


def fit(widths: Sequence[int]) -> list[int]:
    """Column widths that fit the terminal: the widest are cut first."""
    fitted = list(widths)
    if not sys.stdout.isatty():
        return fitted
    room = shutil.get_terminal_size().columns - len(_GAP) * (len(fitted) - 1)
    while sum(fitted) > room and max(fitted) > _NARROWEST:
        widest = max(range(len(fitted)), key=fitted.__getitem__)
        fitted[widest] -= 1
    return fitted


def _cell(text: str, width: int) -> str:
    return f"{text[: width - 1]}{_ELLIPSIS}" if len(text) > width else f"{text:<{width}}"
