# SPDX-License-Identifier: Apache-2.0
"""The programs in the kernel and the evaluation in Python judge alike, byte for byte.

    e0 =peer= endpoint 7/10.0.1.1, 7/10.0.9.9     u0 =peer= the underlay
    e1 =peer= endpoint 8/10.0.1.1                 (all in one namespace; peers catch what is sent)

Random packets, most of them nearly right, go through BPF_PROG_TEST_RUN and through
FakeDataPlane.process(), on the same tables. Verdict, action, frames, learnt rows and counters
must be equal, except outer MACs that the kernel fills in after the program.
"""

from __future__ import annotations

import dataclasses
import pathlib
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from mizar.abi import geneve, layout, macs
from mizar.abi.verdicts import BY_NUMBER, Verdict
from mizar.dataplane import fake, kernel, netns, programs, protocol
from mizar.dataplane.evaluation import packet
from mizar.dataplane.evaluation.outcome import Action, Outcome, Program, Sent

from .conftest import unique

SEEDS = range(3)
PACKETS_PER_SEED = 500
REFRESH_EVERY = 50  # packets; ages of learnt rows must stay far from the limits

SELF, PEER, DOWN, NO_MAC, FOREIGN = (0xAC100000 + n for n in range(1, 6))
HOSTS = (SELF, PEER, DOWN, NO_MAC)
VNIS = (7, 8, 9, 10)
OWN_MAC = bytes.fromhex("02aa00000001")
MACS = {"e0": bytes.fromhex("020000000001"), "e1": bytes.fromhex("020000000002")}
ADDRESSES = [0x0A000101, 0x0A000102, 0x0A000909, 0x0A000203, 0x0A000204, 0x0A000301, 0x0A630001, 0x0B000001]
MTU = 500
OWN_ROUTES = layout.TABLE_NETWORK | 1
ROOMY = {"mz_stats": 64, "mz_locations4": 64, "mz_shards": 64}
SOFT_MS, HARD_MS = 60_000, 180_000

ACTIONS = {
    Program.ENDPOINT: {0xFFFFFFFF: Action.PASS, 2: Action.DROP, 7: Action.SEND},
    Program.TRANSIT_TC: {0xFFFFFFFF: Action.PASS, 2: Action.DROP, 7: Action.SEND},
    Program.TRANSIT_XDP: {1: Action.DROP, 2: Action.PASS, 3: Action.SEND},
}


# ---------------------------------------------------------------- the two planes


@dataclasses.dataclass(frozen=True)
class Bench:
    """Both planes, and what catches the copies that the kernel sends during a run."""

    real: kernel.KernelDataPlane
    fake: fake.FakeDataPlane
    ifindex: dict[str, int]
    taps: dict[int, socket.socket]

    @property
    def planes(self) -> tuple[protocol.DataPlane, protocol.DataPlane]:
        return self.real, self.fake


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    name, root = unique("mzc"), pathlib.Path("/sys/fs/bpf/mizar") / unique("conformance")
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    real = kernel.KernelDataPlane(root, ROOMY)
    try:
        with netns.inside(f"/run/netns/{name}"):
            pathlib.Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            ifindex, taps = {}, {}
            for interface in ("u0", "e0", "e1"):
                ifindex[interface], tap = _veth(name, interface)
                taps[ifindex[interface]] = tap
            yield Bench(real, fake.FakeDataPlane(ROOMY), ifindex, taps)
            for tap in taps.values():
                tap.close()
    finally:
        real.destroy()
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


def _veth(namespace: str, name: str) -> tuple[int, socket.socket]:
    """An interface that is up, and a socket that sees what is sent out of it."""
    ip = ["ip", "-n", namespace, "link"]
    subprocess.run([*ip, "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True, timeout=10)
    for end in (name, f"{name}p"):
        subprocess.run([*ip, "set", end, "up"], check=True, timeout=10)
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    tap.bind((f"{name}p", 0))
    tap.setblocking(False)
    return socket.if_nametoindex(name), tap


# ---------------------------------------------------------------- the tables


def _put(bench: Bench, table: layout.Table, *rows: tuple[object, Mapping[str, object]]) -> None:
    spec = layout.TABLES[table]
    keys, values = spec.keys(len(rows)), spec.values(len(rows))
    for i, (key, fields) in enumerate(rows):
        keys[i] = key
        for field, value in fields.items():
            values[i][field] = value
    for plane in bench.planes:
        plane.update(table, keys, values)


def _octets(mac: bytes) -> list[int]:
    return list(mac)


def _fill(bench: Bench, rng: random.Random) -> None:
    """Tables in which every kind of answer occurs."""
    boot = time.monotonic_ns() // 1_000_000_000
    peers = layout.HostFlags
    _put(
        bench,
        layout.Table.CONFIG,
        (
            0,
            {
                "underlay_addr": SELF,
                "underlay_ifindex": bench.ifindex["u0"],
                "soft_ms": SOFT_MS,
                "hard_ms": HARD_MS,
                "underlay_mac": _octets(OWN_MAC),
                "flags": layout.ConfigFlags.READY,
            },
        ),
    )
    fresh = {"mac": _octets(b"\x02\xbb\x00\x00\x00\x02"), "mac_until": boot + 1000, "nexthop": PEER}
    _put(
        bench,
        layout.Table.HOSTS,
        (SELF, {"flags": peers.SELF}),
        (PEER, fresh),
        (DOWN, {**fresh, "nexthop": 0, "flags": peers.DOWN}),
        (NO_MAC, {"nexthop": NO_MAC}),
    )
    flags = layout.VpcFlags
    _put(
        bench,
        layout.Table.VPCS,
        (7, {"flags": flags.ENDPOINTS | rng.choice([0, flags.DIVIDER]), "slot": 10, **_dividers(rng)}),
        (8, {"flags": flags.ENDPOINTS, **_dividers(rng)}),
        (9, {"flags": flags.DIVIDER | flags.BOUNCER, "slot": 11}),
    )
    _fill_routes(bench, rng)
    missing = np.array([(1, rng.randrange(4))], dtype=layout.SHARD_KEY)
    for network, shards in ((1, 4), (2, 8)):
        _put(bench, layout.Table.SHARDS, *(((network, shard), _shard(rng)) for shard in range(shards)))
    for plane in bench.planes:
        plane.delete(layout.Table.SHARDS, missing)
    slots = {"slot": 12}
    for vni in VNIS[:3]:
        places = [(a, rng.choice((*HOSTS, FOREIGN))) for a in ADDRESSES[1:5]]
        _put(bench, layout.Table.LOCATIONS4, *(((vni, a), {"host": host, **slots}) for a, host in places))
    _fill_endpoints(bench, rng)
    _fill_direct(bench, rng)


def _fill_routes(bench: Bench, rng: random.Random) -> None:
    """Of VPCs, and of network 1 itself, whose routes go through appliances too."""
    kinds = list(layout.RouteKind)
    group = {"network": 1, "shards": 4}
    for table in (*VNIS[:3], OWN_ROUTES):
        peers = [0, 0, 0, *(vni for vni in VNIS if vni != table)]
        subnet = {"kind": layout.RouteKind.NETWORK, "network": 2, "shards": 8}
        _put(
            bench,
            layout.Table.ROUTES4,
            ((table, 0x0A000000, 0xFF000000), {**group, **_target(rng, rng.choice(kinds), peers)}),
            ((table, 0x0A000200, 0xFFFFFF00), {**subnet, "target": rng.choice(peers)}),
            ((table, 0x0A000300, 0xFFFFFF00), _target(rng, rng.choice(kinds), peers)),
            ((table, 0x0A630000, 0xFFFFFF00), {"kind": layout.RouteKind.NONE}),
        )


def _target(rng: random.Random, kind: layout.RouteKind, peers: list[int]) -> dict[str, object]:
    if kind == layout.RouteKind.APPLIANCE:
        return {"kind": kind, "target": socket.htonl(rng.choice(ADDRESSES))}
    return {"kind": kind, "target": rng.choice(peers) if kind <= layout.RouteKind.NONE else 0}


def _dividers(rng: random.Random) -> dict[str, object]:
    n = rng.randint(0, 3)
    hosts = [rng.choice((*HOSTS, FOREIGN)) for _ in range(n)]
    return {"n_dividers": n, "dividers": hosts + [0] * (layout.MAX_DIVIDERS - n)}


def _shard(rng: random.Random) -> dict[str, object]:
    n = rng.randint(1, 4)
    hosts = [rng.choice((*HOSTS, FOREIGN)) for _ in range(n)]
    return {"n": n, "hosts": hosts + [0] * (layout.MAX_REPLICAS - n)}


def _fill_endpoints(bench: Bench, rng: random.Random) -> None:
    e0 = {"ifindex": bench.ifindex["e0"], "slot": 1, "mac": _octets(MACS["e0"]), "flags": 1}
    e1 = {"ifindex": bench.ifindex["e1"], "slot": 2, "mac": _octets(MACS["e1"])}
    _put(
        bench,
        layout.Table.ENDPOINTS4,
        ((7, 0x0A000101), e0),
        ((7, 0x0A000909), e0),
        ((8, 0x0A000101), e1),
        ((7, 0x0A000203), e1),
        ((9, 0x0A000204), e1),
    )
    flags = layout.PortFlags
    e0_flags = rng.choice([0, 0, flags.ROUTES, flags.FORWARDS, flags.ROUTES | flags.FORWARDS])
    e1_flags = rng.choice([0, flags.ROUTES])
    port = {"addr": 0x0A000101, "mtu": MTU, "network": 1, "shards": 4, "n_onlink": 1}
    onlink = [(0x0A000100, 0xFFFFFF00)] + [(0, 0)] * 3
    _put(
        bench,
        layout.Table.PORTS,
        (
            bench.ifindex["e0"],
            {**port, "vni": 7, "slot": 1, "mac": _octets(MACS["e0"]), "onlink": onlink, "flags": e0_flags},
        ),
        (
            bench.ifindex["e1"],
            {**port, "vni": 8, "slot": 2, "mac": _octets(MACS["e1"]), "n_onlink": 0, "flags": e1_flags},
        ),
    )


def _fill_direct(bench: Bench, rng: random.Random) -> None:
    now = time.monotonic_ns() // 1_000_000
    for plane in bench.planes:
        plane.delete(layout.Table.DIRECT4, plane.dump(layout.Table.DIRECT4)[0])
    for vni in VNIS[:3]:
        for address in rng.sample(ADDRESSES, 3):
            # Never 0: the programs' clock is behind ours by up to a tick.
            age = rng.choice([1000, SOFT_MS + 30_000, HARD_MS + 30_000])
            own_vni = rng.choice([vni] * 4 + list(VNIS))
            row = {
                "host": rng.choice((*HOSTS, FOREIGN)),
                "confirmed": (now - age) & 0xFFFFFFFF,
                "vni": own_vni,
            }
            _put(bench, layout.Table.DIRECT4, ((vni, address), row))


# ---------------------------------------------------------------- the packets


def _ip(rng: random.Random, src: int, dst: int) -> bytes:
    """An IPv4 packet, mostly sound."""
    protocol = rng.choice([1, 1, 6, 17, 132, 99])
    size = rng.choice([0, 8, 21, 64, 200, 470, 481, 700])
    payload = bytearray(rng.randbytes(size))
    if protocol == 1 and size >= 2:
        payload[:2] = rng.choice([b"\x08\x00", b"\x00\x00", b"\x03\x01", b"\x0b\x00"])
    options = rng.choice([b"", b"", b"", b"\x01\x01\x01\x00"])
    frag = rng.choice([0, packet.DF, packet.DF, packet.MF, 5])
    ttl = rng.choice([0, 1, 2, 64, 64, 64])
    total = packet.IP_LEN + len(options) + size
    head = packet.write_ip(tos=rng.randrange(256), total=total, protocol=protocol, src=src, dst=dst)
    head = packet.replaced_in_header(head, 6, frag.to_bytes(2, "big"), check=10)
    head = packet.replaced_in_header(head, 8, bytes((ttl, protocol)), check=10)
    if options:
        head = packet.replaced_in_header(head, 0, bytes((0x46, head[1])), check=10)
    return head + options + bytes(payload)


def _address(rng: random.Random) -> int:
    special = (layout.GATEWAY4, 0xE0000001, 0xFFFFFFFF, 0x7F000001, 0)
    return rng.choice(special) if rng.random() < 0.15 else rng.choice(ADDRESSES)


def _endpoint_frame(rng: random.Random, mac: bytes) -> bytes:
    if rng.random() < 0.2:
        return _arp_frame(rng, mac)
    src = rng.choice([0x0A000101] * 6 + ADDRESSES)
    dst_mac = rng.choice([layout.ROUTER_MAC] * 8 + [b"\x01\x00\x5e\x00\x00\x01"])
    proto = rng.choice([b"\x08\x00"] * 12 + [b"\x86\xdd"])
    return dst_mac + mac + proto + _ip(rng, src, _address(rng)) + bytes(rng.choice([0, 0, 0, 6]))


def _arp_frame(rng: random.Random, mac: bytes) -> bytes:
    sender = rng.choice([0x0A000101] * 5 + [0, 0x0A000909, 0x0A000203])
    target = _address(rng)
    op = rng.choice([1, 1, 1, 2])
    body = b"\x00\x01\x08\x00\x06\x04" + op.to_bytes(2, "big") + mac + sender.to_bytes(4, "big")
    return b"\xff" * 6 + mac + b"\x08\x06" + body + bytes(6) + target.to_bytes(4, "big")


def _options(rng: random.Random, *, control: bool) -> bytes:
    """Geneve options: usually none or RTS, sometimes several, sometimes strange."""
    known: list[geneve.Option] = [
        geneve.Rts(rng.choice((*HOSTS, FOREIGN)), rng.choice([0, 1, 1, 2, 2, 3, 4])),
        geneve.Here(rng.choice(ADDRESSES), rng.choice((0, 0, *VNIS))),
        geneve.Forget(rng.choice(ADDRESSES), rng.choice((0, *VNIS))),
        geneve.Echo(rng.randrange(1 << 32), reply=rng.random() < 0.3),
    ]
    strange = [b"\x01\x02\x03\x00", b"\x01\x02\x83\x01abcd", b"\xff\x4d\x01\x01abcd", b"\x01\x02\x03\x1f"]
    if control:
        chosen = rng.sample(known, rng.choice([0, 1, 1, 1, 2]))
    else:
        chosen = rng.choice([[], known[:1], known[:1], known[:1], rng.sample(known, 2)])
    raw = [geneve.pack_option(option) for option in chosen]
    if rng.random() < 0.2:
        raw.insert(rng.randint(0, len(raw)), rng.choice(strange))
    return b"".join(raw)


def _inner_macs(rng: random.Random) -> bytes:
    """Usually such as say nothing; else they name somebody, or stand in the wrong place."""
    if rng.random() < 0.6:
        return layout.ROUTER_MAC + MACS["e1"]
    vni = rng.choice((*VNIS, 0))
    names = [
        macs.via(rng.choice(ADDRESSES)),
        macs.prefer(rng.choice(ADDRESSES)),
        macs.peer(vni, forwarded=rng.random() < 0.3),
        macs.GATEWAY,
        b"\x06" + rng.randbytes(5),
    ]
    return rng.choice([layout.ROUTER_MAC, *names]) + rng.choice([MACS["e1"], names[2], *names])


def _tunnel_frame(rng: random.Random) -> bytes:
    control = rng.random() < 0.2
    options = _options(rng, control=control)
    inner = _inner_macs(rng) + rng.choice([b"\x08\x00"] * 12 + [b"\x86\xdd"])
    inner += _ip(rng, rng.choice(ADDRESSES), rng.choice(ADDRESSES))
    first = rng.choice([len(options) // 4] * 20 + [0x40, 0x3F])
    protocol = rng.choice([b"\x65\x58"] * 20 + [b"\x08\x00"])
    head = bytes((first, 0x80 if control else 0)) + protocol + rng.choice(VNIS).to_bytes(3, "big") + b"\0"
    payload = head + options + inner
    sport, check = rng.randrange(1 << 16), rng.choice([0, 0, 0, 0x1234])
    dport = rng.choice([6081] * 20 + [6082])
    length = 8 + len(payload) + rng.choice([0] * 20 + [1])
    udp = b"".join(n.to_bytes(2, "big") for n in (sport, dport, length, check))
    src = rng.choice([PEER] * 8 + [*HOSTS, FOREIGN])
    dst = rng.choice([SELF] * 20 + [PEER])
    total = packet.IP_LEN + 8 + len(payload)
    ip = packet.write_ip(tos=rng.randrange(256), total=total, protocol=packet.UDP, src=src, dst=dst)
    frag = rng.choice([packet.DF] * 20 + [packet.MF, 1])
    ip = packet.replaced_in_header(ip, 6, frag.to_bytes(2, "big"), check=10)
    frame = OWN_MAC + b"\x02\xbb\x00\x00\x00\x02" + b"\x08\x00" + ip + udp + payload
    return frame + bytes(rng.choice([0] * 10 + [4]))


# Test runs of tc programs take no frame that is shorter than the headers of its ethertype (IPv6: 54).
SHORTEST = 54


def _mutated(rng: random.Random, frame: bytes) -> bytes:
    """Sometimes cut, sometimes with a byte changed."""
    kind = rng.random()
    if kind < 0.1:
        return frame[: max(SHORTEST, rng.randrange(len(frame)))]
    if kind < 0.2:
        at = rng.randrange(min(len(frame), 120))
        return packet.replaced(frame, at, bytes((rng.randrange(256),)))
    return frame


# ---------------------------------------------------------------- the comparison


@dataclasses.dataclass(frozen=True)
class Seen:
    verdict: Verdict
    action: Action
    frames: list[bytes]


def _run_in_kernel(bench: Bench, program: Program, ifindex: int, frame: bytes) -> Seen:
    before = bench.real.verdicts()["packets"]
    at_xdp = program is Program.TRANSIT_XDP
    context = b"" if at_xdp else programs.skb_context(ifindex=ifindex)
    result = bench.real.program(program.value).test_run(frame, context=context)
    [verdict] = np.flatnonzero(bench.real.verdicts()["packets"] - before)
    copies = [copy for tap in bench.taps.values() for copy in _caught(tap)]
    action = ACTIONS[program][result.retval]
    frames = [*copies, result.data] if action is Action.SEND else copies
    return Seen(BY_NUMBER[int(verdict)], action, frames)


def _caught(tap: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield tap.recv(1 << 16)
        except BlockingIOError:
            return


def _expected_bytes(sent: Sent, seen: bytes) -> bytes:
    """The frame, with outer MACs taken from what was seen where they are not the program's."""
    return sent.frame if sent.has_macs else seen[:12] + sent.frame[12:]


def _compare(seen: Seen, outcome: Outcome, frame: bytes) -> None:
    what = f"frame {frame.hex()}\nkernel {seen}\nPython {outcome}"
    assert (seen.verdict, seen.action) == (outcome.verdict, outcome.action), what
    assert len(seen.frames) == len(outcome.frames), what
    for actual, sent in zip(seen.frames, outcome.frames, strict=True):
        assert actual == _expected_bytes(sent, actual), what


def _learnt(plane: protocol.DataPlane) -> dict[tuple[int, int], tuple[int, int]]:
    keys, values = plane.dump(layout.Table.DIRECT4)
    return {
        (int(k["vni"]), int(k["addr"])): (int(v["host"]), int(v["vni"]))
        for k, v in zip(keys, values, strict=True)
    }


def _frame_for(rng: random.Random, bench: Bench, program: Program) -> tuple[int, bytes]:
    if program is Program.ENDPOINT:
        name = rng.choice(["e0"] * 8 + ["e1"] * 4 + ["u0"])
        mac = rng.choice([MACS.get(name, OWN_MAC)] * 20 + [MACS["e0"]])
        frame, ifindex = _endpoint_frame(rng, mac), bench.ifindex[name]
    else:
        frame, ifindex = _tunnel_frame(rng), bench.ifindex["u0"]
    return ifindex, _mutated(rng, frame).ljust(SHORTEST, b"\0")


@pytest.mark.parametrize("program", list(Program), ids=lambda program: program.value)
@pytest.mark.parametrize("seed", SEEDS)
def test_kernel_and_python_judge_alike(bench: Bench, program: Program, seed: int) -> None:
    rng = random.Random(f"{program.value} {seed}")
    for plane in bench.planes:
        plane.clear_stats(range(16))
    for i in range(PACKETS_PER_SEED):
        if i % REFRESH_EVERY == 0:
            _fill(bench, rng)
        ifindex, frame = _frame_for(rng, bench, program)
        seen = _run_in_kernel(bench, program, ifindex, frame)
        outcome = bench.fake.process(program, ifindex, frame, time.monotonic_ns() // 1_000_000)
        _compare(seen, outcome, frame)
        assert _learnt(bench.real) == _learnt(bench.fake), frame.hex()
    assert bench.real.stats(range(16)).tolist() == bench.fake.stats(range(16)).tolist()
