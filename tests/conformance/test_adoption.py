# SPDX-License-Identifier: Apache-2.0
"""The kernel's data plane outlives its process: what a successor finds, keeps and replaces."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Final

import numpy as np
import pytest

from mizar import errors
from mizar.abi import layout
from mizar.dataplane import kernel, libbpf, links, maps
from mizar.dataplane.protocol import Hook, TransitMode

from .conftest import SIZES, Wire, compile_bpf

_VERSION: Final = f"v{layout.ABI_VERSION}"
"""Directory of this layout's pins."""


class Root:
    """A pin directory and the data planes that come and go on it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def open(self, objects: pathlib.Path = libbpf.OBJECTS) -> kernel.KernelDataPlane:
        return kernel.KernelDataPlane(self.path, SIZES, objects=objects)

    def link(self, name: str) -> links.LinkInfo:
        with links.Link.pinned(self.path / _VERSION / "links" / name) as link:
            return link.info()


@pytest.fixture
def root(pin_root: pathlib.Path) -> Iterator[Root]:
    found = Root(pin_root)
    yield found
    found.open().destroy()


def test_successor_finds_rows_and_the_same_programs(root: Root) -> None:
    first = root.open()
    first.update("mz_hosts", np.array([5]), layout.TABLES["mz_hosts"].values(1))
    before = {name: first.program(name).id for name in kernel.PROGRAMS}
    first.close()
    second = root.open()
    assert second.count("mz_hosts") == 1
    assert {name: second.program(name).id for name in kernel.PROGRAMS} == before
    second.close()


def test_successor_leaves_links_alone(root: Root, wire: Wire) -> None:
    first = root.open()
    first.attach_endpoint(wire.one)
    first.attach_transit(wire.two, TransitMode.XDP)
    names = (f"endpoint-tcx-{wire.one}", f"transit-tcx-{wire.two}", f"transit-xdp-{wire.two}")
    before = [root.link(name) for name in names]
    first.close()
    second = root.open()
    assert second.attached_endpoints() == {wire.one}
    second.attach_endpoint(wire.one)
    assert second.attach_transit(wire.two, TransitMode.XDP).hook is Hook.XDP
    assert [root.link(name) for name in names] == before
    second.close()


def test_new_programs_replace_old_ones_on_the_same_links(
    root: Root, wire: Wire, tmp_path: pathlib.Path
) -> None:
    other = _other_objects(tmp_path)
    first = root.open(other)
    first.attach_endpoint(wire.one)
    old = root.link(f"endpoint-tcx-{wire.one}")
    first.close()
    second = root.open()
    new = root.link(f"endpoint-tcx-{wire.one}")
    assert new.program_id == second.program(kernel.ENDPOINT).id != old.program_id
    assert new.ifindex == wire.one
    second.close()


def test_pin_of_a_gone_interface_is_cleared_away(root: Root, wire: Wire) -> None:
    plane = root.open()
    plane.attach_endpoint(wire.one)
    subprocess.run(["ip", "link", "del", "one"], check=True, timeout=10)
    assert plane.attached_endpoints() == set()
    assert list((root.path / _VERSION / "links").iterdir()) == []
    plane.detach_endpoint(wire.one)
    plane.close()


def test_map_of_another_layout_is_not_adopted(root: Root) -> None:
    root.open().close()
    pins = root.path / _VERSION / "maps"
    (pins / "mz_hosts").unlink()
    with maps.Map.pinned(pins / "mz_vpcs") as stranger:
        stranger.pin(pins / "mz_hosts")
    with pytest.raises(errors.KernelError, match="made by another version"):
        root.open()
    (pins / "mz_hosts").unlink()


def test_lost_pins_are_made_again(root: Root) -> None:
    root.open().close()
    (root.path / _VERSION / "maps" / "mz_hosts").unlink()
    (root.path / _VERSION / "progs" / "mz_endpoint").unlink()
    plane = root.open()
    with maps.Map.pinned(root.path / _VERSION / "maps" / "mz_hosts") as table:
        for name in kernel.PROGRAMS:
            assert table.id in plane.program(name).map_ids()
    plane.close()


def test_object_that_is_not_there_says_what_to_do(root: Root, tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.NotFoundError, match="make build"):
        root.open(tmp_path)


def test_program_that_the_verifier_refuses_is_explained(tmp_path: pathlib.Path) -> None:
    body = 'SEC("xdp") int past_the_end(struct xdp_md *ctx) { return *(int *)(long)ctx->data; }'
    compiled = tmp_path / "bad.bpf.o"
    compile_bpf(body, compiled)
    with libbpf.Object(compiled) as obj, pytest.raises(errors.KernelError) as caught:
        obj.load()
    assert "past_the_end" in str(caught.value)
    assert "outside of the packet" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "R1" in caught.value.log


def _other_objects(directory: pathlib.Path) -> pathlib.Path:
    """The data plane with an endpoint program that passes everything, as a version to upgrade from."""
    for path in libbpf.OBJECTS.glob("*.bpf.o"):
        shutil.copy(path, directory)
    body = 'SEC("tc") int mz_endpoint(struct __sk_buff *skb) { return -1; }'
    compile_bpf(body, directory / "endpoint.bpf.o")
    return directory
