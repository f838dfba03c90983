# SPDX-License-Identifier: Apache-2.0
"""How a packet left a program: enum mz_verdict with the texts that people read.

The number is the index into the verdict counters, the label is what `mizar drops` and the
node API call it, the description is one line for a person who has never read the programs.
"""

from __future__ import annotations

import enum
from typing import Final

DROP_FIRST: Final = 32
"""Verdicts from here on are drops."""


class Verdict(enum.IntEnum):
    """enum mz_verdict."""

    description: str

    def __new__(cls, value: int, description: str = "") -> Verdict:
        member = int.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    # endpoint program
    PASS = 0, "not Mizar's: left to the host's own stack"
    LOCAL = 1, "delivered to an endpoint of the same host"
    DIRECT = 2, "sent straight to the endpoint's host"
    DIRECT_PROBE = 3, "sent straight to the endpoint's host, which is asked to confirm"
    TO_BOUNCER = 4, "sent to a bouncer of the network"
    TO_DIVIDER = 5, "sent to a divider of the VPC"
    TO_ENDPOINT_HOST = 6, "bounced by the sender's own host"
    ARP_REPLY = 7, "ARP request answered"
    ICMP_REPLY = 8, "echo request to the gateway answered"
    ICMP_TOO_BIG = 9, "too big: sender told the MTU"
    ICMP_TTL = 10, "TTL expired: sender told"
    # transit program
    DELIVERED = 11, "unwrapped into an endpoint of this host"
    DELIVERED_HERE = 12, "unwrapped into an endpoint of this host; sender's host told where it is"
    DIVIDED = 13, "divider: sent on to a bouncer"
    BOUNCED = 14, "bouncer: sent on to the endpoint's host"
    STALE = 15, "for an endpoint that has left this host: sent on"
    LEARNT = 16, "told where an endpoint is"
    FORGOT = 17, "told that an endpoint has left"
    ECHO = 18, "health probe answered"
    TO_TC = 19, "XDP left it to the tc program of the NIC"
    # services, either program
    REDIRECTED = 20, "bouncer: backend picked, sent back to the client's host"
    REFUSED = 21, "no backend: client told by a reset or port unreachable"
    TO_GATEWAY = 22, "sent to a gateway host"
    NAT_OUT = 23, "translated, out of the VPC"
    NAT_IN = 24, "translated, into the VPC"
    OUTSIDE_ARP = 25, "ARP request for an outside address answered"
    ICMP_OUTSIDE = 26, "from outside, too big or TTL expired: sender told"
    REDIRECT_TAKEN = 27, "backend learnt from a bouncer, packet sent on to it"
    # drops: endpoint program
    DROP_MALFORMED_ETH = 32, "Ethernet header cut short"
    DROP_MALFORMED_ARP = 33, "ARP packet cut short or not Ethernet/IPv4"
    DROP_MALFORMED_IP = 34, "IPv4 header wrong or longer than the frame"
    DROP_UNKNOWN_PORT = 35, "interface has no endpoint"
    DROP_SPOOFED_MAC = 36, "source MAC is not the endpoint's"
    DROP_SPOOFED_IP = 37, "source address is not the endpoint's"
    DROP_SPOOFED_ARP = 38, "ARP sender is not the endpoint"
    DROP_ARP_UNANSWERED = 39, "ARP probe, announcement, or for an address outside the VPC"
    DROP_NOT_IPV4 = 40, "neither ARP nor IPv4"
    DROP_MULTICAST = 41, "multicast, broadcast or reserved destination"
    DROP_TOO_BIG = 42, "over the MTU, and no ICMP error is due"
    DROP_TTL = 43, "TTL expired, and no ICMP error is due"
    DROP_NO_ROUTE = 44, "destination is outside the VPC"
    DROP_NO_NETWORK = 45, "destination is in no network of the VPC"
    DROP_NO_DIVIDER = 46, "the VPC has no divider"
    DROP_NO_BOUNCER = 47, "no bouncer holds the destination's shard"
    DROP_NO_ENDPOINT = 48, "bouncer knows no endpoint with this address"
    DROP_UNKNOWN_HOST = 49, "next host is not a known host"
    DROP_GATEWAY = 50, "to the gateway address, and not an echo request"
    # drops: transit program
    DROP_OUTER_MALFORMED = 51, "outer IPv4 or UDP header wrong"
    DROP_OUTER_FRAGMENT = 52, "tunnel packet arrived in fragments"
    DROP_FOREIGN_PEER = 53, "tunnel packet from a machine that is not a host"
    DROP_GENEVE_VERSION = 54, "Geneve version is not 0"
    DROP_GENEVE_PROTOCOL = 55, "Geneve carries something else than Ethernet"
    DROP_GENEVE_TRUNCATED = 56, "Geneve header or options cut short"
    DROP_GENEVE_OPTION = 57, "Geneve option overruns, or has a wrong length"
    DROP_GENEVE_CRITICAL = 58, "unknown critical Geneve option"
    DROP_GENEVE_CONTROL = 59, "control packet without a known option"
    DROP_INNER_MALFORMED = 60, "inner Ethernet or IPv4 header wrong"
    DROP_INNER_NOT_IPV4 = 61, "inner packet is not IPv4"
    DROP_UNKNOWN_VNI = 62, "VPC is not on this host"
    DROP_NOT_HERE = 63, "bounced to this host, but the endpoint is not here"
    DROP_ECN = 64, "congestion mark on a packet that cannot carry it (RFC 6040)"
    # drops: both
    DROP_HELPER = 65, "a kernel helper refused"
    DROP_NO_CONFIG = 66, "the agent has not configured the programs yet"
    # drops: services, routes, gateways, in either program
    DROP_NO_BACKEND = 67, "no backend, and the client must not be answered"
    DROP_FRAGMENT = 68, "fragment of a translated flow that came before its first one"
    DROP_FLOWS_FULL = 69, "new flow, but the connection table is full"
    DROP_UNTRANSLATABLE = 70, "protocol or ICMP message that cannot be translated"
    DROP_BLACKHOLE = 71, "route says so"
    DROP_ROUTE_LOOP = 72, "route leads back to the sender"
    DROP_NO_GATEWAY = 73, "no gateway host is known"
    DROP_NAT_EXHAUSTED = 74, "no free port for source NAT to this peer"
    DROP_NAT_UNKNOWN = 75, "from outside: of no flow, floating address or port forward"
    DROP_OUTSIDE_TOO_BIG = 76, "from outside: bigger than the MTU and may be fragmented"
    DROP_NOT_CLIENT = 77, "redirect for a flow of no endpoint of this host"

    @property
    def is_drop(self) -> bool:
        return self >= DROP_FIRST

    @property
    def label(self) -> str:
        """The name users see: spoofed_ip."""
        return self.name.removeprefix("DROP_").lower()


BY_NUMBER: Final = {int(verdict): verdict for verdict in Verdict}
BY_LABEL: Final = {verdict.label: verdict for verdict in Verdict}
