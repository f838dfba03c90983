# SPDX-License-Identifier: Apache-2.0
"""Results as a page of the documentation: machine, medians, targets, plots. Pure.

The page is generated, so that no number in it is typed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.core import report, results, samples

_FACTS = ("cpu", "cpus", "memory_mib", "kernel", "distribution", "clocksource")


def page(
    found: Sequence[results.Result], *, stamps: Sequence[Mapping[str, Any]], plots: Sequence[str]
) -> str:
    """`stamps` are the result files' contents, one a result; `plots` are paths as the page names them."""
    lines = [
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "<!-- Written by `python -m bench publish` from build/bench/*.json. Not to be edited. -->",
        "# Measured",
        "",
        "What the figures mean, and what limits them: [performance.md](performance.md).",
        "",
    ]
    for result, stamp in zip(found, stamps, strict=True):
        lines += [f"## {result.title}", "", *_stamp(stamp), ""]
        lines += [line for table in _tables(result) for line in (*table, "")]
        if result.targets:
            lines += [*_targets(result), ""]
        lines += [f"Left out: {one.subject}: {one.reason.splitlines()[0]}" for one in result.skipped]
        pictures = [path for path in plots if path.rpartition("/")[2].startswith(result.suite)]
        lines += [f"![{result.title}]({path})" for path in pictures]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _stamp(content: Mapping[str, Any]) -> Iterator[str]:
    machine = content["machine"]
    facts = ", ".join(f"{name.replace('_', ' ')} {machine[name]}" for name in _FACTS)
    load = machine["load_average_before"][0]
    yield f"Taken at {content['taken_at']}; {facts}; load average before the run {load:.2f}."


def _tables(result: results.Result) -> Iterator[list[str]]:
    subjects = list(dict.fromkeys(sample.key.subject for sample in result.taken))
    conditions = list(dict.fromkeys(sample.key.condition for sample in result.taken))
    if len(subjects) > report.WIDE:
        for figure in result.figures:
            keys = [[samples.Key(figure.name, subject, c) for c in conditions] for subject in subjects]
            yield _table(result, f"{figure.title}, {figure.unit}", conditions, subjects, keys)
        return
    for condition in conditions:
        keys = [[samples.Key(figure.name, s, condition) for s in subjects] for figure in result.figures]
        names = [f"{figure.title}, {figure.unit}".rstrip(", ") for figure in result.figures]
        yield _table(result, condition, subjects, names, keys)


def _table(
    result: results.Result,
    title: str,
    columns: Sequence[str],
    names: Sequence[str],
    keys: Sequence[Sequence[samples.Key]],
) -> list[str]:
    """Rows and columns without any number are left out."""
    kept = [at for at in range(len(columns)) if any(result.taken.values(row[at]) for row in keys)]
    lines = [
        f"| {title} | " + " | ".join(columns[at] for at in kept) + " |",
        "|---|" + "---:|" * len(kept),
    ]
    for name, row in zip(names, keys, strict=True):
        cells = [report.cell(result.taken, row[at]) for at in kept]
        if any(cell != "-" for cell in cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _targets(result: results.Result) -> Iterator[str]:
    yield "| figure | subject | condition | to reach | measured | |"
    yield "|---|---|---|---|---:|---|"
    for evaluation in result.evaluations():
        key = evaluation.target.key
        figure = result.figure(key.figure)
        unit = "x" if evaluation.target.peer else figure.unit
        measured = "-" if evaluation.measured is None else f"{report.number(evaluation.measured)} {unit}"
        yield (
            f"| {figure.title} | {key.subject} | {key.condition} | {evaluation.target.text()} "
            f"| {measured.strip()} | {evaluation.outcome.value} |"
        )
