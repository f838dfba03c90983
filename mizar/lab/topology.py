# SPDX-License-Identifier: Apache-2.0
"""Names and addresses of a lab. Pure, and the same for every lab of the same size.

+--------------------- mizar-underlay ----------------------+
|                  br0, no address                          |
+---p1-----------------p2-----------------pN-------outside--+
    |                  |                  |           |
   eth0               eth0               eth0        eth0
+----------+      +----------+      +----------+  +---------------+
| mizar-h1 |      | mizar-h2 |  ... | mizar-hN |  | mizar-outside |
| .0.11    |      | .0.12    |      |          |  | .0.2          |
+----------+      +----------+      +----------+  +---------------+
                  underlay 172.30.0.0/16
"""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Final

from mizar.lab import config

PREFIX: Final = ipaddress.IPv4Network("172.30.0.0/16")
INTERFACE: Final = "eth0"
UNDERLAY: Final = "mizar-underlay"
OUTSIDE: Final = "mizar-outside"
BRIDGE: Final = "br0"
VXLAN_PODS: Final = ("mizar-vxlan-1", "mizar-vxlan-2")
ENDPOINT_NETNS: Final = "mizar."
"""Namespaces that agents make for endpoints begin so: mizar.blue.web-1."""

_FIRST_HOST: Final = 10
_OUTSIDE_HOST: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """One namespace on the underlay: a Mizar host, or the outside."""

    name: str
    netns: str
    address: str
    port: str
    """The bridge's end of its cable."""

    @property
    def interface(self) -> str:
        return INTERFACE


@dataclasses.dataclass(frozen=True, slots=True)
class Topology:
    hosts: tuple[Machine, ...]
    outside: Machine

    @property
    def machines(self) -> tuple[Machine, ...]:
        return (*self.hosts, self.outside)

    @property
    def namespaces(self) -> tuple[str, ...]:
        return (UNDERLAY, *(machine.netns for machine in self.machines))


def of(wanted: config.LabConfig) -> Topology:
    """The topology of a checked configuration."""
    return Topology(
        hosts=tuple(_host(number) for number in range(1, wanted.hosts + 1)),
        outside=Machine("outside", OUTSIDE, str(PREFIX[_OUTSIDE_HOST]), "outside"),
    )


def _host(number: int) -> Machine:
    return Machine(f"h{number}", f"mizar-h{number}", str(PREFIX[_FIRST_HOST + number]), f"p{number}")
