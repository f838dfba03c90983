# SPDX-License-Identifier: Apache-2.0
"""The life of flows through gateways, program by program.

    A 10.0.1.2 on H1      H2, H3 gateways of both VPCs      H4 divides and bounces, B 10.0.1.3 is there
                                     |
                          X 203.0.113.5 outside

VPC 6 has the same addresses as VPC 5. O2, O3: outside addresses of H2 and H3 for source NAT. F: B's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from scapy.layers import inet

from mizar.abi.layout import ConfigFlags, FlowKind, FlowState, HostFlags, RouteKind, Table, VpcFlags
from mizar.abi.verdicts import Verdict
from tests.bpf import clones, world
from tests.bpf.cluster import Cluster, Step
from tests.support import machine as machines
from tests.support import netns, packets
from tests.support.machine import Hook, Machine, number

H1, H2, H3, H4 = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
HOSTS: Final = (H1, H2, H3, H4)
A, B, V = "10.0.1.2", "10.0.1.3", "10.0.1.100"
MACS: Final = {A: "02:00:00:00:00:0a", B: "02:00:00:00:00:0b"}
O2, O3, F, X, ROUTER = "198.51.100.2", "198.51.100.3", "198.51.100.20", "203.0.113.5", "203.0.113.1"
OUTSIDE: Final = {H2: O2, H3: O3}
VNI, OTHER = 5, 6
PREFIX, NETWORK, SHARDS, GATEWAYS = "10.0.1.0/24", 11, 4, 99
TCP, UDP, ICMP = 6, 17, 1


@pytest.fixture(params=[Hook.TC, Hook.XDP], ids=["tcx", "xdp"])
def cluster(
    request: pytest.FixtureRequest, four: dict[str, Machine], loopback: netns.Namespace
) -> Iterator[Cluster]:
    """Both VPCs, with both gateways."""
    with loopback.entered(), clones.Tap() as tap:
        for host, machine in four.items():
            machine.clear()
            flags = ConfigFlags.GATEWAY if host in OUTSIDE else 0
            machine.config(host, mac=world.NIC_MAC, flags=flags)
            for other in HOSTS:
                self = HostFlags.SELF if other == host else 0
                machine.host(other, nexthop=other, mac="02:aa:00:00:00:09", flags=self)
        made = Cluster(four, request.param, tap)
        for vni in (VNI, OTHER):
            lay_out(made, vni)
        for host, addr in OUTSIDE.items():
            be_gateway(made, host, addr)
        yield made


def lay_out(cluster: Cluster, vni: int) -> None:
    """Rows of the VPC on all hosts; A on H1, B on H4, known to the bouncer there."""
    for host, machine in cluster.machines.items():
        flags = VpcFlags.DIVIDER | VpcFlags.BOUNCER if host == H4 else VpcFlags.ENDPOINTS
        machine.vpc(vni, dividers=[H4], flags=flags)
        machine.route(vni, "10.0.0.0/16", RouteKind.NONE if host == H4 else RouteKind.DIVIDER)
        machine.route(vni, PREFIX, RouteKind.NETWORK, network=NETWORK + vni, shards=SHARDS)
        machine.shards(NETWORK + vni, SHARDS, [H4])
        machine.route(vni, "0.0.0.0/0", RouteKind.GATEWAY, network=GATEWAYS)
        machine.shard(GATEWAYS, 0, OUTSIDE)
    attach(cluster, A, H1, vni=vni)
    attach(cluster, B, H4, vni=vni)


def attach(cluster: Cluster, addr: str, host: str, *, vni: int = VNI) -> None:
    cluster.machines[host].endpoint(vni, addr, ifindex=machines.LOOPBACK, mac=MACS[addr])
    cluster.machines[H4].location(vni, addr, host)


def be_gateway(
    cluster: Cluster,
    host: str,
    addr: str,
    *,
    ports: tuple[int, int] = (1024, 65535),
    vnis: Any = (VNI, OTHER),
) -> None:
    machine = cluster.machines[host]
    for vni in vnis:
        machine.vpc(vni, dividers=[H4], flags=VpcFlags.ENDPOINTS | VpcFlags.GATEWAY)
        machine.gateway(vni, [addr], ports=ports)


def float_b(cluster: Cluster, answers: str) -> None:
    for host in OUTSIDE:
        cluster.machines[host].floating(VNI, B, F, answers=host == answers)


def forward(cluster: Cluster, outside: tuple[str, int], inside: tuple[str, int], **fields: Any) -> None:
    for host in OUTSIDE:
        cluster.machines[host].forward(outside, VNI, inside, **fields)


def down(cluster: Cluster, host: str) -> None:
    for other in HOSTS:
        cluster.machines[other].host(host, nexthop=host, flags=HostFlags.DOWN)


# ---------------------------------------------------------------- packets


def tcp(sport: int = 1000, dport: int = 80, flags: str = "S", data: bytes = b"") -> Any:
    return inet.TCP(sport=sport, dport=dport, flags=flags) / data


def send(
    cluster: Cluster,
    payload: Any,
    *,
    src: str = A,
    dst: str = X,
    host: str = H1,
    vni: int = VNI,
    **fields: Any,
) -> list[Step]:
    """As the endpoint of this VPC: the test's interface is its for once."""
    port: dict[str, Any] = {
        "vni": vni,
        "addr": src,
        "mac": MACS[src],
        "network": NETWORK + vni,
        "shards": SHARDS,
    }
    cluster.machines[host].port(machines.LOOPBACK, onlink=[PREFIX], **port)
    packet = packets.ipv4(payload, src=src, dst=dst, **fields)
    return cluster.send(host, packets.frame(packet, src=MACS[src]))


def receive(
    cluster: Cluster, host: str, payload: Any, *, dst: str, src: str = X, **fields: Any
) -> list[Step]:
    packet = packets.ipv4(payload, src=src, dst=dst, **fields)
    return cluster.outside(host, packets.frame(packet, src="02:00:5e:00:00:01", dst=world.NIC_MAC))


def trace(steps: list[Step]) -> list[tuple[str, Verdict]]:
    return [(step.host, step.verdict) for step in steps if not step.control]


def last(steps: list[Step]) -> Step:
    return [step for step in steps if not step.control][-1]


def packet_of(steps: list[Step]) -> Any:
    """The IP packet that came out in the end, or that HERE quotes; its checksums are right."""
    step = last(steps)
    quotes = step.verdict is Verdict.DELIVERED_HERE
    content = (
        packets.open_tunnel(step.frame).inner[packets.ETHER :] if quotes else step.frame[packets.ETHER :]
    )
    found = inet.IP(content)
    packets.check_ipv4(found)
    fresh = found.copy()
    for layer in (inet.TCP, inet.UDP, inet.ICMP):
        if layer in fresh and not fresh.frag and not fresh.flags.MF:
            claimed = fresh[layer].chksum
            del fresh[layer].chksum
            assert inet.IP(bytes(fresh))[layer].chksum == claimed
            break
    return found


def ends(packet: Any) -> tuple[str, int, str, int]:
    return packet.src, packet.payload.sport, packet.dst, packet.payload.dport


def gateway_of(steps: list[Step]) -> str:
    """The host through which it has left."""
    assert last(steps).verdict is Verdict.NAT_OUT, trace(steps)
    return last(steps).host


def delivered(steps: list[Step]) -> Any:
    assert last(steps).verdict in (Verdict.DELIVERED, Verdict.DELIVERED_HERE, Verdict.NAT_IN), trace(steps)
    return packet_of(steps)


# ---------------------------------------------------------------- source NAT


def test_client_reaches_a_server_outside_and_is_answered(cluster: Cluster) -> None:
    steps = send(cluster, tcp())
    gateway = gateway_of(steps)
    assert trace(steps) == [(H1, Verdict.TO_GATEWAY), (gateway, Verdict.NAT_OUT)]
    out = packet_of(steps)
    assert (out.src, out.dst, out.dport, out.ttl) == (OUTSIDE[gateway], X, 80, 63)

    answer = tcp(80, out.sport, "SA")
    steps = receive(cluster, gateway, answer, dst=out.src)
    assert trace(steps) == [(gateway, Verdict.NAT_IN), (H4, Verdict.BOUNCED), (H1, Verdict.DELIVERED_HERE)]
    assert ends(delivered(steps)) == (X, 80, A, 1000)
    assert delivered(steps).ttl == 63

    steps = receive(cluster, gateway, answer, dst=out.src)
    assert trace(steps) == [(gateway, Verdict.NAT_IN), (H1, Verdict.DELIVERED)]
    assert cluster.machines[H1].direct_host(VNI, X) is None


def test_flow_keeps_gateway_and_port(cluster: Cluster) -> None:
    first = send(cluster, tcp())
    others = [send(cluster, tcp(flags="A")) for _ in range(3)]
    assert {ends(packet_of(steps)) for steps in others} == {ends(packet_of(first))}


def test_flows_are_spread_over_gateways(cluster: Cluster) -> None:
    used = {gateway_of(send(cluster, tcp(port))) for port in range(2000, 2030)}
    assert used == set(OUTSIDE)


def test_tenants_with_the_same_addresses_and_ports_share_an_outside_address(cluster: Cluster) -> None:
    mine, theirs = send(cluster, tcp()), send(cluster, tcp(), vni=OTHER)
    gateway = gateway_of(mine)
    assert gateway_of(theirs) == gateway
    outs = [packet_of(steps) for steps in (mine, theirs)]
    assert outs[0].src == outs[1].src
    assert outs[0].sport != outs[1].sport
    for vni, out in zip((VNI, OTHER), outs, strict=True):
        steps = receive(cluster, gateway, tcp(80, out.sport, "SA"), dst=out.src)
        assert ends(delivered(steps)) == (X, 80, A, 1000)
        assert packets.open_tunnel(steps[0].frame).header.vni == vni


def test_ports_run_out_and_are_free_again_when_collected(cluster: Cluster) -> None:
    cluster.machines[H1].shard(GATEWAYS, 0, [H2])
    be_gateway(cluster, H2, O2, ports=(4000, 4003))
    ports = {packet_of(send(cluster, tcp(port))).sport for port in range(2000, 2004)}
    assert ports == {4000, 4001, 4002, 4003}
    assert last(send(cluster, tcp(2004))).verdict is Verdict.DROP_NAT_EXHAUSTED
    assert last(send(cluster, tcp(2000, flags="A"))).verdict is Verdict.NAT_OUT
    assert last(send(cluster, tcp(2004), dst=ROUTER)).verdict is Verdict.NAT_OUT

    freed = packet_of(send(cluster, tcp(2000, flags="A"))).sport
    end(cluster.machines[H2], (A, 2000), (X, 80), (O2, freed))
    assert packet_of(send(cluster, tcp(2004))).sport == freed


def end(machine: Machine, inside: tuple[str, int], peer: tuple[str, int], outside: tuple[str, int]) -> None:
    """As the agent does when a flow is dead."""
    a, x, o = number(inside[0]), number(peer[0]), number(outside[0])
    keys = [(VNI, a, x, inside[1], peer[1], TCP, (0, 0, 0)), (0, x, o, peer[1], outside[1], TCP, (0, 0, 0))]
    machine.tables[Table.FLOWS4].delete(keys)


def test_echo_has_its_identifier_translated(cluster: Cluster) -> None:
    steps = send(cluster, inet.ICMP(type=8, id=77, seq=1) / b"data")
    gateway, out = gateway_of(steps), packet_of(steps)
    assert (out.src, out[inet.ICMP].seq) == (OUTSIDE[gateway], 1)
    reply = inet.ICMP(type=0, id=out[inet.ICMP].id, seq=1) / b"data"
    found = delivered(receive(cluster, gateway, reply, dst=out.src))
    assert (found.dst, found[inet.ICMP].type, found[inet.ICMP].id) == (A, 0, 77)


def test_query_over_udp(cluster: Cluster) -> None:
    steps = send(cluster, packets.udp(1000, 53, b"query"))
    out = packet_of(steps)
    steps = receive(cluster, gateway_of(steps), packets.udp(53, out.sport, b"answer"), dst=out.src)
    assert ends(delivered(steps)) == (X, 53, A, 1000)


def fragmented(packet: Any) -> list[Any]:
    return list(inet.IP(bytes(packet)).fragment(1200))  # type: ignore[no-untyped-call]


def test_fragments_of_a_session_both_ways(cluster: Cluster) -> None:
    whole = packets.ipv4(packets.udp(1000, 53, b"x" * 1800), src=A, dst=X, flags="")
    fragments = fragmented(whole)
    assert len(fragments) == 2
    outs = []
    for fragment in fragments:
        steps = send(cluster, fragment.payload, proto=UDP, flags=int(fragment.flags), frag=fragment.frag)
        outs.append(packet_of(steps))
        gateway = gateway_of(steps)
    assert {out.src for out in outs} == {OUTSIDE[gateway]}
    receive(cluster, gateway, packets.udp(53, outs[0].sport), dst=OUTSIDE[gateway])
    answers = inet.IP(
        bytes(packets.ipv4(packets.udp(53, outs[0].sport, b"y" * 1800), src=X, dst=O2, flags=""))
    )
    for fragment in fragmented(answers):
        fields = {"proto": UDP, "flags": int(fragment.flags), "frag": fragment.frag}
        steps = receive(cluster, gateway, fragment.payload, dst=OUTSIDE[gateway], **fields)
        assert (delivered(steps).src, delivered(steps).dst) == (X, A)


@pytest.mark.parametrize(("kind", "code", "mtu"), [(3, 4, 1300), (3, 1, 0), (11, 0, 0)])
def test_error_from_a_router_outside_reaches_the_client(
    cluster: Cluster, kind: int, code: int, mtu: int
) -> None:
    steps = send(cluster, tcp(flags="A", data=b"data"))
    gateway, out = gateway_of(steps), packet_of(steps)
    error = inet.ICMP(type=kind, code=code, nexthopmtu=mtu) / bytes(out)[:28]
    found = delivered(receive(cluster, gateway, error, dst=out.src, src=ROUTER))
    assert (found.src, found.dst) == (ROUTER, A)
    assert (found[inet.ICMP].type, found[inet.ICMP].code) == (kind, code)
    assert kind != 3 or found[inet.ICMP].nexthopmtu == mtu
    quoted = inet.IP(bytes(found[inet.ICMP])[8:])
    assert (quoted.src, quoted.dst) == (A, X)
    assert bytes(quoted)[20:24] == bytes(out.payload)[:0] + (1000).to_bytes(2, "big") + (80).to_bytes(
        2, "big"
    )


def test_states_follow_the_connection(cluster: Cluster) -> None:
    steps = send(cluster, tcp())
    gateway, out = gateway_of(steps), packet_of(steps)
    receive(cluster, gateway, tcp(80, out.sport, "SA"), dst=out.src)
    assert states(cluster, gateway) == (FlowState.REPLIED, FlowState.REPLIED)
    send(cluster, tcp(flags="FA"))
    one = FlowState.REPLIED | FlowState.FIN_ORIG
    assert states(cluster, gateway) == (one, one)
    receive(cluster, gateway, tcp(80, out.sport, "FA"), dst=out.src)
    both = one | FlowState.FIN_REPLY
    assert states(cluster, gateway) == (both, both)
    receive(cluster, gateway, tcp(80, out.sport, "R"), dst=out.src)
    assert states(cluster, gateway) == (both | FlowState.CLOSED, both | FlowState.CLOSED)


def states(cluster: Cluster, gateway: str) -> tuple[int, int]:
    """Of the session at the gateway host, and of what the client's host knows of it."""
    found = [cluster.machines[host].flow(VNI, (A, 1000), (X, 80)) for host in (gateway, H1)]
    assert [int(flow["kind"]) for flow in found if flow is not None] == [FlowKind.NAT, FlowKind.VIA]
    return tuple(int(flow["state"]) for flow in found if flow is not None)  # type: ignore[return-value]


# ---------------------------------------------------------------- hosts come and go


def test_gateway_that_is_down_is_left(cluster: Cluster) -> None:
    gateway = gateway_of(send(cluster, tcp()))
    other = next(host for host in OUTSIDE if host != gateway)
    down(cluster, gateway)
    assert gateway_of(send(cluster, tcp(flags="A"))) == other
    cluster.machines[H1].host(gateway, nexthop=gateway)
    assert gateway_of(send(cluster, tcp(flags="A"))) == other


def test_new_gateway_moves_no_flow(cluster: Cluster) -> None:
    cluster.machines[H1].shard(GATEWAYS, 0, [H2])
    for port in range(2000, 2020):
        assert gateway_of(send(cluster, tcp(port))) == H2
    cluster.machines[H1].shard(GATEWAYS, 0, [H3, H2])
    assert {gateway_of(send(cluster, tcp(port, flags="A"))) for port in range(2000, 2020)} == {H2}
    assert {gateway_of(send(cluster, tcp(port))) for port in range(3000, 3020)} == {H2, H3}


def test_gateways_that_are_all_down_are_used_nevertheless(cluster: Cluster) -> None:
    gateway = gateway_of(send(cluster, tcp()))
    for host in OUTSIDE:
        down(cluster, host)
    assert gateway_of(send(cluster, tcp(flags="A"))) == gateway


def test_no_gateway_is_known(cluster: Cluster) -> None:
    cluster.machines[H1].shard(GATEWAYS, 0, [])
    assert trace(send(cluster, tcp())) == [(H1, Verdict.DROP_NO_GATEWAY)]


@pytest.mark.parametrize("masquerade", [False, True])
def test_client_on_the_gateway_host(cluster: Cluster, masquerade: bool) -> None:
    attach(cluster, A, H2)
    cluster.machines[H2].shard(GATEWAYS, 0, [H2])
    if masquerade:
        cluster.machines[H2].route(VNI, "0.0.0.0/0", RouteKind.GATEWAY)
    steps = send(cluster, tcp(), host=H2)
    assert trace(steps) == [(H2, Verdict.NAT_OUT)]
    out = packet_of(steps)
    assert (out.src, out.dst, out.ttl) == (O2, X, 63)
    steps = receive(cluster, H2, tcp(80, out.sport, "SA"), dst=O2)
    assert trace(steps) == [(H2, Verdict.NAT_IN)]
    assert ends(packet_of(steps)) == (X, 80, A, 1000)
    assert packets.dissect(last(steps).frame).dst == MACS[A]
    assert trace(send(cluster, tcp(flags="A"), host=H2)) == [(H2, Verdict.NAT_OUT)]


# ---------------------------------------------------------------- floating addresses, port forwards


@pytest.mark.parametrize("gateway", OUTSIDE)
def test_floating_address_from_outside_is_answered_through_the_same_gateway(
    cluster: Cluster, gateway: str
) -> None:
    float_b(cluster, gateway)
    steps = receive(cluster, gateway, tcp(3000, 22), dst=F)
    assert ends(delivered(steps)) == (X, 3000, B, 22)
    steps = send(cluster, tcp(22, 3000, "SA"), src=B, host=H4)
    assert trace(steps) == [(H4, Verdict.TO_GATEWAY), (gateway, Verdict.NAT_OUT)]
    assert ends(packet_of(steps)) == (F, 22, X, 3000)


def test_endpoint_with_a_floating_address_goes_out_with_it_through_any_gateway(cluster: Cluster) -> None:
    float_b(cluster, H2)
    found = [send(cluster, tcp(port), src=B, host=H4) for port in range(2000, 2020)]
    assert {packet_of(steps).src for steps in found} == {F}
    assert {gateway_of(steps) for steps in found} == set(OUTSIDE)
    steps = receive(cluster, H2, tcp(80, 2000, "SA"), dst=F)
    assert ends(delivered(steps)) == (X, 80, B, 2000)


def test_error_about_a_packet_to_a_floating_address(cluster: Cluster) -> None:
    float_b(cluster, H2)
    steps = receive(cluster, H2, packets.udp(3000, 9), dst=F)
    arrived = delivered(steps)
    error = inet.ICMP(type=3, code=3) / bytes(arrived)
    found = packet_of(send(cluster, error, src=B, host=H4))
    quoted = inet.IP(bytes(found[inet.ICMP])[8:])
    assert (found.src, found.dst, quoted.src, quoted.dst) == (F, X, X, F)


def test_port_forward(cluster: Cluster) -> None:
    forward(cluster, (O2, 2222), (B, 22))
    steps = receive(cluster, H2, tcp(3000, 2222), dst=O2)
    assert ends(delivered(steps)) == (X, 3000, B, 22)
    steps = send(cluster, tcp(22, 3000, "SA"), src=B, host=H4)
    assert gateway_of(steps) == H2
    assert ends(packet_of(steps)) == (O2, 2222, X, 3000)


def test_two_port_forwards_to_one_port(cluster: Cluster) -> None:
    forward(cluster, (O2, 2223), (B, 22))
    forward(cluster, (O2, 2222), (B, 22))
    for outside, peer in ((2222, 3000), (2223, 3001)):
        assert ends(delivered(receive(cluster, H2, tcp(peer, outside), dst=O2))) == (X, peer, B, 22)
    for outside, peer in ((2222, 3000), (2223, 3001)):
        steps = send(cluster, tcp(22, peer, "SA"), src=B, host=H4)
        assert ends(packet_of(steps)) == (O2, outside, X, peer)


def test_tenant_reaches_a_floating_address_of_its_own_gateway(cluster: Cluster) -> None:
    float_b(cluster, H2)
    cluster.machines[H1].shard(GATEWAYS, 0, [H2])
    cluster.machines[H4].shard(GATEWAYS, 0, [H2])
    steps = send(cluster, tcp(1000, 22), dst=F)
    assert gateway_of(steps) == H2
    out = packet_of(steps)
    assert (out.src, out.dst) == (O2, F)
    steps = cluster.outside(H2, last(steps).frame)
    assert ends(delivered(steps)) == (O2, out.sport, B, 22)
    steps = send(cluster, tcp(22, out.sport, "SA"), src=B, dst=O2, host=H4)
    back = packet_of(steps)
    assert ends(back) == (F, 22, O2, out.sport)
    assert ends(delivered(cluster.outside(H2, last(steps).frame))) == (F, 22, A, 1000)


# ---------------------------------------------------------------- scaled endpoints


def serve(cluster: Cluster, backends: list[str], *, bouncer: str = H4) -> None:
    """V is a scaled endpoint of B: 80 to 8080."""
    machine = cluster.machines[bouncer]
    machine.location(VNI, V, "0.0.0.0")
    machine.service(VNI, V, backends, port=80, target=8080)
    forward(cluster, (O2, 8000), (V, 80))


def test_port_forward_to_a_scaled_endpoint(cluster: Cluster) -> None:
    serve(cluster, [B])
    steps = receive(cluster, H2, tcp(3000, 8000), dst=O2)
    assert trace(steps)[:3] == [(H2, Verdict.NAT_IN), (H4, Verdict.REDIRECTED), (H2, Verdict.REDIRECT_TAKEN)]
    assert ends(delivered(steps)) == (X, 3000, B, 8080)
    steps = send(cluster, tcp(8080, 3000, "SA"), src=B, host=H4)
    assert trace(steps) == [(H4, Verdict.TO_GATEWAY), (H2, Verdict.NAT_OUT)]
    assert ends(packet_of(steps)) == (O2, 8000, X, 3000)
    steps = receive(cluster, H2, tcp(3000, 8000, "A"), dst=O2)
    assert trace(steps) == [(H2, Verdict.NAT_IN), (H4, Verdict.DELIVERED)]
    assert ends(delivered(steps)) == (X, 3000, B, 8080)


def test_port_forward_to_a_scaled_endpoint_with_a_backend_on_the_gateway_host(cluster: Cluster) -> None:
    attach(cluster, B, H2)
    cluster.machines[H4].tables[Table.ENDPOINTS4].delete([(VNI, number(B))])
    serve(cluster, [B])
    steps = receive(cluster, H2, tcp(3000, 8000), dst=O2)
    assert trace(steps)[-1] == (H2, Verdict.REDIRECT_TAKEN)
    assert ends(packet_of(steps)) == (X, 3000, B, 8080)
    steps = send(cluster, tcp(8080, 3000, "SA"), src=B, host=H2)
    assert trace(steps) == [(H2, Verdict.NAT_OUT)]
    assert ends(packet_of(steps)) == (O2, 8000, X, 3000)


def test_port_forward_to_a_scaled_endpoint_without_backends_is_refused(cluster: Cluster) -> None:
    serve(cluster, [])
    steps = receive(cluster, H2, tcp(3000, 8000), dst=O2)
    assert trace(steps)[-1] == (H2, Verdict.REFUSED)
    out = packet_of(steps)
    assert ends(out) == (O2, 8000, X, 3000)
    assert out[inet.TCP].flags == "RA"


def test_redirect_on_a_host_that_is_no_gateway_any_more(cluster: Cluster) -> None:
    serve(cluster, [B])
    cluster.machines[H2].vpc(VNI, dividers=[H4], flags=VpcFlags.ENDPOINTS)
    steps = receive(cluster, H2, tcp(3001, 8000), dst=O2)
    assert trace(steps)[-1] == (H2, Verdict.DROP_NOT_CLIENT)
