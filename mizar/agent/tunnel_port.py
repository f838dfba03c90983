# SPDX-License-Identifier: Apache-2.0
"""The Geneve port of this host: who owns it, and how it gets the kernel's receive offload (GRO).

Our programs take every tunnel packet before the stack's sockets see it, but the stack decides what happens
before our program at tcx: GRO puts a flow's segments together again only if the port belongs to a tunnel
that the kernel knows (udp_gro_receive() in net/ipv4/udp_offload.c). Without, a wire that carries single
frames costs the receiver a walk through the stack for each. So the port is given to a VXLAN device: its GRO
skips eight bytes, which a Geneve header without options has too, compares them, and goes on with the inner
Ethernet frame.

What holds:
 - The device never receives: it is in external mode with an empty VNI filter, so what our programs do not
   take (packets to another address of the host) ends there, and no "port unreachable" is ever sent.
 - It stays when the agent stops, as the programs do.
 - One agent an underlay interface, and network namespace: a lock that ends with the process.
 - Where the kernel has no VXLAN, a plain socket holds the port: the same network without GRO.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from typing import Any, Final

import pyroute2
from pyroute2.netlink import exceptions
from pyroute2.netlink.rtnl.ifinfmsg.plugins import vxlan

from mizar import errors
from mizar.abi import decode, layout
from mizar.agent import netlink, underlay

DEVICE: Final = "mizar-gro"

_log: Final = logging.getLogger(__name__)


class _Vxlan(vxlan.vxlan):  # type: ignore[misc]  # pyroute2 is not typed
    """Link attributes up to the VNI filter (linux/if_link.h), which pyroute2 does not know yet."""

    nla_map = (*vxlan.vxlan.nla_map[:30], ("IFLA_VXLAN_VNIFILTER", "uint8"))


def hold(requests: netlink.Requests, nic: underlay.Nic) -> contextlib.ExitStack:
    """Own the port on `nic` until the result is closed. UnavailableError if another process has it."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_lock(nic))
        try:
            requests.run(f"make interface {DEVICE}", _make_device)
        except errors.KernelError as failure:
            _log.warning("no receive offload for tunnels: %s", failure)
            stack.enter_context(_plain_socket(nic.address))
        return stack.pop_all()


def _lock(nic: underlay.Nic) -> socket.socket:
    """Abstract unix sockets are per network namespace, and gone with their process."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0mizar-agent-{nic.ifindex}")
    except OSError as failure:
        lock.close()
        raise errors.UnavailableError(
            f"underlay interface {nic.name}: another agent has it; stop that one first"
        ) from failure
    return lock


def _make_device(ip: pyroute2.IPRoute) -> None:
    found = ip.link_lookup(ifname=DEVICE)
    if found and _is_ours(ip.get_links(found[0])[0]):
        return
    if found:
        ip.link("del", index=found[0])
    ip.register_link_kind(module={"vxlan": _Vxlan})
    options: dict[str, Any] = {
        "vxlan_collect_metadata": 1,
        "vxlan_vnifilter": 1,
        "vxlan_learning": 0,
        "vxlan_port": layout.GENEVE_PORT,
    }
    ip.link("add", ifname=DEVICE, kind="vxlan", **options)
    index = ip.link_lookup(ifname=DEVICE)[0]
    try:
        ip.link("set", index=index, state="up")
    except exceptions.NetlinkError:
        ip.link("del", index=index)
        raise


def _is_ours(link: Any) -> bool:
    info = link.get("linkinfo")
    return link["state"] == "up" and info is not None and info.get("kind") == "vxlan"


def _plain_socket(address: int) -> socket.socket:
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        holder.bind((decode.address4(address), layout.GENEVE_PORT))
    except OSError as failure:
        holder.close()
        where = f"{decode.address4(address)} UDP port {layout.GENEVE_PORT}"
        raise errors.UnavailableError(f"listen on {where}: {failure.strerror}") from failure
    return holder
