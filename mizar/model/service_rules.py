# SPDX-License-Identifier: Apache-2.0
"""Rules between the objects of in-network services. Pure, as `rules`: a store calls them inside the
transaction that writes, with what it has; they return nothing or raise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mizar import errors
from mizar.model import addresses, facts, kinds
from mizar.model.addresses import Prefix

_NAMED = 3
"""Names in an error, of those that are in the way."""


def used_by(who: object, users: Sequence[str]) -> errors.ConflictError:
    """The error for deleting what others need. `users`: what they are called, `gateway 'blue/out'`."""
    more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
    return errors.ConflictError(
        f"{who} is used by {', '.join(users[:_NAMED])}{more}; delete or change what uses it first"
    )


def still_has(who: object, inside: Sequence[str]) -> errors.ConflictError:
    """The error for deleting a VPC that has fixtures."""
    more = f" and {len(inside) - _NAMED} more" if len(inside) > _NAMED else ""
    return errors.ConflictError(f"{who} has {', '.join(inside[:_NAMED])}{more}; delete first what is in it")


def not_simple(who: object, endpoint: str) -> errors.InvalidError:
    return errors.InvalidError(f"{who}: endpoint {endpoint!r} is scaled; it takes a simple one")


# ------------------------------------------------------------------------------------------ outside addresses


class Claim(NamedTuple):
    """An outside address that a fixture has, or one port of it (port 0: all). `gateway`: serial number of the
    gateway that it belongs to. `owner`: serial number and text of the fixture."""

    address: int
    port: int
    protocol: int
    gateway: int
    owner: int
    text: str


def check_claim(who: object, claim: Claim, others: Iterable[Claim]) -> None:
    """`others` are claims to the same address. A gateway shares its addresses with its own port forwards,
    port forwards share with each other if their gateway is the same; nobody else shares."""
    for other in others:
        if not _may_share(claim, other):
            what = _named(claim) if (claim.port, claim.protocol) == (other.port, other.protocol) else ""
            raise errors.ConflictError(
                f"{who}: address {what or addresses.to_text(claim.address)} is in use by {other.text}"
            )


def _may_share(one: Claim, other: Claim) -> bool:
    if one.gateway != other.gateway:
        return False
    if one.port and other.port:
        return (one.port, one.protocol) != (other.port, other.protocol)
    # Of the two that has the whole address, it must be the gateway itself and not a floating address.
    whole = one if not one.port else other
    return bool(one.port or other.port) and whole.owner == whole.gateway


def _named(claim: Claim) -> str:
    text = addresses.to_text(claim.address)
    return f"{text} port {claim.port}" if claim.port else text


def check_outside(who: object, address: int, vpc: facts.VpcFact) -> None:
    """An outside address is not inside the VPC: packets to it would never leave."""
    inside = addresses.holder(vpc.cidrs, address)
    if inside is not None:
        raise errors.InvalidError(
            f"{who}: address {addresses.to_text(address)} is inside VPC {vpc.name!r} ({inside}); "
            f"an outside address is not"
        )


def is_outside_address(who: object, address: int, owner: str) -> errors.ConflictError:
    return errors.ConflictError(
        f"{who}: address {addresses.to_text(address)} is an outside address of {owner}"
    )


def is_host_address(who: object, address: int, host: str) -> errors.ConflictError:
    return errors.ConflictError(
        f"{who}: address {addresses.to_text(address)} is that of host {host!r}; take one that no host has"
    )


def needs_hosts(who: object, gateway: str) -> errors.InvalidError:
    return errors.InvalidError(
        f"{who}: gateway {gateway!r} has hostMasquerade; addresses and ports outside need one with hosts"
    )


def check_gateway(
    fact: facts.GatewayFact, who: object, vpc: str, others: Iterable[facts.GatewayFact]
) -> None:
    """One gateway a destination, and one a host: a host has one way out of a VPC."""
    hosts = {name for name, _ in fact.hosts}
    for other in others:
        shared = sorted(hosts & {name for name, _ in other.hosts})
        if shared:
            raise errors.ConflictError(
                f"{who}: host {shared[0]!r} is in gateway '{vpc}/{other.name}' already; "
                f"a host is in one gateway of a VPC at most"
            )
        both = set(fact.destinations) & set(other.destinations)
        if both:
            raise errors.ConflictError(
                f"{who}: destination {min(both)} is that of gateway '{vpc}/{other.name}' already"
            )


def second_floating(who: object, endpoint: str, other: str) -> errors.ConflictError:
    return errors.ConflictError(
        f"{who}: endpoint {endpoint!r} has floatingaddress {other!r} already; it has one at most"
    )


def floating_and_forward(who: object, endpoint: str, other: str) -> errors.ConflictError:
    """`other`: what the endpoint has, which is one of the two."""
    return errors.ConflictError(
        f"{who}: endpoint {endpoint!r} has {other} already; its answers can leave from one address only"
    )


def second_forward(who: object, endpoint: str, port: str, other: str) -> errors.ConflictError:
    return errors.ConflictError(
        f"{who}: port {port} of endpoint {endpoint!r} has portforward {other!r} already; "
        f"its answers can leave from one address only"
    )


def covers_outside(who: object, address: int, owner: str) -> errors.ConflictError:
    return errors.ConflictError(
        f"{who}: cidrs cover {addresses.to_text(address)}, the outside address of {owner}"
    )


# --------------------------------------------------------------------------------------- routes and peering


def check_forwarding(who: object, endpoint: str, *, forwarding: bool) -> None:
    if not forwarding:
        raise errors.ConflictError(
            f"{who}: endpoint {endpoint!r} does not forward; set forwarding: true in its spec first"
        )


def stops_forwarding(who: object, users: Sequence[str]) -> errors.ConflictError:
    return errors.ConflictError(
        f"{who}: forwarding cannot end while {', '.join(users[:_NAMED])} has a route to it"
    )


def second_table(who: object, what: str, other: str) -> errors.ConflictError:
    """`what`: network 'blue/web', or vpc 'blue'."""
    return errors.ConflictError(f"{who}: {what} has route table {other!r} already; put the routes there")


def second_peering(who: object, vpc: str, peer: str, other: str) -> errors.ConflictError:
    return errors.ConflictError(f"{who}: vpc {vpc!r} has peering {other!r} with {peer!r} already")


def check_peer_is_other(who: object, vpc: str, peer: str) -> None:
    if vpc == peer:
        raise errors.InvalidError(f"{who}: peer {peer!r} is the VPC itself; name another one")


def check_peers(who: object, vpc: facts.VpcFact, peers: Sequence[facts.VpcFact]) -> None:
    """CIDRs of a VPC and all its peers are disjoint: an address must say which VPC is meant."""
    for one, other in itertools.combinations((vpc, *peers), 2):
        found = _overlap(one.cidrs, other.cidrs)
        if found is not None:
            raise errors.ConflictError(
                f"{who}: {found[0]} of vpc {one.name!r} overlaps {found[1]} of vpc {other.name!r}; "
                f"addresses of a VPC and its peers are distinct"
            )


def _overlap(some: Iterable[Prefix], others: Sequence[Prefix]) -> tuple[Prefix, Prefix] | None:
    return next(((a, b) for a in some for b in others if a.overlaps(b)), None)


def not_a_peer(who: object, vpc: str, peer: str, known: Iterable[str]) -> errors.NotFoundError:
    hint = kinds.did_you_mean(peer, known)
    return errors.NotFoundError(f"{who}: vpc {vpc!r} has no peering with {peer!r}{hint}")
