# SPDX-License-Identifier: Apache-2.0
"""What a lab may be asked to be."""

from __future__ import annotations

import pathlib

import pytest

from mizar import errors
from mizar.abi import layout
from mizar.lab import config, topology


def test_envelope_is_that_of_the_data_plane() -> None:
    assert config.ENVELOPE == layout.ENVELOPE


def test_mtu_too_small_for_the_tunnel_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(errors.InvalidError, match=r"MTU 639 is too small to carry the tunnel.*640 to 65535"):
        config.LabConfig(mtu=639).check()


@pytest.mark.parametrize("wanted", [{"mtu": 640}, {"mtu": 65535}, {"hosts": 1}, {"hosts": config.MAX_HOSTS}])
def test_bounds_are_allowed(wanted: dict[str, int]) -> None:
    config.LabConfig(**wanted).check()  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [{"mtu": 65536}, {"hosts": 0}, {"hosts": config.MAX_HOSTS + 1}])
def test_beyond_bounds_is_refused(wanted: dict[str, int]) -> None:
    with pytest.raises(errors.InvalidError):
        config.LabConfig(**wanted).check()  # type: ignore[arg-type]


def test_configuration_survives_json() -> None:
    wanted = config.LabConfig(
        hosts=7,
        manifest=pathlib.Path("/x.yaml"),
        transit=config.Transit.XDP,
        wire=config.Wire.SEGMENTING,
        mtu=9000,
    )
    assert config.from_json(wanted.as_json()) == wanted


def test_names_and_addresses_follow_from_the_number() -> None:
    first = topology.of(config.LabConfig(hosts=2)).hosts[0]
    assert (first.name, first.netns, first.address, first.interface) == (
        "h1",
        "mizar-h1",
        "172.30.0.11",
        "eth0",
    )


def test_addresses_of_the_largest_lab_are_all_different() -> None:
    machines = topology.of(config.LabConfig(hosts=config.MAX_HOSTS)).machines
    assert len({machine.address for machine in machines}) == len(machines)
    assert len({machine.port for machine in machines}) == len(machines)
