# SPDX-License-Identifier: Apache-2.0
"""The underlay through the kernel's eyes: the NIC, next hops from its routes, MACs from its neighbours.

What holds:
 - Next hops are asked of the kernel (RTM_GETROUTE), so policy rules count; they are kept until routes change.
 - Reading never makes traffic; provoke() does, by the kernel's own neighbour discovery (NTF_USE).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

import pyroute2
from pyroute2.netlink import exceptions

from mizar import errors
from mizar.abi import decode, layout
from mizar.agent import netlink, underlay
from mizar.rpc import values

MIN_INNER_MTU: Final = 576
"""Smallest MTU that every IPv4 host must accept (RFC 791), so the least worth offering inside."""

_AF_INET: Final = 2
_IFF_LOOPBACK: Final = 0x8
_NTF_USE: Final = 0x01
_NUD_USABLE: Final = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # REACHABLE STALE DELAY PROBE PERMANENT
_RTN_UNICAST: Final = 1
_ASK_AT_ONCE: Final = 64
"""Questions asked before others may use the netlink thread."""


class KernelUnderlay:
    """underlay.Underlay over rtnetlink."""

    def __init__(self, requests: netlink.Requests, *, interface: str = "", address: int = 0) -> None:
        """The NIC by name, by address, or as the default route has it. InvalidError if there is no such."""
        self._requests = requests
        self._events: netlink.Events | None = None
        self._lock = threading.Lock()
        self._nexthops: dict[int, int] = {}
        self._nic = requests.run("find underlay interface", lambda ip: _find(ip, interface, address))
        if self._nic.mtu - layout.ENVELOPE < MIN_INNER_MTU:
            raise errors.InvalidError(
                f"MTU {self._nic.mtu} of underlay interface {self._nic.name} is too small to carry"
                f" the tunnel: must be at least {MIN_INNER_MTU + layout.ENVELOPE}"
            )

    def nic(self) -> underlay.Nic:
        index, address = self._nic.ifindex, self._nic.address
        self._nic = self._requests.run(
            f"read interface {self._nic.name}", lambda ip: _nic_of(ip.get_links(index)[0], address)
        )
        return self._nic

    def hops(self, addresses: Collection[int]) -> dict[int, underlay.Hop]:
        with self._lock:
            known = self._nexthops
        for part in _parts(address for address in addresses if address not in known):
            known.update(self._requests.run("read routes", self._route_question(part)))
        macs = self._requests.run("read neighbours", self._read_neighbours)
        return {address: underlay.Hop(known[address], macs.get(known[address])) for address in addresses}

    def provoke(self, nexthops: Collection[int]) -> None:
        for part in _parts(nexthops):
            self._requests.run("resolve neighbours", self._neighbour_request(part))

    def watch(self, changed: Callable[[underlay.Change], None]) -> None:
        def on_change(what: underlay.Change) -> None:
            if underlay.Change.ROUTES in what:
                with self._lock:
                    self._nexthops = {}
            changed(what)

        self._events = netlink.Events(self._nic.ifindex, on_change)

    def close(self) -> None:
        if self._events:
            self._events.close()

    # ------------------------------------------------------------ in the netlink thread

    def _route_question(self, addresses: list[int]) -> Callable[[pyroute2.IPRoute], dict[int, int]]:
        return lambda ip: {address: self._ask_route(ip, address) for address in addresses}

    def _ask_route(self, ip: pyroute2.IPRoute, address: int) -> int:
        try:
            route = ip.route("get", dst=decode.address4(address))[0]
        except exceptions.NetlinkError:
            return 0
        if route["type"] != _RTN_UNICAST or route.get("oif") != self._nic.ifindex:
            return 0
        gateway = route.get("gateway")
        return values.address(gateway) if gateway else address

    def _read_neighbours(self, ip: pyroute2.IPRoute) -> dict[int, bytes]:
        return dict(_usable(ip.get_neighbours(family=_AF_INET, ifindex=self._nic.ifindex)))

    def _neighbour_request(self, addresses: list[int]) -> Callable[[pyroute2.IPRoute], None]:
        def use(ip: pyroute2.IPRoute) -> None:
            for address in addresses:
                dst = decode.address4(address)
                # With NTF_USE the state is the kernel's to keep; an entry is made if there is none.
                ip.neigh(
                    "replace", dst=dst, ifindex=self._nic.ifindex, family=_AF_INET, flags=_NTF_USE, state=0
                )

        return use


def _parts(addresses: Iterable[int]) -> Iterator[list[int]]:
    """A few at a time: others wait for the netlink thread meanwhile."""
    rest = iter(addresses)
    while part := list(itertools.islice(rest, _ASK_AT_ONCE)):
        yield part


def _usable(neighbours: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
    for entry in neighbours:
        mac = entry.get("lladdr")
        if mac and entry["state"] & _NUD_USABLE:
            yield values.address(entry.get("dst")), bytes.fromhex(mac.replace(":", ""))


# ---------------------------------------------------------------- finding the NIC


def _find(ip: pyroute2.IPRoute, interface: str, address: int) -> underlay.Nic:
    addresses = _addresses(ip)
    index = _index(ip, addresses, interface, address)
    link = ip.get_links(index)[0]
    name = link.get("ifname")
    own = addresses.get(index, [])
    if link["flags"] & _IFF_LOOPBACK:
        raise errors.InvalidError(
            f"underlay interface {name} is the loopback: name one that reaches other hosts"
        )
    if not own:
        raise errors.InvalidError(f"underlay interface {name} has no IPv4 address")
    if address and address not in own:
        has = ", ".join(decode.address4(each) for each in own)
        raise errors.InvalidError(
            f"underlay address {decode.address4(address)} is not on interface {name}, which has {has}"
        )
    return _nic_of(link, address or own[0])


def _index(ip: pyroute2.IPRoute, addresses: dict[int, list[int]], interface: str, address: int) -> int:
    if interface:
        found = ip.link_lookup(ifname=interface)
        if not found:
            raise errors.InvalidError(f"underlay interface {interface!r} does not exist")
        return int(found[0])
    if address:
        for index, own in addresses.items():
            if address in own:
                return index
        raise errors.InvalidError(f"underlay address {decode.address4(address)} is on no interface here")
    for route in ip.get_default_routes(family=_AF_INET):
        if route.get("oif"):
            return int(route.get("oif"))
    raise errors.InvalidError("there is no default route to tell the underlay interface by: name its address")


def _addresses(ip: pyroute2.IPRoute) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in ip.get_addr(family=_AF_INET):
        found.setdefault(entry["index"], []).append(values.address(entry.get("local")))
    return found


def _nic_of(link: Any, address: int) -> underlay.Nic:
    info = link.get("linkinfo")
    return underlay.Nic(
        name=link.get("ifname"),
        ifindex=link["index"],
        address=address,
        mac=bytes.fromhex((link.get("address") or "").replace(":", "")),
        mtu=link.get("mtu"),
        kind=(info.get("kind") if info else "") or "",
    )
