# SPDX-License-Identifier: Apache-2.0
"""The result file of a suite: machine, versions, settings, every sample, every target."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from bench.core import samples
from bench.core import targets as goals


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """A subject that could not be measured, and why."""

    subject: str
    reason: str


@dataclasses.dataclass(slots=True)
class Result:
    """What one suite brought to light."""

    suite: str
    title: str
    figures: Sequence[samples.Figure]
    targets: Sequence[goals.Target]
    taken: samples.Samples = dataclasses.field(default_factory=samples.Samples)
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    settings: dict[str, object] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def figure(self, name: str) -> samples.Figure:
        return next(figure for figure in self.figures if figure.name == name)

    def evaluations(self) -> list[goals.Evaluation]:
        return [goals.evaluate(target, self.taken) for target in self.targets]


def write(result: Result, *, directory: pathlib.Path, machine: Mapping[str, object]) -> pathlib.Path:
    """Write `<suite>.json`; the path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.suite}.json"
    path.write_text(json.dumps(to_json(result, machine=machine), indent=1) + "\n", encoding="utf-8")
    return path


def to_json(result: Result, *, machine: Mapping[str, object]) -> dict[str, Any]:
    return {
        "suite": result.suite,
        "title": result.title,
        "taken_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": dict(machine),
        "settings": result.settings,
        "figures": [
            {**dataclasses.asdict(figure), "better": figure.better.value} for figure in result.figures
        ],
        "medians": [_median(result.taken, key) for key in result.taken.keys()],  # noqa: SIM118 (not a mapping)
        "targets": [_target(evaluation) for evaluation in result.evaluations()],
        "skipped": [dataclasses.asdict(skipped) for skipped in result.skipped],
        "notes": result.notes,
        "samples": [
            {**dataclasses.asdict(sample.key), "repetition": sample.repetition, "value": sample.value}
            for sample in result.taken
        ],
    }


def from_json(content: Mapping[str, Any]) -> Result:
    """The inverse of `to_json`, as far as plots and tables need it."""
    figures = [
        samples.Figure(**{**row, "better": samples.Better(row["better"])}) for row in content["figures"]
    ]
    taken = samples.Samples(
        samples.Sample(
            key=samples.Key(figure=row["figure"], subject=row["subject"], condition=row["condition"]),
            repetition=row["repetition"],
            value=row["value"],
        )
        for row in content["samples"]
    )
    return Result(
        suite=content["suite"],
        title=content["title"],
        figures=figures,
        targets=[_target_from(row) for row in content["targets"]],
        taken=taken,
        skipped=[Skipped(**row) for row in content["skipped"]],
        settings=dict(content["settings"]),
        notes=list(content["notes"]),
    )


def _median(taken: samples.Samples, key: samples.Key) -> dict[str, Any]:
    return {**dataclasses.asdict(key), "median": taken.median(key), "spread": taken.spread(key)}


def _target(evaluation: goals.Evaluation) -> dict[str, Any]:
    target = evaluation.target
    return {
        "key": dataclasses.asdict(target.key),
        "relation": target.relation.value,
        "factor": target.factor,
        "peer": dataclasses.asdict(target.peer) if target.peer else None,
        "measured": evaluation.measured,
        "outcome": evaluation.outcome.value,
    }


def _target_from(row: Mapping[str, Any]) -> goals.Target:
    return goals.Target(
        key=samples.Key(**row["key"]),
        relation=goals.Relation(row["relation"]),
        factor=row["factor"],
        peer=samples.Key(**row["peer"]) if row["peer"] else None,
    )
