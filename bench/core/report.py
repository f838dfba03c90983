# SPDX-License-Identifier: Apache-2.0
"""The summary on the terminal: one table of medians a condition, one of targets."""

from __future__ import annotations

import rich.console
import rich.table

from bench.core import results, samples, targets

_STYLE = {targets.Outcome.MET: "green", targets.Outcome.NOT_MET: "red", targets.Outcome.NOT_MEASURED: "dim"}


# More subjects than this are rows instead of columns.
WIDE = 9


def show(result: results.Result, console: rich.console.Console) -> None:
    subjects = dict.fromkeys(sample.key.subject for sample in result.taken)
    if len(subjects) <= WIDE:
        for condition in _conditions(result):
            console.print(_medians(result, condition))
    else:
        for figure in result.figures:
            console.print(_long(result, figure))
    if result.targets:
        console.print(_targets(result))
    for skipped in result.skipped:
        console.print(f"  left out: {skipped.subject}: {skipped.reason}", style="yellow", highlight=False)
    for note in result.notes:
        console.print(f"  {note}", style="dim", highlight=False)


def number(value: float | None) -> str:
    """Three significant digits without exponents, as a person would write it."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _conditions(result: results.Result) -> list[str]:
    return list(dict.fromkeys(sample.key.condition for sample in result.taken))


def _medians(result: results.Result, condition: str) -> rich.table.Table:
    present = [sample.key for sample in result.taken if sample.key.condition == condition]
    subjects = list(dict.fromkeys(key.subject for key in present))
    table = rich.table.Table(title=f"{result.title}: {condition}", title_justify="left", header_style="bold")
    table.add_column("figure")
    table.add_column("unit")
    for subject in subjects:
        table.add_column(subject, justify="right")
    for figure in result.figures:
        cells = [cell(result.taken, samples.Key(figure.name, subject, condition)) for subject in subjects]
        if any(cell != "-" for cell in cells):
            table.add_row(figure.title, figure.unit, *cells)
    return table


def _long(result: results.Result, figure: samples.Figure) -> rich.table.Table:
    """Many subjects of one figure: a row each, a column a condition."""
    present = [sample.key for sample in result.taken if sample.key.figure == figure.name]
    conditions = list(dict.fromkeys(key.condition for key in present))
    title = f"{result.title}: {figure.title}, {figure.unit}"
    table = rich.table.Table(title=title, title_justify="left", header_style="bold")
    table.add_column("")
    for condition in conditions:
        table.add_column(condition, justify="right")
    for subject in dict.fromkeys(key.subject for key in present):
        keys = [samples.Key(figure.name, subject, condition) for condition in conditions]
        table.add_row(subject, *(cell(result.taken, key) for key in keys))
    return table


def cell(taken: samples.Samples, key: samples.Key) -> str:
    """Median, and the spread where it matters."""
    spread = taken.spread(key)
    suffix = f" ±{spread:.0%}" if spread is not None and spread >= 0.05 else ""
    return number(taken.median(key)) + suffix


def _targets(result: results.Result) -> rich.table.Table:
    table = rich.table.Table(title=f"{result.title}: targets", title_justify="left", header_style="bold")
    for header in ("figure", "subject", "condition", "to reach"):
        table.add_column(header)
    table.add_column("measured", justify="right")
    table.add_column("")
    for evaluation in result.evaluations():
        key = evaluation.target.key
        unit = "x" if evaluation.target.peer else result.figure(key.figure).unit
        measured = "-" if evaluation.measured is None else f"{number(evaluation.measured)} {unit}"
        table.add_row(
            result.figure(key.figure).title,
            key.subject,
            key.condition,
            evaluation.target.text(),
            measured,
            evaluation.outcome.value,
            style=_STYLE[evaluation.outcome],
        )
    return table
