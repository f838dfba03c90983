# SPDX-License-Identifier: Apache-2.0
"""Rules between objects: pure functions that return nothing or raise, given a view of what there is.

A store calls them inside the transaction that writes, so what they saw is still so when it is written.
InvalidError: the request can never be right here (an address outside of its network). ConflictError:
something else is in the way. NotFoundError: it names what does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from mizar import errors
from mizar.model import addresses, facts, kinds
from mizar.model.addresses import Prefix


class View(Protocol):
    """What the rules ask of a store about the addresses in one VPC."""

    def owner(self, vni: int, first: int, last: int, *, network: int | None = None) -> tuple[int, str] | None:
        """The lowest address within first..last that an endpoint (of this network, if given) has, and the
        endpoint's name; None when there is none."""


def missing(who: object, kind: kinds.Kind, name: str, known: Iterable[str]) -> errors.NotFoundError:
    """The error for a reference to what does not exist. `known`: names that would be right."""
    hint = kinds.did_you_mean(name, known)
    return errors.NotFoundError(f"{who}: {kind.singular} {name!r} does not exist{hint}")


def check_unchanged(who: object, field: str, before: object, after: object) -> None:
    """Refuse to change an immutable field."""
    if before != after:
        raise errors.ConflictError(
            f"{who}: {field} cannot change from {_shown(before)} to {_shown(after)}; "
            f"delete it and create it anew"
        )


def check_version(who: object, given: int | None, present: int) -> None:
    """Refuse a change that was made on something older."""
    if given is not None and given != present:
        raise errors.ConflictError(
            f"{who}: resourceVersion {given} is not the present {present}; "
            f"get it again, or leave the field out"
        )


def being_deleted(who: kinds.Ref, what: kinds.Ref) -> errors.ConflictError:
    """The error for `who`, which is, or refers to, what is being deleted."""
    return errors.ConflictError(
        f"{who} is being deleted; try again when it is gone"
        if who == what
        else f"{who}: {what} is being deleted; use another, or create it anew when it is gone"
    )


def check_host_addresses(who: object, texts: Sequence[str], owners: dict[int, str]) -> None:
    """Underlay addresses are unique. `owners`: other hosts by those of their addresses that are asked for."""
    for text in texts:
        owner = owners.get(addresses.parse(text))
        if owner is not None:
            raise errors.ConflictError(f"{who}: address {text} is that of host {owner!r}")


def check_vpc(fact: facts.VpcFact, networks: Iterable[facts.NetworkFact], view: View) -> None:
    """A changed VPC still holds all its networks and endpoints."""
    who = f"vpc {fact.name!r}"
    for network in networks:
        for cidr in network.cidrs:
            if not any(own.covers(cidr) for own in fact.cidrs):
                raise errors.ConflictError(
                    f"{who}: cidrs {_listed(fact.cidrs)} leave out "
                    f"network '{fact.name}/{network.name}' ({cidr})"
                )
    for first, last in _gaps(fact.cidrs):
        found = view.owner(fact.vni, first, last)
        if found is not None:
            raise errors.ConflictError(
                f"{who}: cidrs {_listed(fact.cidrs)} leave out endpoint '{fact.name}/{found[1]}' "
                f"({addresses.to_text(found[0])})"
            )


def check_network(
    fact: facts.NetworkFact,
    before: facts.NetworkFact | None,
    vpc: facts.VpcFact,
    siblings: Collection[facts.NetworkFact],
    view: View,
) -> None:
    """CIDRs are inside the VPC, apart from the siblings', and cover the network's own endpoints only."""
    who = f"network '{vpc.name}/{fact.name}'"
    if before is not None:
        check_unchanged(who, "shards", before.shards, fact.shards)
        if bool(before.cidrs) != bool(fact.cidrs):
            was = "a subnet" if before.cidrs else "a group network"
            raise errors.ConflictError(f"{who} is {was} and stays one; delete it and create it anew")
    for cidr in fact.cidrs:
        if not any(own.covers(cidr) for own in vpc.cidrs):
            raise errors.InvalidError(
                f"{who}: cidr {cidr} is outside VPC {vpc.name!r} ({_listed(vpc.cidrs)})"
            )
        _check_apart(who, vpc, cidr, siblings)
    _check_group_shards(who, vpc, fact, siblings)
    _check_covered(who, vpc, fact, before, view)


def _check_apart(who: str, vpc: facts.VpcFact, cidr: Prefix, siblings: Iterable[facts.NetworkFact]) -> None:
    for sibling in siblings:
        for other in sibling.cidrs:
            if cidr.overlaps(other):
                raise errors.ConflictError(
                    f"{who}: cidr {cidr} overlaps network '{vpc.name}/{sibling.name}' ({other})"
                )


def _check_group_shards(
    who: str, vpc: facts.VpcFact, fact: facts.NetworkFact, siblings: Iterable[facts.NetworkFact]
) -> None:
    """Group networks of a VPC share one shard table, because a divider cannot tell them apart."""
    other = next((s for s in siblings if not s.cidrs and not fact.cidrs and s.shards != fact.shards), None)
    if other is not None:
        raise errors.ConflictError(
            f"{who}: shards {fact.shards} differs from the {other.shards} of '{vpc.name}/{other.name}'; "
            f"group networks of a VPC share one table"
        )


def _check_covered(
    who: str, vpc: facts.VpcFact, fact: facts.NetworkFact, before: facts.NetworkFact | None, view: View
) -> None:
    """No endpoint of the network is left outside, and none of a group network comes to be inside."""
    old = before.cidrs if before is not None else ()
    for cidr in fact.cidrs:
        if cidr in old:
            continue
        found = _foreign(vpc.vni, cidr, old, view)
        if found is not None:
            raise errors.ConflictError(
                f"{who}: cidr {cidr} covers {addresses.to_text(found[0])} of endpoint "
                f"'{vpc.name}/{found[1]}', which is in a group network"
            )
    for cidr in old:
        for first, last in _gaps(fact.cidrs):
            low, high = max(first, cidr.first), min(last, cidr.last)
            found = view.owner(vpc.vni, low, high, network=fact.id) if low <= high else None
            if found is not None:
                raise errors.ConflictError(
                    f"{who}: cidrs {_listed(fact.cidrs)} leave out endpoint '{vpc.name}/{found[1]}' "
                    f"({addresses.to_text(found[0])})"
                )


def _foreign(vni: int, cidr: Prefix, own: Sequence[Prefix], view: View) -> tuple[int, str] | None:
    """An address in `cidr` that is used, and not because it was in one of `own` before."""
    for first, last in _gaps(own):
        low, high = max(first, cidr.first), min(last, cidr.last)
        found = view.owner(vni, low, high) if low <= high else None
        if found is not None:
            return found
    return None


class AddressRules:
    """Where the endpoints of one network may be: made once, asked for each address of a bulk request."""

    def __init__(
        self, vpc: facts.VpcFact, network: facts.NetworkFact, networks: Iterable[facts.NetworkFact]
    ) -> None:
        self._vpc = vpc
        self._network = network
        self._subnets = [(cidr, other) for other in networks for cidr in other.cidrs]
        self._usable = [cidr.usable() for cidr in network.cidrs]

    def check(self, who: object, address: int) -> None:
        """Refuse an address that an endpoint of the network cannot have."""
        for first, last in self._usable:
            if first <= address <= last:
                return
        self._check_slowly(who, address)

    def allow(self, numbers: Sequence[int]) -> bool:
        """Whether endpoints of the network may have all of these addresses."""
        low, high = min(numbers), max(numbers)
        if any(first <= low and high <= last for first, last in self._usable):
            return True
        try:
            for number in numbers:
                self.check("", number)
        except errors.MizarError:
            return False
        return True

    def _check_slowly(self, who: object, address: int) -> None:
        vpc, network, text = self._vpc, self._network, addresses.to_text(address)
        inside = addresses.holder(vpc.cidrs, address)
        if inside is None:
            raise errors.InvalidError(
                f"{who}: address {text} is outside VPC {vpc.name!r} ({_listed(vpc.cidrs)})"
            )
        own = addresses.holder(network.cidrs, address)
        if own is not None or not _is_usable(inside, address):
            raise errors.InvalidError(
                f"{who}: address {text} is the network or broadcast address of {own or inside}"
            )
        if network.cidrs:
            raise errors.InvalidError(
                f"{who}: address {text} is outside network '{vpc.name}/{network.name}' "
                f"({_listed(network.cidrs)})"
            )
        for cidr, other in self._subnets:
            if cidr.holds(address):
                raise errors.ConflictError(
                    f"{who}: address {text} is inside network '{vpc.name}/{other.name}' ({cidr}); "
                    f"those of a group network are outside all subnets"
                )

    def ranges(self) -> list[tuple[int, int]]:
        """First and last of each run of addresses that endpoints of the network may have, ascending."""
        if self._network.cidrs:
            return sorted(self._usable)
        gaps = _gaps([cidr for cidr, _ in self._subnets])
        found = [
            (max(first, low), min(last, high))
            for low, high in (cidr.usable() for cidr in self._vpc.cidrs)
            for first, last in gaps
        ]
        return sorted((first, last) for first, last in found if first <= last)


def address_in_use(who: object, vpc: str, address: int, owner: str) -> errors.ConflictError:
    return errors.ConflictError(
        f"{who}: address {addresses.to_text(address)} is in use by endpoint '{vpc}/{owner}'"
    )


def in_use(who: object, count: int, kind: kinds.Kind, example: str) -> errors.ConflictError:
    """The error for deleting what others are in."""
    things = f"1 {kind.singular}" if count == 1 else f"{count} {kind.plural}"
    return errors.ConflictError(f"{who} has {things}, such as {example!r}; delete first what is in it")


def _is_usable(prefix: Prefix, address: int) -> bool:
    first, last = prefix.usable()
    return first <= address <= last


def _gaps(prefixes: Iterable[Prefix]) -> list[tuple[int, int]]:
    """What disjoint prefixes leave of all addresses, as first and last of each run."""
    gaps, start = [], 0
    for prefix in sorted(prefixes):
        if start < prefix.first:
            gaps.append((start, prefix.first - 1))
        start = prefix.last + 1
    return [*gaps, (start, 0xFFFFFFFF)] if start <= 0xFFFFFFFF else gaps


def _listed(prefixes: Iterable[Prefix]) -> str:
    return ", ".join(map(str, prefixes)) or "none"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return repr(value) if isinstance(value, str) else str(value)
