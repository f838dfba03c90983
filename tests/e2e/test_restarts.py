# SPDX-License-Identifier: Apache-2.0
"""Daemons that stop, crash and come back: packets do not notice, and nothing acknowledged is forgotten."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from mizar import errors
from mizar.agent import namespaces
from mizar.client import api
from mizar.lab import lab as lab_module
from mizar.model import kinds
from tests.support import netns, tenants, traffic
from tests.support.labs import NewTenant


@contextlib.contextmanager
def _agents_down(lab: lab_module.Lab, *hosts: str, kill: bool) -> Iterator[None]:
    """Their agents end, and run again after the block."""
    for host in hosts:
        lab.stop_agent(host, kill=kill)
    try:
        yield
    finally:
        for host in hosts:
            lab.start_agent(host)
        lab.client.wait_ready([kinds.Ref(kinds.HOST, None, host) for host in hosts], timeout=30)


def _hosts(lab: lab_module.Lab) -> list[str]:
    return [machine.name for machine in lab.topology.hosts]


# ---------------------------------------------------------------- agents


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "kill-9"])
def test_all_agents_restart_and_no_packet_is_lost(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant, kill: bool
) -> None:
    """On the direct path and on the way by divider and bouncer."""
    tenant = new_tenant(lab_on_both)
    tenant.network("web", "10.0.1.0/24")
    tenant.network("db", "10.0.2.0/24", bouncers=2)
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "db", "h2", "10.0.2.3")
    c = tenant.endpoint("c", "db", "h3", "10.0.2.4")
    tenant.ready()
    forget = traffic.forgetter(tenant, a, c)
    with traffic.Stream(a, b) as direct, traffic.Stream(a, c, each=forget) as first:
        tenant.until_host_of(a, b.address, "h2")
        with _agents_down(lab_on_both, *_hosts(lab_on_both), kill=kill):
            direct.until_more(100)
            first.until_more(100)
        direct.until_more(100)
        first.until_more(100)
    assert direct.lost == []
    assert first.lost == []


def test_agent_that_was_away_catches_up(lab: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(lab)
    tenant.network("web", "10.0.1.0/24")
    tenant.ready()
    away = tenant.hosts_but(*tenant.bouncers("web"), *tenant.dividers())[0]
    (other, *_) = tenant.hosts_but(away)
    a = tenant.endpoint("a", "web", other, "10.0.1.2")
    stays = tenant.endpoint("stays", "web", away, "10.0.1.3")
    goes = tenant.endpoint("goes", "web", away, "10.0.1.4")
    tenant.ready()
    with _agents_down(lab, away, kill=True):
        tenant.delete(goes, wait=False)
        comes = tenant.endpoint("comes", "web", away, "10.0.1.5")
        beside = tenant.endpoint("beside", "web", other, "10.0.1.6")
        tenant.apply()
        lab.client.wait_ready([kinds.Ref(kinds.ENDPOINT, tenant.name, "beside")], timeout=10)
        netns.until(lambda: away in _why_not_ready(lab, comes), f"the reason names {away}")
        assert traffic.reaches(a, stays.address, count=3)
        assert traffic.reaches(a, beside.address, count=3)
    tenant.ready()
    assert traffic.reaches(a, comes.address, count=3)
    lab.client.wait_gone([kinds.Ref(kinds.ENDPOINT, tenant.name, "goes")], timeout=10)
    netns.until(
        lambda: not namespaces.path_of(goes.netns).exists(), "the deleted endpoint's namespace is gone"
    )


def _why_not_ready(lab: lab_module.Lab, end: tenants.End) -> str:
    found = lab.client.get(kinds.Ref(kinds.ENDPOINT, *end.name.split("/")))["status"]
    assert not found["ready"]
    return " ".join(condition["message"] for condition in found["conditions"])


def test_role_moves_to_other_hosts_while_its_agent_is_away(
    lab: lab_module.Lab, new_tenant: NewTenant
) -> None:
    """A bouncer that cannot be told stays in use by nobody once the others know better."""
    tenant = new_tenant(lab)
    tenant.network("web", "10.0.1.0/24")
    tenant.ready()
    (bouncer,) = tenant.bouncers("web")
    left, right = tenant.hosts_but(bouncer)[:2]
    a = tenant.endpoint("a", "web", left, "10.0.1.2")
    b = tenant.endpoint("b", "web", right, "10.0.1.3")
    tenant.ready()
    with _agents_down(lab, bouncer, kill=True):
        assert traffic.reaches(a, b.address)
        forget = traffic.forgetter(tenant, a, b)
        with traffic.Stream(a, b, each=forget) as stream:
            tenant.network("web", "10.0.1.0/24", bouncers=3, replicas=3)
            tenant.apply()
            stream.until_more(200)
        assert stream.lost == []
    tenant.ready()
    assert len(tenant.bouncers("web")) == 3


# ---------------------------------------------------------------- the controller


@contextlib.contextmanager
def _controller_restarted(lab: lab_module.Lab) -> Iterator[None]:
    """Killed before the block, running after it."""
    lab.stop_controller(kill=True)
    try:
        yield
    finally:
        lab.start_controller()
        netns.until(lab.client.healthy, "the controller answers")


def test_controller_killed_in_bulk_apply_loses_nothing_acknowledged(
    lab: lab_module.Lab, new_tenant: NewTenant
) -> None:
    tenant = new_tenant(lab)
    tenant.network("web", "10.0.1.0/24", bouncers=2)
    tenant.ready()
    bulks = [_bulk(tenant, number) for number in range(30)]
    acknowledged: list[api.Objects] = []
    under_way: list[api.Objects] = []

    def apply_all() -> None:
        with contextlib.suppress(errors.MizarError):
            for bulk in bulks:
                under_way[:] = [bulk]
                lab.client.apply(bulk)
                acknowledged.append(bulk)
            under_way.clear()

    thread = threading.Thread(target=apply_all)
    thread.start()
    netns.until(lambda: len(acknowledged) >= 3, "some are acknowledged")
    with _controller_restarted(lab):
        thread.join()
    assert len(acknowledged) < len(bulks)
    stored = {obj["metadata"]["name"]: obj for obj in lab.client.list(kinds.ENDPOINT, vpc=tenant.name)}
    for bulk in acknowledged:
        assert {obj["metadata"]["name"] for obj in bulk} <= stored.keys()
    for bulk in under_way:
        assert len({obj["metadata"]["name"] for obj in bulk} & stored.keys()) in (0, len(bulk))
    addresses = [obj["status"]["addresses"][0] for obj in stored.values()]
    assert len(set(addresses)) == len(addresses)
    refs = [kinds.Ref(kinds.ENDPOINT, tenant.name, name) for name in stored]
    lab.client.wait_ready(refs, timeout=tenants.READY_SECONDS)
    first, second = (api.ref_of(acknowledged[0][n]) for n in (0, 1))
    a, b = _end(lab, first), _end(lab, second)
    assert traffic.reaches(a, b.address, count=3)
    lab.client.delete_all(list(stored.values()))
    lab.client.wait_gone(refs, timeout=tenants.READY_SECONDS)


def _bulk(tenant: tenants.Tenant, number: int) -> api.Objects:
    """Endpoints that ask for no address in particular."""
    return [
        {
            "apiVersion": kinds.API_VERSION,
            "kind": "Endpoint",
            "metadata": {"name": f"e{number}-{host}", "vpc": tenant.name},
            "spec": {"network": "web", "host": host},
        }
        for host in tenant.hosts_but()
    ]


def _end(lab: lab_module.Lab, ref: kinds.Ref) -> tenants.End:
    found = lab.client.get(ref)
    return tenants.End(
        netns=lab.endpoint_netns(ref.full_name),
        address=found["status"]["addresses"][0],
        name=ref.full_name,
        host=found["spec"]["host"],
    )


def test_controller_restart_is_not_noticed_by_packets(lab: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(lab)
    tenant.network("web", "10.0.1.0/24", bouncers=2)
    tenant.network("db", "10.0.2.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    b = tenant.endpoint("b", "db", "h2", "10.0.2.3")
    tenant.ready()
    forget = traffic.forgetter(tenant, a, b)
    with traffic.Stream(a, b, each=forget) as stream:
        with _controller_restarted(lab):
            stream.until_more(100)
        lab.client.wait_ready(
            [kinds.Ref(kinds.HOST, None, host) for host in _hosts(lab)], timeout=tenants.READY_SECONDS
        )
        stream.until_more(200)
    assert stream.lost == []


def test_deletion_goes_on_after_the_controller_was_killed(lab: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(lab)
    tenant.network("web", "10.0.1.0/24")
    ends = [tenant.endpoint(f"e{n}", "web", host, f"10.0.1.{n}") for n, host in enumerate(_hosts(lab), 2)]
    tenant.ready()
    refs = [kinds.Ref(kinds.ENDPOINT, tenant.name, end.short) for end in ends]
    tenant.delete(*ends, wait=False)
    with _controller_restarted(lab):
        pass
    lab.client.wait_gone(refs, timeout=tenants.READY_SECONDS)
    for end in ends:
        assert not namespaces.path_of(end.netns).exists()
        vni = tenant.vni
        assert vni not in {row["vni"] for row in lab.client.table(end.host, "endpoints")}


def test_change_made_while_both_were_away_arrives(lab: lab_module.Lab, new_tenant: NewTenant) -> None:
    tenant = new_tenant(lab)
    tenant.network("web", "10.0.1.0/24")
    a = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    tenant.ready()
    with _agents_down(lab, "h2", kill=True):
        b = tenant.endpoint("b", "web", "h2", "10.0.1.3")
        tenant.apply()
        with _controller_restarted(lab):
            pass
    tenant.ready()
    assert traffic.reaches(a, b.address, count=3)
