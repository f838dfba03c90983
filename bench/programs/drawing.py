# SPDX-License-Identifier: Apache-2.0
"""The plots of the program suite: paths over table size, and everything else as bars."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from bench.core import plots, results, samples
from bench.programs import suite

_DROP = "drop."


def draw(result: results.Result, *, directory: pathlib.Path) -> list[pathlib.Path]:
    sized = [name for name in _subjects(result) if _points(result, name)]
    panels: list[plots.Panel] = [_growth(result, name) for name in sized]
    written = []
    if panels:
        written += plots.draw(
            panels,
            result.taken,
            title="Time a packet over table size, keys at random (dashed: to reach)",
            path=directory / "programs-growth",
        )
    others = [name for name in _subjects(result) if name not in sized]
    bars: list[plots.Panel] = [
        _bars(result, "answers, control and hand-over", [n for n in others if not n.startswith(_DROP)]),
        _bars(result, "drops", [name for name in others if name.startswith(_DROP)]),
    ]
    written += plots.draw(
        bars,
        result.taken,
        title="Time a packet, nothing that grows looked up",
        path=directory / "programs-others",
        columns=1,
        width=11.0,
    )
    return written


def _subjects(result: results.Result) -> list[str]:
    return list(dict.fromkeys(s.key.subject for s in result.taken if s.key.figure == suite.NS.name))


def _points(result: results.Result, name: str) -> list[tuple[float, float]]:
    found = []
    for rows in suite.ROWS:
        median = result.taken.median(samples.Key(suite.NS.name, name, suite.condition(rows)))
        if median is not None:
            found.append((float(rows), median))
    return found


def _growth(result: results.Result, name: str) -> plots.Curves:
    curves = [("keys at random", _points(result, name))]
    largest = suite.ROWS[-1]
    hot = result.taken.median(samples.Key(suite.NS.name, name, suite.one_key(largest)))
    if hot is not None:
        curves.append(("one key", [(float(largest), hot)]))
    return plots.Curves(
        title=_title(result, name),
        x_label="rows",
        y_label="ns",
        curves=curves,
        limit=suite.LIMITS.get(name),
        log_y=False,
    )


def _bars(result: results.Result, title: str, names: list[str]) -> plots.Bars:
    keys = [samples.Key(suite.NS.name, name, suite.ANY_SIZE) for name in names]
    labels = [_title(result, name).removeprefix("drop ") for name in names]
    return plots.Bars(title=title, unit="ns", keys=keys, labels=labels)


def _title(result: results.Result, name: str) -> str:
    titles = result.settings.get("titles")
    known: Mapping[str, Any] = titles if isinstance(titles, Mapping) else {}
    return str(known.get(name, name))
