# SPDX-License-Identifier: Apache-2.0
"""The services suite: the packet-path tools, against a server's own address and that of a service.

Each network is its own measure: what asking the service costs is the ratio to asking the server. nftables
translates on the client's host with the kernel's connection tracking, as most clusters do for services.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from bench.core import results, samples, targets
from bench.path import networks, suite, topology

_SUBJECT = "mizar.service"
_PEER = "routed.nft"


_QUICK = dataclasses.replace(suite.QUICK, repetitions=2)
_FULL = dataclasses.replace(suite.FULL, iperf_seconds=0, repetitions=5)


def _targets(wires: Sequence[topology.Wire]) -> Iterator[targets.Target]:
    at_least, at_most = targets.Relation.AT_LEAST, targets.Relation.AT_MOST
    for wire in wires:
        for figure, relation in (
            ("connections", at_least),
            ("udp_kpps", at_least),
            ("tcp_gbps", at_least),
            ("rr_p50", at_most),
        ):
            yield targets.Target(
                key=samples.Key(figure, _SUBJECT, wire.value),
                relation=relation,
                factor=1.0,
                peer=samples.Key(figure, _PEER, wire.value),
            )


def measure(*, quick: bool) -> results.Result:
    wires = (topology.Wire.GSO,) if quick else tuple(topology.Wire)
    return suite.run(
        _QUICK if quick else _FULL,
        wires=wires,
        chosen=networks.SERVICES,
        suite="services",
        title="Services",
        wanted=tuple(_targets(wires)),
    )
