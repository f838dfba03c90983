# SPDX-License-Identifier: Apache-2.0
"""The plots of the packet-path suite: one picture a wire, one panel a figure."""

from __future__ import annotations

import pathlib

from bench.core import plots, results, samples


def draw(result: results.Result, *, directory: pathlib.Path) -> list[pathlib.Path]:
    written: list[pathlib.Path] = []
    for condition in dict.fromkeys(sample.key.condition for sample in result.taken):
        panels = [
            panel for figure in result.figures if (panel := _panel(result, figure, condition)) is not None
        ]
        written += plots.draw(
            panels,
            result.taken,
            title=f"{result.title}, {condition} wire (medians; dots are repetitions)",
            path=directory / f"{result.suite}-{condition}",
        )
    return written


def _panel(result: results.Result, figure: samples.Figure, condition: str) -> plots.Bars | None:
    """The figure of all subjects that have it; first and direct round trip share a panel, the first one's."""
    if figure.name == "direct_us":
        return None
    subjects = list(dict.fromkeys(sample.key.subject for sample in result.taken))
    keys = [samples.Key(figure.name, subject, condition) for subject in subjects]
    labels = list(subjects)
    if figure.name == "first_us":
        keys += [samples.Key("direct_us", subject, condition) for subject in subjects]
        labels = [f"{subject}, first" for subject in subjects] + [
            f"{subject}, direct" for subject in subjects
        ]
    measured = [(key, label) for key, label in zip(keys, labels, strict=True) if result.taken.values(key)]
    if not measured:
        return None
    title = f"{figure.title} ({figure.better.value} is better)"
    return plots.Bars(
        title=title,
        unit=figure.unit,
        keys=[key for key, _ in measured],
        labels=[label for _, label in measured],
    )
