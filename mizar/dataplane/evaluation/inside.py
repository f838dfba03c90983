# SPDX-License-Identifier: Apache-2.0
"""The inner frame of a tunnel packet, as far as forwarding needs it: which endpoints are meant.

What holds:
 - `src` and `dst` are the endpoints that the MACs name, where they do, else those with the IP addresses.
"""

from __future__ import annotations

import dataclasses

from mizar.abi import layout, macs
from mizar.abi.verdicts import Verdict
from mizar.dataplane.evaluation import packet


@dataclasses.dataclass(frozen=True)
class Inner:
    """Who sends to whom, in VPC `vni`."""

    vni: int
    src: int
    """0: no endpoint, or none that is known."""
    dst: int
    """0: none, or the gateway."""
    ip_src: int
    ip_dst: int
    tos: int
    prefer: int = 0
    """Of all backends rather this one; 0: any."""
    peer_vni: int = 0
    """VPC of the source, if it is another one."""
    from_gateway: bool = False
    to_gateway: bool = False
    """Out of the VPC; then no endpoint is meant."""

    @property
    def sender_vni(self) -> int:
        """VPC in which the sender knows the destination."""
        return self.peer_vni or self.vni

    def crossed(self, vni: int) -> Inner:
        """As a receiver in peer VPC `vni` sees it."""
        src = self.src if self.src == self.ip_src else 0
        return dataclasses.replace(self, vni=vni, peer_vni=self.vni, src=src)


def read(frame: bytes, vni: int) -> Inner | Verdict:
    """The frame, or what is wrong with it."""
    if len(frame) < packet.ETH_LEN:
        return Verdict.DROP_INNER_MALFORMED
    if packet.ethertype(frame) != packet.ETH_P_IP:
        return Verdict.DROP_INNER_NOT_IPV4
    ip = packet.read_ip(frame[packet.ETH_LEN :])
    if ip is None or not ip.is_sound(len(frame) - packet.ETH_LEN):
        return Verdict.DROP_INNER_MALFORMED
    plain = Inner(vni, ip.src, ip.dst, ip.src, ip.dst, ip.tos)
    return _from(_to(plain, frame[:6]), frame[6:12])


def _to(inner: Inner, mac: bytes) -> Inner:
    via, prefer = (macs.argument(mac, kind) for kind in (layout.InnerMac.VIA, layout.InnerMac.PREFER))
    if via is not None:
        return dataclasses.replace(inner, dst=via)
    if macs.argument(mac, layout.InnerMac.GATEWAY) is not None:
        return dataclasses.replace(inner, dst=0, to_gateway=True)
    return inner if prefer is None else dataclasses.replace(inner, prefer=prefer)


def _from(inner: Inner, mac: bytes) -> Inner:
    via, peer = (macs.argument(mac, kind) for kind in (layout.InnerMac.VIA, layout.InnerMac.PEER))
    if via is not None:
        return dataclasses.replace(inner, src=via)
    if peer is not None:
        vni, forwarded = peer >> 8, peer & 0xFF
        other = 0 if vni == inner.vni else vni
        return dataclasses.replace(inner, peer_vni=other, src=0 if forwarded else inner.src)
    if macs.argument(mac, layout.InnerMac.GATEWAY) is not None:
        return dataclasses.replace(inner, src=0, from_gateway=True)
    return inner
