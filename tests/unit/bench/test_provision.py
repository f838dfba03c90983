# SPDX-License-Identifier: Apache-2.0
"""Targets and curves of the provisioning suite, and the page of results. Pure."""

from __future__ import annotations

import pathlib

from bench.core import markdown, results, samples, targets
from bench.provision import drawing, figures

SIZES = (10, 1_000)


def example() -> results.Result:
    result = results.Result(
        suite="provision",
        title="Provisioning",
        figures=figures.FIGURES,
        targets=tuple(figures.goals(SIZES)),
        skipped=[results.Skipped(subject="full mesh", reason="too many hosts\nfor this machine")],
    )
    for size in SIZES:
        where = figures.size(size)
        result.taken.add(figures.at("writes", where), repetition=0, value=2.0)
        result.taken.add(figures.at("one_p50", where), repetition=0, value=4.0)
    return result


def outcome(result: results.Result, figure: str, size: int) -> set[targets.Outcome]:
    key = figures.at(figure, figures.size(size))
    return {one.outcome for one in result.evaluations() if one.target.key == key}


def test_writes_per_endpoint_are_the_replicas_and_its_own_host() -> None:
    assert outcome(example(), "writes", 1_000) == {targets.Outcome.MET}


def test_every_target_names_a_known_figure() -> None:
    known = {figure.name for figure in figures.FIGURES}
    assert {target.key.figure for target in figures.goals(SIZES)} <= known


def test_what_was_not_measured_is_open() -> None:
    assert outcome(example(), "bulk", 1_000) == {targets.Outcome.NOT_MEASURED}


def test_plots_are_drawn_from_whatever_sizes_there_are(tmp_path: pathlib.Path) -> None:
    drawn = drawing.draw(example(), directory=tmp_path)
    assert {path.suffix for path in drawn} == {".png", ".svg"}
    assert all(path.stat().st_size for path in drawn)


def test_page_has_medians_targets_reasons_and_plots() -> None:
    machine = dict.fromkeys(("cpu", "cpus", "memory_mib", "kernel", "distribution", "clocksource"), "some")
    stamp = {"taken_at": "now", "machine": {**machine, "load_average_before": (0.1, 0.1, 0.1)}}
    page = markdown.page([example()], stamps=[stamp], plots=["img/bench/provision-endpoints.svg"])
    assert "| table writes per new endpoint, rows | 2 |" in page
    assert "| one endpoint to ready, p50 | mizar | 10 endpoints | <= 5 | 4 ms | met |" in page
    assert "Left out: full mesh: too many hosts" in page
    assert "![Provisioning](img/bench/provision-endpoints.svg)" in page


def test_curves_over_hosts_have_one_line_a_subject() -> None:
    result = example()
    for subject in (figures.MIZAR, figures.MESH):
        key = samples.Key("mesh_writes", subject, figures.hosts(10))
        result.taken.add(key, repetition=0, value=1.0)
    lines = {sample.key.subject for sample in result.taken if sample.key.figure == "mesh_writes"}
    assert lines == {figures.MIZAR, figures.MESH}
