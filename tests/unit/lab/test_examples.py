# SPDX-License-Identifier: Apache-2.0
"""Every example is a manifest that may be applied, and says what it shows."""

from __future__ import annotations

import pathlib

import pytest

from mizar.client import manifests
from mizar.lab import config, demo, topology
from mizar.model import reading
from mizar.store import protocol, sqlite

EXAMPLES = sorted((pathlib.Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_valid_and_explains_itself(path: pathlib.Path) -> None:
    assert manifests.read(path)
    comment = path.read_text().splitlines()[:12]
    assert any("mizar lab up" in line for line in comment), "how to run it"


def test_examples_are_numbered_without_gaps() -> None:
    assert [int(path.name[:2]) for path in EXAMPLES] == list(range(1, len(EXAMPLES) + 1))


def test_demo_shows_the_example() -> None:
    assert demo.MANIFEST in EXAMPLES


def test_examples_may_be_applied_together(tmp_path: pathlib.Path) -> None:
    """On the hosts of a lab: what they refer to is there, and none is in the way of another."""
    hosts = [
        {
            "kind": "Host",
            "metadata": {"name": machine.name},
            "spec": {"addresses": [machine.address], "agent": f"unix:///{machine.name}"},
        }
        for machine in topology.of(config.LabConfig(hosts=4)).hosts
    ]
    store = sqlite.SqliteStore(tmp_path / "store.db", clock=lambda: 0.0)
    store.apply(reading.read_many(hosts))
    for path in EXAMPLES:
        wanted = reading.read_many(manifests.read(path))
        assert {one.outcome for one in store.apply(wanted).results} == {protocol.Outcome.CREATED}, path.name
    store.close()
