# SPDX-License-Identifier: Apache-2.0
"""The result file holds all that tables and plots need."""

from __future__ import annotations

import json
import pathlib

from bench.core import results, samples, targets

KEY = samples.Key("rate", "mizar", "gso")


def example() -> results.Result:
    result = results.Result(
        suite="path",
        title="Packet path",
        figures=(samples.Figure("rate", "Rate", "Gb/s", samples.Better.HIGHER),),
        targets=(targets.Target(key=KEY, relation=targets.Relation.AT_LEAST, factor=9.0),),
        skipped=[results.Skipped(subject="ovs", reason="not installed")],
        settings={"repetitions": 2},
    )
    for repetition, value in enumerate((9.0, 11.0)):
        result.taken.add(KEY, repetition=repetition, value=value)
    return result


def test_result_file_is_read_back(tmp_path: pathlib.Path) -> None:
    path = results.write(example(), directory=tmp_path, machine={"cpus": 2})
    content = json.loads(path.read_text(encoding="utf-8"))
    back = results.from_json(content)
    assert list(back.taken) == list(example().taken)
    assert back.evaluations() == example().evaluations()
    assert back.skipped == example().skipped


def test_result_file_names_machine_and_outcome() -> None:
    content = results.to_json(example(), machine={"cpus": 2})
    assert content["machine"] == {"cpus": 2}
    assert content["targets"][0]["outcome"] == "met"
    assert content["medians"][0]["median"] == 10.0
