# SPDX-License-Identifier: Apache-2.0
"""The namespaces of a lab, the bridge that is its underlay and the cables, through netlink.

What holds:
 - IPv6 is off everywhere before a link comes up, so nothing is on the wire that nobody sent.
 - Where hosts may run XDP, the bridge's end of each cable runs it too (bpf/cable.bpf.c says why); elsewhere
   it does not, because that makes the hosts' ends segment what they send.
 - Building leaves cleaning up to the caller: `destroy` removes whatever part of it exists.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Final

import pyroute2
from pyroute2.netlink import exceptions

from mizar import errors
from mizar.agent import namespaces
from mizar.dataplane import libbpf
from mizar.lab import config, tools, topology

_LOOPBACK: Final = 1
_CABLE_OBJECT: Final = "cable.bpf.o"
_CABLE_PROGRAM: Final = "mz_cable"

# Everything that lets a packet above the MTU onto a cable, ethtool(8).
_SEGMENTATION: Final = (
    "tso",
    "gso",
    "tx-udp-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
)


def build(plan: topology.Topology, wanted: config.LabConfig) -> None:
    """Raises ConflictError if a namespace of that name exists, KernelError if the kernel refuses."""
    with _refusals("build the underlay"):
        for name in plan.namespaces:
            namespaces.create(name)
            with inside(name) as ip:
                ip.link("set", index=_LOOPBACK, state="up")
        with inside(topology.UNDERLAY) as ip:
            bridge = _bridge(ip, wanted.mtu)
            for machine in plan.machines:
                _cable(ip, machine, bridge=bridge, mtu=wanted.mtu)
        for machine in plan.machines:
            _address(machine)
            _shape(machine, wanted.wire)
        if wanted.runs_xdp:
            _run_cable_program(plan.hosts)


def destroy(names: list[str]) -> None:
    """Remove namespaces, and with them what is inside; those that are gone already are fine."""
    for name in names:
        namespaces.remove(name)


def existing() -> list[str]:
    """Namespaces of a lab that exist, whatever its size was."""
    return [
        name
        for name in _names()
        if name in (topology.UNDERLAY, topology.OUTSIDE, *topology.VXLAN_PODS) or _is_host(name)
    ]


def inodes(names: list[str]) -> list[int]:
    """Inode numbers of the namespaces, which /proc/PID/ns/net shows."""
    found = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found.append(namespaces.path_of(name).stat().st_ino)
    return found


# ---------------------------------------------------------------- parts


@contextlib.contextmanager
def inside(netns: str) -> Iterator[pyroute2.IPRoute]:
    """Netlink in a namespace, where IPv6 is off from now on."""
    with tools.inside(netns):
        _ipv6_off()
        with pyroute2.IPRoute() as ip:
            yield ip


def _bridge(ip: pyroute2.IPRoute, mtu: int) -> int:
    """A switch that does nothing but switch: no spanning tree, no snooping."""
    ip.link("add", ifname=topology.BRIDGE, kind="bridge", br_stp_state=0, br_mcast_snooping=0)
    index = int(ip.link_lookup(ifname=topology.BRIDGE)[0])
    ip.link("set", index=index, mtu=mtu, state="up")
    return index


def _cable(ip: pyroute2.IPRoute, machine: topology.Machine, *, bridge: int, mtu: int) -> None:
    """From the bridge, where `ip` is, into the machine."""
    with namespaces.opened(namespaces.path_of(machine.netns)) as fd:
        ip.link(
            "add",
            ifname=machine.port,
            kind="veth",
            mtu=mtu,
            peer={"ifname": machine.interface, "net_ns_fd": fd, "mtu": mtu},
        )
    port = ip.link_lookup(ifname=machine.port)[0]
    ip.link("set", index=port, master=bridge, state="up")


def _address(machine: topology.Machine) -> None:
    with inside(machine.netns) as ip:
        index = ip.link_lookup(ifname=machine.interface)[0]
        ip.addr("add", index=index, address=machine.address, prefixlen=topology.PREFIX.prefixlen)
        ip.link("set", index=index, state="up")


def _shape(machine: topology.Machine, wire: config.Wire) -> None:
    if wire is config.Wire.SEGMENTING:
        settings = [word for feature in _SEGMENTATION for word in (feature, "off")] + ["gro", "on"]
        tools.run(["ethtool", "-K", machine.interface, *settings], netns=machine.netns)
        tools.run(["ethtool", "-K", machine.port, *settings], netns=topology.UNDERLAY)


def _run_cable_program(machines: tuple[topology.Machine, ...]) -> None:
    """On the bridge's end of each cable. Attached by netlink, so that it lives as long as the interface."""
    with libbpf.Object(libbpf.OBJECTS / _CABLE_OBJECT) as compiled:
        compiled.load()
        with compiled.program(_CABLE_PROGRAM) as program, inside(topology.UNDERLAY) as ip:
            for machine in machines:
                ip.link("set", index=ip.link_lookup(ifname=machine.port)[0], xdp_fd=program.fd)


def _ipv6_off() -> None:
    """For what is and will be in this thread's namespace; a kernel without IPv6 has nothing to turn off."""
    for scope in ("all", "default"):
        with contextlib.suppress(FileNotFoundError):
            pathlib.Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1", encoding="ascii")


# ---------------------------------------------------------------- recognising


def _names() -> list[str]:
    return (
        sorted(path.name for path in namespaces.RUN_DIR.glob("mizar*")) if namespaces.RUN_DIR.is_dir() else []
    )


def _is_host(name: str) -> bool:
    number = name.removeprefix("mizar-h")
    return number != name and number.isdecimal()


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except exceptions.NetlinkError as failure:
        raise errors.KernelError(f"{what}: {failure}", errno=failure.code) from failure
