# SPDX-License-Identifier: Apache-2.0
"""VPCs begin and cease to reach each other.

What a VPC needs of a peer: its endpoints' hosts the peer's CIDRs, its dividers the peer's networks and their
shards. So a peering costs the dividers what the peer's networks cost its own, and other hosts a few routes.
"""

from __future__ import annotations

from mizar.model import facts
from mizar.plan import declared, state
from mizar.plan.edit import Edit


def put_peering(world: state.State, edit: Edit, fact: facts.PeeringFact) -> None:
    vpc, peer = world.vpcs[fact.vni], world.vpcs[fact.peer]
    if fact.peer not in vpc.peers:
        _touch(edit, vpc, peer)
        vpc.peers[fact.peer] = peer
        peer.onlookers[fact.vni] = vpc
        declared.reroute(edit, vpc)


def remove_peering(world: state.State, edit: Edit, key: tuple[int, int]) -> None:
    vni, number = key
    vpc = world.vpcs.get(vni)
    if vpc is not None and number in vpc.peers:
        _touch(edit, vpc, vpc.peers[number])
        del vpc.peers.pop(number).onlookers[vni]
        declared.reroute(edit, vpc)


def _touch(edit: Edit, vpc: state.VpcState, peer: state.VpcState) -> None:
    edit.touch_vpc(vpc, {*vpc.hosts, *vpc.dividers})
    edit.touch_vpc(peer, vpc.dividers)
    for network in peer.networks.values():
        edit.touch_network(peer, network, vpc.dividers)
