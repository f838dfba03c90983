# SPDX-License-Identifier: Apache-2.0
"""Veth pairs into network namespaces, through netlink.

    host namespace                     endpoint's namespace
    mz3f9a1c2b4d5e  <-- veth pair -->  eth0   MAC, MTU, address, default via 169.254.1.1
    (no address, IPv6 off)             lo     up

What holds:
 - The far end is created in its namespace: it is never visible elsewhere, and its name need not be free here.
 - IPv6 is off on both ends before they come up: nothing is sent that the endpoint program must drop.
 - The endpoint's side comes up last, when the program is in place: what it sends first is not lost.
 - Checksum offload and segmentation offload stay on.
 - The host side takes packets of any size: an endpoint that has raised its own MTU is told the right one by
   the endpoint program, instead of losing packets in the veth without a trace.
 - An owned namespace is removed only if it is still the one that was made: another agent of the same
   machine may have taken over the name when the endpoint moved there.
"""

from __future__ import annotations

import contextlib
import errno
import pathlib
import socket
from typing import Final

import pyroute2
from pyroute2.netlink import exceptions

from mizar import errors
from mizar.abi import decode, layout
from mizar.agent import attachment, namespaces, netlink

_SO_NETNS_COOKIE: Final = 71
_GATEWAY: Final = decode.address4(layout.GATEWAY4)
_LOOPBACK: Final = 1
_HOST_SIDE_MTU: Final = 65535
"""Largest of a veth, ETH_MAX_MTU."""


class VethAttachments:
    """attachment.Attachments for veth pairs. Works in the network namespace in which `requests` was made."""

    def __init__(self, requests: netlink.Requests) -> None:
        self._requests = requests

    def make(self, wanted: attachment.Attachment) -> attachment.Made:
        return self._requests.run(f"create interface of {wanted.name}", lambda ip: _make(ip, wanted))

    def enable(self, wanted: attachment.Attachment, made: attachment.Made) -> None:
        self._requests.run(f"bring up interface of {wanted.name}", lambda ip: _enable(ip, wanted, made))

    def change(self, old: attachment.Attachment, new: attachment.Attachment, made: attachment.Made) -> bool:
        if (old.netns, old.ifname, old.addresses) != (new.netns, new.ifname, new.addresses):
            return False
        if (old.mac, old.mtu) != (new.mac, new.mtu):
            self._requests.run(f"change interface of {new.name}", lambda _: _change(new))
        return True

    def remove(
        self, wanted: attachment.Attachment, made: attachment.Made, *, keep_netns: bool = False
    ) -> None:
        self._requests.run(
            f"remove interface of {wanted.name}", lambda ip: _remove_link(ip, wanted.host_ifname)
        )
        if wanted.owned and not keep_netns:
            self._requests.run(
                f"remove namespace of {wanted.name}", lambda _: _remove_netns(wanted.netns, made.netns_cookie)
            )

    def alive(self, wanted: attachment.Attachment, made: attachment.Made) -> bool:
        try:
            return socket.if_indextoname(made.ifindex) == wanted.host_ifname
        except OSError:
            return False

    def remove_stray(self, ifname: str) -> None:
        self._requests.run(f"remove interface {ifname}", lambda ip: _remove_link(ip, ifname))

    def present(self) -> dict[int, str]:
        return self._requests.run("list interfaces", lambda _: _host_sides())


# ---------------------------------------------------------------- in the netlink thread


def _make(ip: pyroute2.IPRoute, wanted: attachment.Attachment) -> attachment.Made:
    _remove_link(ip, wanted.host_ifname)
    path, created = _ensure_netns(wanted)
    try:
        with namespaces.opened(path) as fd:
            _create_pair(ip, wanted, fd)
            try:
                ifindex = socket.if_nametoindex(wanted.host_ifname)
                ip.link("set", index=ifindex, ifalias=wanted.alias)
                _disable_ipv6(wanted.host_ifname)
                with namespaces.entered(fd):
                    _address_inside(wanted)
                    cookie = _netns_cookie() if wanted.owned else 0
            except BaseException:
                _remove_link(ip, wanted.host_ifname)
                raise
    except BaseException:
        if created:
            namespaces.remove(wanted.netns)
        raise
    return attachment.Made(ifindex, cookie)


def _ensure_netns(wanted: attachment.Attachment) -> tuple[pathlib.Path, bool]:
    """The namespace's file, and whether it was made just now."""
    path = namespaces.path_of(wanted.netns)
    if not wanted.owned:
        return path, False
    if path.exists():
        if _is_free(path, wanted.ifname):
            return path, False
        # Another agent's, from which the endpoint is moving to us; it keeps its own by the cookie.
        namespaces.remove(wanted.netns)
    return namespaces.create(wanted.netns), True


def _is_free(path: pathlib.Path, ifname: str) -> bool:
    """Whether it is a namespace without such an interface: one of ours that lost it, or that a crash left."""
    with contextlib.suppress(errors.MizarError), namespaces.opened(path) as fd, namespaces.entered(fd):
        return ifname not in _interface_names()
    return False


def _create_pair(ip: pyroute2.IPRoute, wanted: attachment.Attachment, netns: int) -> None:
    peer = {
        "ifname": wanted.ifname,
        "net_ns_fd": netns,
        "address": wanted.mac.hex(":"),
        "mtu": wanted.mtu,
    }
    try:
        ip.link("add", ifname=wanted.host_ifname, kind="veth", mtu=_HOST_SIDE_MTU, peer=peer)
    except exceptions.NetlinkError as failure:
        if failure.code == errno.EEXIST:
            raise errors.ConflictError(
                f"network namespace {wanted.netns} already has an interface {wanted.ifname}"
            ) from failure
        raise


def _address_inside(wanted: attachment.Attachment) -> None:
    """In the endpoint's namespace: what needs no working link."""
    _disable_ipv6(wanted.ifname)
    index = socket.if_nametoindex(wanted.ifname)
    with pyroute2.IPRoute() as ip:
        ip.link("set", index=_LOOPBACK, state="up")
        for address, length in wanted.addresses:
            ip.addr("add", index=index, address=decode.address4(address), prefixlen=length)


def _enable(ip: pyroute2.IPRoute, wanted: attachment.Attachment, made: attachment.Made) -> None:
    """The host side first: an interface that comes up without carrier drops what is sent until the kernel has
    noticed the carrier, up to a second later (net/core/link_watch.c)."""
    ip.link("set", index=made.ifindex, state="up")
    path = namespaces.path_of(wanted.netns)
    with namespaces.opened(path) as fd, namespaces.entered(fd), pyroute2.IPRoute() as inside:
        index = socket.if_nametoindex(wanted.ifname)
        inside.link("set", index=index, state="up")
        inside.route("add", dst=f"{_GATEWAY}/32", oif=index, scope="link")
        _add_default_route(inside, index, wanted.netns)


def _add_default_route(ip: pyroute2.IPRoute, index: int, netns: str) -> None:
    try:
        ip.route("add", dst="default", gateway=_GATEWAY, oif=index)
    except exceptions.NetlinkError as failure:
        if failure.code == errno.EEXIST:
            raise errors.ConflictError(f"network namespace {netns} already has a default route") from failure
        raise


def _change(new: attachment.Attachment) -> None:
    path = namespaces.path_of(new.netns)
    with namespaces.opened(path) as fd, namespaces.entered(fd), pyroute2.IPRoute() as inside:
        index = socket.if_nametoindex(new.ifname)
        inside.link("set", index=index, address=new.mac.hex(":"), mtu=new.mtu)


def _remove_link(ip: pyroute2.IPRoute, ifname: str) -> None:
    try:
        index = socket.if_nametoindex(ifname)
    except OSError:
        return
    try:
        ip.link("del", index=index)
    except exceptions.NetlinkError as failure:
        # It went with its other end meanwhile.
        if failure.code != errno.ENODEV:
            raise


def _remove_netns(netns: str, cookie: int) -> None:
    path = namespaces.path_of(netns)
    with contextlib.suppress(errors.NotFoundError), namespaces.opened(path) as fd:
        if not namespaces.is_namespace(path):
            namespaces.remove(netns)
            return
        with namespaces.entered(fd):
            ours = _netns_cookie() == cookie if cookie else _interface_names() <= {"lo"}
        if ours:
            namespaces.remove(netns)


def _host_sides() -> dict[int, str]:
    found = socket.if_nameindex()
    return {index: name for index, name in found if attachment.HOST_IFNAME.fullmatch(name)}


def _interface_names() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _netns_cookie() -> int:
    """The kernel's number of this thread's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        raw = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    return int.from_bytes(raw, "little")


def _disable_ipv6(ifname: str) -> None:
    """For this thread's network namespace; a kernel without IPv6 has nothing to disable."""
    setting = pathlib.Path(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6")
    with contextlib.suppress(FileNotFoundError):
        setting.write_text("1")
