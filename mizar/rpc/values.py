# SPDX-License-Identifier: Apache-2.0
"""Values of other layers <-> messages of the node API. Pure.

Numbers to text is mizar.abi.decode; this is the way back, for those who write messages.
"""

from __future__ import annotations

import ipaddress

from mizar.rpc.gen.mizar.node.v1 import node_pb2


def address(text: str) -> int:
    """'10.0.0.1' -> 0x0a000001; ValueError as ipaddress says it."""
    return int(ipaddress.IPv4Address(text))


def prefix(text: str) -> node_pb2.Prefix:
    """'10.0.1.0/24' as a message."""
    network = ipaddress.IPv4Network(text)
    return node_pb2.Prefix(address=int(network.network_address), length=network.prefixlen)


def mac(text: str) -> bytes:
    """'02:00:00:00:00:01' -> six bytes; ValueError if it is no MAC."""
    octets = bytes.fromhex(text.replace(":", ""))
    if len(octets) != 6:
        raise ValueError(f"MAC {text!r}: must have six octets")
    return octets
