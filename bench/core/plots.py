# SPDX-License-Identifier: Apache-2.0
"""Drawing: bars with every sample on them, and curves over a size. PNG and SVG of each.

Nothing here knows a suite; a suite says what goes into which panel.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl

from bench.core import samples

mpl.use("Agg")
# The same result gives the same file.
mpl.rcParams["svg.hashsalt"] = "mizar"
mpl.rcParams["font.size"] = 9

from matplotlib import pyplot as plt  # noqa: E402 (after the backend is chosen)

_OURS = "#c8452c"
_THEIRS = ("#8a97a8", "#5d7fa3", "#2f5d8a", "#7a6c9d", "#6f8f72")


@dataclasses.dataclass(frozen=True, slots=True)
class Bars:
    """One panel: a figure of several subjects under one condition, with an optional limit to draw."""

    title: str
    unit: str
    keys: Sequence[samples.Key]
    labels: Sequence[str]
    limit: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Curves:
    """One panel: a figure over a size; a curve is a label and its (size, value) points."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    limit: float | None = None
    log_y: bool = True


Panel = Bars | Curves


def draw(
    panels: Sequence[Panel],
    taken: samples.Samples,
    *,
    title: str,
    path: pathlib.Path,
    columns: int = 3,
    width: float = 4.2,
) -> list[pathlib.Path]:
    """Write `path`.png and `path`.svg; their paths."""
    columns = min(columns, max(1, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns, 3.1 * rows), squeeze=False)
    for panel, axis in _pairs(panels, [axis for row in axes for axis in row]):
        if panel is None:
            axis.axis("off")
        elif isinstance(panel, Bars):
            _bars(axis, panel, taken)
        else:
            _curves(axis, panel)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for target in written:
        figure.savefig(target, dpi=130, metadata={"Date": None} if target.suffix == ".svg" else None)
    plt.close(figure)
    return written


def _pairs(panels: Sequence[Panel], axes: Sequence[Any]) -> Iterator[tuple[Panel | None, Any]]:
    for index, axis in enumerate(axes):
        yield (panels[index] if index < len(panels) else None), axis


def _bars(axis: Any, panel: Bars, taken: samples.Samples) -> None:
    for position, (key, label) in enumerate(zip(panel.keys, panel.labels, strict=True)):
        values = taken.values(key)
        if not values:
            continue
        colour = _OURS if key.subject.startswith("mizar") else _THEIRS[position % len(_THEIRS)]
        if len(panel.keys) > len(_THEIRS) + 3:
            colour = _THEIRS[1]  # a colour each says nothing any more
        axis.bar(position, taken.median(key), color=colour, width=0.7, label=label)
        axis.plot([position] * len(values), values, ".", color="black", markersize=3, alpha=0.6)
    axis.set_xticks(range(len(panel.labels)), panel.labels, rotation=30, ha="right")
    axis.set_title(panel.title, loc="left", fontsize=9)
    axis.set_ylabel(panel.unit)
    axis.set_ylim(bottom=0)
    _finish(axis, panel.limit)


def _curves(axis: Any, panel: Curves) -> None:
    if not any(points for _, points in panel.curves):
        axis.axis("off")  # not measured, and a logarithmic axis needs a number
        return
    for index, (label, points) in enumerate(panel.curves):
        colour = _OURS if index == 0 else _THEIRS[index % len(_THEIRS)]
        axis.plot(
            [x for x, _ in points], [y for _, y in points], "o-", color=colour, label=label, markersize=4
        )
    axis.set_xscale("log")
    if panel.log_y:
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.set_title(panel.title, loc="left", fontsize=9)
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)
    axis.legend(fontsize=7, frameon=False)
    _finish(axis, panel.limit)


def _finish(axis: Any, limit: float | None) -> None:
    if limit is not None:
        axis.axhline(limit, color="black", linestyle="--", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", linewidth=0.3)
