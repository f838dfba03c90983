# SPDX-License-Identifier: Apache-2.0
"""Scaled endpoints as their users see them: who answers, what survives, and who is told no."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator, Sequence

import pytest

from mizar.lab import lab as lab_module
from tests.support import counters, netns, serving, tenants
from tests.support.labs import NewTenant

VIP = "10.0.1.100"
_ASKED = 32
"""Flows enough that none of two backends is left without one by chance: one run in 2 ** 31."""


@contextlib.contextmanager
def shop(tenant: tenants.Tenant, hosts: Sequence[str], **spec: object) -> Iterator[list[tenants.End]]:
    """Backends b0, b1, ... on these hosts, which serve, behind VIP port 80."""
    ends = [tenant.endpoint(f"b{i}", "web", host, f"10.0.1.{10 + i}") for i, host in enumerate(hosts)]
    wanted = {"backends": [{"name": end.short} for end in ends]} | spec
    tenant.scaled("shop", "web", VIP, ports=[{"port": 80, "targetPort": 8080}], **wanted)
    with contextlib.ExitStack() as serving_:
        tenant.ready()
        for end in ends:
            serving_.enter_context(serving.tcp(end, 8080))
        yield ends


def asked(client: tenants.Place, times: int = _ASKED) -> collections.Counter[str]:
    return collections.Counter(serving.ask(client, VIP, 80).name for _ in range(times))


@pytest.fixture
def tenant(lab_on_both: lab_module.Lab, new_tenant: NewTenant) -> tenants.Tenant:
    made = new_tenant(lab_on_both)
    made.network("web", "10.0.1.0/24")
    made.network("db", "10.0.2.0/24")
    made.ready()
    return made


def test_every_backend_gets_its_share_and_sees_the_client(tenant: tenants.Tenant) -> None:
    client = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    with shop(tenant, ["h2", "h3", "h4"]):
        found = asked(client, 120)
        assert set(found) == {"b0", "b1", "b2"}
        assert min(found.values()) >= 8  # 40 each, and 6 standard deviations below
        assert serving.ask(client, VIP, 80).client == client.address


def test_the_bouncer_sees_the_first_packet_of_a_flow_and_no_other(tenant: tenants.Tenant) -> None:
    (bouncer,) = tenant.bouncers("web")
    left, right = tenant.hosts_but(bouncer)[:2]
    client = tenant.endpoint("a", "web", left, "10.0.1.2")
    with shop(tenant, [right]):
        serving.ask(client, VIP, 80)  # the backend's place is known from here on
        since = counters.Since(tenant.lab, vpc=tenant.name)
        with serving.Connection(client, VIP, 80) as connection:
            for _ in range(20):
                assert connection.echoes()
        assert since.verdicts(bouncer).get("redirected") == 1
        assert since.verdicts(left).get("redirect_taken") == 1
        assert since.roles() == {f"bouncer web/{bouncer}": 1}


@pytest.mark.parametrize("together", ["none", "client", "backend", "ends", "all"])
def test_wherever_client_bouncer_and_backend_are(tenant: tenants.Tenant, together: str) -> None:
    """On hosts of their own, or the client, the backend or both beside the bouncer, or beside each other."""
    (bouncer,) = tenant.bouncers("web")
    first, second = tenant.hosts_but(bouncer)[:2]
    at_client, at_backend = {
        "none": (first, second),
        "client": (bouncer, second),
        "backend": (first, bouncer),
        "ends": (first, first),
        "all": (bouncer, bouncer),
    }[together]
    client = tenant.endpoint("a", "web", at_client, "10.0.1.2")
    other = tenant.endpoint("c", "db", at_client, "10.0.2.2")
    with shop(tenant, [at_backend]):
        for asking in (client, other):
            with serving.Connection(asking, VIP, 80) as connection:
                assert connection.peer == VIP
                assert connection.answer.client == asking.address
                assert connection.echoes(b"x" * 100_000)


def test_udp_with_another_target_port(tenant: tenants.Tenant) -> None:
    client = tenant.endpoint("a", "db", "h1", "10.0.2.2")
    backend = tenant.endpoint("b0", "web", "h3", "10.0.1.10")
    tenant.scaled(
        "dns",
        "web",
        VIP,
        ports=[{"port": 53, "targetPort": 5353, "protocol": "UDP"}],
        backends=[{"name": "b0"}],
    )
    tenant.ready()
    with serving.udp(backend, 5353):
        for _ in range(5):
            assert serving.ask_udp(client, VIP, 53).name == "b0"
        # Fragmented on the way there, once the flow's place is known.
        assert serving.ask_udp(client, VIP, 53, data=b"x" * 4000, tries=3).name == "b0"
    with pytest.raises(ConnectionRefusedError):  # the backend's own ICMP error, as if the service had sent it
        serving.ask_udp(client, VIP, 53)


def test_connections_outlive_what_was_learnt_and_the_bouncer(tenant: tenants.Tenant) -> None:
    tenant.network("far", "10.0.3.0/24", bouncers=1)
    tenant.ready()
    (bouncer,) = tenant.bouncers("web")
    left, right = tenant.hosts_but(bouncer)[:2]
    client = tenant.endpoint("a", "far", left, "10.0.3.2")
    with shop(tenant, [right, right]), serving.Connection(client, VIP, 80) as connection:
        agent = tenants.host(tenant.lab, bouncer)
        agent.run("ip", "link", "set", "eth0", "down")
        try:
            for _ in range(10):
                assert connection.echoes()
        finally:
            agent.run("ip", "link", "set", "eth0", "up")


def test_a_flow_that_starts_over_gets_the_same_backend(tenant: tenants.Tenant) -> None:
    """The choice follows from the flow alone."""
    client = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    servers = [tenant.endpoint(f"u{i}", "web", f"h{2 + i}", f"10.0.1.{20 + i}") for i in range(3)]
    tenant.scaled(
        "dns",
        "web",
        VIP,
        ports=[{"port": 53, "protocol": "UDP"}],
        backends=[{"name": end.short} for end in servers],
    )
    tenant.ready()
    with contextlib.ExitStack() as up:
        for end in servers:
            up.enter_context(serving.udp(end, 53))
        first = {
            port: serving.ask_udp(client, VIP, 53, source_port=port).name
            for port in range(4000, 4000 + _ASKED)
        }
        assert len(set(first.values())) > 1
        tenant.lab.stop_agent(client.host, kill=True)
        tenant.lab.start_agent(client.host)
        again = {port: serving.ask_udp(client, VIP, 53, source_port=port).name for port in first}
    assert again == first


def test_a_new_backend_is_used_and_running_connections_stay(tenant: tenants.Tenant) -> None:
    client = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    with shop(tenant, ["h2"]), serving.Connection(client, VIP, 80) as old:
        new = tenant.endpoint("b9", "web", "h3", "10.0.1.19")
        tenant.scaled(
            "shop",
            "web",
            VIP,
            ports=[{"port": 80, "targetPort": 8080}],
            backends=[{"name": "b0"}, {"name": "b9"}],
        )
        tenant.ready()
        with serving.tcp(new, 8080):
            assert set(asked(client)) == {"b0", "b9"}
            assert old.echoes()


def test_a_draining_backend_keeps_its_connections_and_gets_no_new_ones(tenant: tenants.Tenant) -> None:
    client = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    with shop(tenant, ["h2", "h3"]), contextlib.ExitStack() as held:
        connections = [held.enter_context(serving.Connection(client, VIP, 80)) for _ in range(_ASKED)]
        assert {one.answer.name for one in connections} == {"b0", "b1"}
        tenant.scaled(
            "shop",
            "web",
            VIP,
            ports=[{"port": 80, "targetPort": 8080}],
            backends=[{"name": "b0", "drain": True}, {"name": "b1"}],
        )
        tenant.ready()
        assert set(asked(client)) == {"b1"}
        assert all(one.echoes() for one in connections)


def test_udp_flows_stay_with_a_draining_backend_too(tenant: tenants.Tenant) -> None:
    """Although they ask their bouncer again, every five seconds."""
    client = tenant.endpoint("a", "db", "h1", "10.0.2.2")
    servers = [tenant.endpoint(f"u{i}", "web", f"h{2 + i}", f"10.0.1.{20 + i}") for i in range(2)]
    ports = [{"port": 53, "protocol": "UDP"}]
    tenant.scaled("dns", "web", VIP, ports=ports, backends=[{"name": end.short} for end in servers])
    tenant.ready()

    def names(first: int) -> list[str]:
        own = range(first, first + _ASKED)
        return [serving.ask_udp(client, VIP, 53, source_port=port).name for port in own]

    with contextlib.ExitStack() as up:
        for end in servers:
            up.enter_context(serving.udp(end, 53))
        before = names(4000)
        assert set(before) == {"u0", "u1"}
        backends = [{"name": "u0", "drain": True}, {"name": "u1"}]
        tenant.scaled("dns", "web", VIP, ports=ports, backends=backends)
        tenant.ready()
        (bouncer,) = tenant.bouncers("web")
        since = counters.Since(tenant.lab)
        netns.until(
            lambda: names(4000) == before and since.verdicts(bouncer)["redirected"] >= _ASKED,
            "all flows have asked again",
        )
        assert set(names(5000)) == {"u1"}


def test_no_backend_and_no_such_port_are_refused_at_once(tenant: tenants.Tenant) -> None:
    client = tenant.endpoint("a", "db", "h1", "10.0.2.2")
    tenant.scaled("shop", "web", VIP, ports=[80, {"port": 53, "protocol": "UDP"}], backends=[])
    tenant.ready()
    for port in (80, 81):
        with pytest.raises(ConnectionRefusedError):
            serving.ask(client, VIP, port)
    for port in (53, 54):
        with pytest.raises(ConnectionRefusedError):
            serving.ask_udp(client, VIP, port)


def test_an_unhealthy_backend_is_left_and_comes_back(tenant: tenants.Tenant) -> None:
    client = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    check = {"type": "tcp", "intervalSeconds": 1, "timeoutSeconds": 1, "failures": 1, "successes": 1}
    ends = [tenant.endpoint(f"b{i}", "web", f"h{2 + i}", f"10.0.1.{10 + i}") for i in range(2)]
    tenant.scaled(
        "shop",
        "web",
        VIP,
        ports=[{"port": 80, "targetPort": 8080}],
        backends=[{"name": end.short} for end in ends],
        healthCheck=check,
    )
    tenant.ready()

    def health() -> dict[str, str]:
        return {one["name"]: one["state"] for one in tenant.status("Endpoint", "shop")["backends"]}

    def answer() -> set[str]:
        with contextlib.suppress(ConnectionRefusedError):
            return set(asked(client))
        return set()

    with serving.tcp(ends[0], 8080):
        netns.until(lambda: health() == {"b0": "healthy", "b1": "unhealthy"}, "b1 is found out")
        netns.until(lambda: answer() == {"b0"}, "b1 is left")
        with serving.tcp(ends[1], 8080):
            netns.until(lambda: health() == {"b0": "healthy", "b1": "healthy"}, "b1 is back")
            netns.until(lambda: answer() == {"b0", "b1"}, "b1 is asked again")
    netns.until(lambda: set(health().values()) == {"unhealthy"}, "both are found out")
    netns.until(lambda: not answer(), "nobody is asked")

    with pytest.raises(ConnectionRefusedError):
        serving.ask(client, VIP, 80)


def test_a_client_keeps_its_backend_with_affinity(tenant: tenants.Tenant) -> None:
    clients = [tenant.endpoint(f"a{i}", "db", f"h{1 + i % 4}", f"10.0.2.{2 + i}") for i in range(6)]
    affinity = {"sessionAffinity": {"timeoutSeconds": 600}}
    with shop(tenant, ["h1", "h2", "h3"], **affinity):
        chosen = {client.short: asked(client, 8) for client in clients}
        assert all(len(names) == 1 for names in chosen.values())
        new = tenant.endpoint("b9", "web", "h4", "10.0.1.19")
        tenant.scaled(
            "shop",
            "web",
            VIP,
            ports=[{"port": 80, "targetPort": 8080}],
            backends=[{"name": name} for name in ("b0", "b1", "b2", "b9")],
            **affinity,
        )
        tenant.ready()
        with serving.tcp(new, 8080):
            again = {client.short: asked(client, 2) for client in clients}
    assert {name: set(found) for name, found in again.items()} == {
        name: set(found) for name, found in chosen.items()
    }


def test_a_backend_reaches_itself_by_the_service(tenant: tenants.Tenant) -> None:
    with shop(tenant, ["h2"]) as (backend,), serving.Connection(backend, VIP, 80) as connection:
        assert connection.answer.name == "b0"
        assert connection.answer.client == VIP
        assert connection.echoes(b"y" * 50_000)


def test_a_selector_follows_labels(tenant: tenants.Tenant) -> None:
    client = tenant.endpoint("a", "web", "h1", "10.0.1.2")
    tenant.endpoint("b0", "web", "h2", "10.0.1.10")
    tenant.label("b0", app="shop")
    tenant.scaled("shop", "web", VIP, ports=[80], backendSelector={"app": "shop"})
    tenant.ready()
    one = tenants.End(f"mizar.{tenant.name}.b0", "10.0.1.10", f"{tenant.name}/b0", "h2")
    with serving.tcp(one, 80):
        assert set(asked(client, 4)) == {"b0"}
        two = tenant.endpoint("b1", "db", "h3", "10.0.2.10")
        tenant.label("b1", app="shop")
        tenant.ready()
        with serving.tcp(two, 80):
            netns.until(lambda: set(asked(client)) == {"b0", "b1"}, "both are asked")
            tenant.label("b1")
            tenant.ready()
            netns.until(lambda: set(asked(client)) == {"b0"}, "b1 is asked no more")


def test_the_service_is_of_one_tenant(
    lab_on_both: lab_module.Lab, new_tenant: NewTenant, tenant: tenants.Tenant
) -> None:
    """Two tenants, the same addresses, ports and names."""
    other = new_tenant(lab_on_both)
    other.network("web", "10.0.1.0/24")
    clients = {}
    with contextlib.ExitStack() as up:
        for one in (tenant, other):
            clients[one.name] = one.endpoint("a", "web", "h1", "10.0.1.2")
            backend = one.endpoint("b0", "web", "h2", "10.0.1.10")
            one.scaled("shop", "web", VIP, ports=[80], backends=[{"name": "b0"}])
            one.ready()
            up.enter_context(serving.tcp(backend, 80, name=backend.name))
        for name, client in clients.items():
            assert serving.ask(client, VIP, 80, source_port=5000).name == f"{name}/b0"
