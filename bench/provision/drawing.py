# SPDX-License-Identifier: Apache-2.0
"""The plots of the provisioning suite: what grows with the VPC, and what with the cluster."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from bench.core import plots, results, samples
from bench.provision import figures

_OVER_ENDPOINTS = ("bulk", "one_p50", "one_p99", "writes", "memory", "agent_memory")
_OVER_HOSTS = ("mesh_writes", "mesh_one")


def draw(result: results.Result, *, directory: pathlib.Path) -> list[pathlib.Path]:
    written = plots.draw(
        [_curves(result, name, "endpoints", figures.size, (figures.MIZAR,)) for name in _OVER_ENDPOINTS],
        result.taken,
        title="Provisioning over the size of the VPC",
        path=directory / "provision-endpoints",
    )
    subjects = (figures.MIZAR, figures.MESH)
    written += plots.draw(
        [_curves(result, name, "hosts", figures.hosts, subjects) for name in _OVER_HOSTS],
        result.taken,
        title="One endpoint over the size of the cluster: Mizar and every host told of every endpoint",
        path=directory / "provision-mesh",
    )
    return written


def _curves(
    result: results.Result, name: str, axis: str, condition: Callable[[int], str], subjects: tuple[str, ...]
) -> plots.Curves:
    figure = result.figure(name)
    curves = [(subject, _points(result, name, axis, condition, subject)) for subject in subjects]
    return plots.Curves(
        title=figure.title,
        x_label=axis,
        y_label=figure.unit,
        curves=curves,
        log_y=len(subjects) > 1,
    )


def _points(
    result: results.Result, name: str, axis: str, condition: Callable[[int], str], subject: str
) -> list[tuple[float, float]]:
    points = []
    for power in range(7):
        for digit in (1, 2, 5):
            number = digit * 10**power
            median = result.taken.median(samples.Key(name, subject, condition(number)))
            if median is not None:
                points.append((float(number), median))
    return points
