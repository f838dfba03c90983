# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch sends Geneve to Mizar hosts and receives theirs, options included.

It is a listed host without an agent, and its pod is an endpoint of the VPC: bouncers know where it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import pytest

from mizar.lab import config, topology
from mizar.lab import lab as lab_module
from mizar.model import kinds
from tests.support import capture, counters, netns, openvswitch, tenants, traffic
from tests.support.labs import NewTenant

ROUTER_MAC = "02:4d:5a:00:00:01"
ADDRESS = "172.30.0.66"
_POD = "10.0.1.66"


@dataclasses.dataclass(frozen=True)
class _Scene:
    tenant: tenants.Tenant
    near: tenants.End
    """On the Mizar host that the switch sends to."""
    pod: tenants.End


@pytest.fixture
def scene(lab: lab_module.Lab, new_tenant: NewTenant, tmp_path: pathlib.Path) -> Iterator[_Scene]:
    tenant = new_tenant(lab)
    with _listed(lab), contextlib.ExitStack() as made:
        tenant.network("web", "10.0.1.0/24")
        tenant.ready()
        (host, *_) = tenant.hosts_but(*tenant.bouncers("web"))
        near = tenant.endpoint("near", "web", host, "10.0.1.2")
        tenant.ready()
        switch = made.enter_context(openvswitch.switch(ADDRESS, topology.PREFIX.prefixlen, tmp_path))
        mtu = lab.config.mtu - config.ENVELOPE
        pod = made.enter_context(openvswitch.pod(switch, address=_POD, mtu=mtu, router_mac=ROUTER_MAC))
        switch.connect(pod, vni=tenant.vni, peer=lab.host(host).address)
        end = tenant.endpoint("pod", "web", "ovs", _POD)
        tenant.apply()
        yield _Scene(tenant, near, dataclasses.replace(end, netns=pod.where.name))
        tenant.delete(end)


@contextlib.contextmanager
def _listed(lab: lab_module.Lab) -> Iterator[None]:
    """A host that nobody can configure, and that takes no role."""
    ref = kinds.Ref(kinds.HOST, None, "ovs")
    spec = {"addresses": [ADDRESS], "agent": "unix:///run/nobody.sock", "unschedulable": True}
    lab.client.apply(
        [{"apiVersion": kinds.API_VERSION, "kind": "Host", "metadata": {"name": "ovs"}, "spec": spec}]
    )
    try:
        yield
    finally:
        lab.client.delete(ref)
        lab.client.wait_gone([ref], timeout=tenants.READY_SECONDS)


def test_open_vswitch_sends_to_an_endpoint_and_is_answered(scene: _Scene) -> None:
    netns.until(lambda: traffic.reaches(scene.pod, scene.near.address), "Open vSwitch forwards")
    assert traffic.reaches(scene.pod, scene.near.address, count=10)
    traffic.exchange(scene.pod, scene.near, megabytes=1)


def test_endpoint_reaches_open_vswitch_by_a_bouncer_and_learns_it(
    scene: _Scene, tmp_path: pathlib.Path
) -> None:
    """The bounced packet carries an option that Open vSwitch has never heard of."""
    lab = scene.tenant.lab
    netns.until(lambda: _POD in _located(scene), "the bouncer knows the pod")
    since = counters.Since(lab, vpc=scene.tenant.name)
    with capture.Capture(capture.Cable(tenants.Place(topology.UNDERLAY, ""), "ovs")) as wire:
        netns.until(lambda: traffic.reaches(scene.near, _POD), "Open vSwitch forwards")
        carried = since.bouncers()
        assert carried >= 1
        assert traffic.reaches(scene.near, _POD, count=10)
    assert since.bouncers() == carried
    requests = wire.decoded("geneve.option.class == 0xff4d && icmp.type == 8", tmp_path)
    with_option = [packet for packet in requests if packet.outer("ip_dst") == ADDRESS]
    answers = wire.decoded("geneve && icmp.type == 0", tmp_path)
    assert len(with_option) == carried
    assert len(answers) >= 11
    assert all(packet.complaints == [] for packet in (*with_option, *answers))


def _located(scene: _Scene) -> set[str]:
    (bouncer,) = scene.tenant.bouncers("web")
    vni = scene.tenant.vni
    return {
        row["address"] for row in scene.tenant.lab.client.table(bouncer, "locations") if row["vni"] == vni
    }
