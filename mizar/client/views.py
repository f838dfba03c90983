# SPDX-License-Identifier: Apache-2.0
"""Lists that follow from others: the routes that apply in a network, the sessions that hosts know. Read-only
objects in the JSON form of all others, so that they are shown, filtered and written alike.

Routes are computed from what is declared: what a network sees, longest prefix first. Sessions come from the
connection tables of the hosts: one object a session, of the direction that began it. A host that is away has
its sessions still, but cannot be asked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from mizar.model import kinds

Object = dict[str, Any]
List = Callable[[kinds.Kind], list[Object]]
"""All objects of a kind."""
Table = Callable[[str, str], list[Object]]
"""Rows of a table of a host."""


# ------------------------------------------------------------------------------------------------- routes


def routes(list_of: List, *, vpc: str | None) -> list[Object]:
    """Of one VPC, or of all."""
    vpcs = {kinds.full_name(one): one for one in list_of(kinds.VPC)}
    found = _Declared(
        vpcs,
        gateways=_by_vpc(list_of(kinds.GATEWAY)),
        tables=_by_vpc(list_of(kinds.ROUTE_TABLE)),
        peerings=_by_vpc(list_of(kinds.PEERING)),
    )
    return [route for name in sorted(vpcs) if vpc in (None, name) for route in found.routes(name)]


def _by_vpc(objects: Iterable[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for obj in objects:
        if not obj["metadata"].get("deletionTimestamp"):
            found.setdefault(obj["metadata"]["vpc"], []).append(obj)
    return found


class _Declared:
    """All that routes follow from."""

    def __init__(
        self,
        vpcs: Mapping[str, Object],
        *,
        gateways: Mapping[str, list[Object]],
        tables: Mapping[str, list[Object]],
        peerings: Mapping[str, list[Object]],
    ) -> None:
        self._vpcs = vpcs
        self._gateways = gateways
        self._tables = tables
        self._peerings = peerings

    def routes(self, vpc: str) -> Iterator[Object]:
        """Those of the whole VPC, then those of networks that have a table. Of equal prefixes the later
        declaration wins: what is implied, gateways, the VPC's table, the network's."""
        main = dict.fromkeys(self._vpcs[vpc]["spec"]["cidrs"], ("local", "vpc"))
        for peering in self._peerings.get(vpc, ()):
            if (peering.get("status") or {}).get("active"):
                peer = peering["spec"]["peer"]
                cidrs = self._vpcs[peer]["spec"]["cidrs"] if peer in self._vpcs else ()
                main |= {to: (f"peer {peer}", _source(peering)) for to in cidrs}
        for gateway in self._gateways.get(vpc, ()):
            target = f"gateway {gateway['metadata']['name']}"
            main |= {to: (target, _source(gateway)) for to in gateway["spec"]["destinations"]}
        tables = self._tables.get(vpc, [])
        for table in tables:
            if not table["spec"]["networks"]:
                main |= _declared(table)
        yield from _listed(vpc, None, main)
        for table in tables:
            for network in table["spec"]["networks"]:
                yield from _listed(vpc, network, main | _declared(table))


def _declared(table: Object) -> dict[str, tuple[str, str]]:
    return {
        route["to"]: (kinds.route_target(route), _source(table)) for route in table["spec"].get("routes", ())
    }


def _source(obj: Object) -> str:
    return f"{obj['kind'].lower()} {obj['metadata']['name']}"


def _listed(vpc: str, network: str | None, known: Mapping[str, tuple[str, str]]) -> Iterator[Object]:
    for to in sorted(known, key=_longest_first):
        target, source = known[to]
        spec = {"to": to, "target": target, "declaredBy": source}
        yield {
            "apiVersion": kinds.API_VERSION,
            "kind": kinds.ROUTE.name,
            "metadata": {"name": f"{network}/{to}" if network else to, "vpc": vpc},
            "spec": spec | ({"network": network} if network else {}),
        }


def _longest_first(cidr: str) -> tuple[int, int]:
    network = ipaddress.IPv4Network(cidr)
    return -network.prefixlen, int(network.network_address)


# ----------------------------------------------------------------------------------------------- sessions


def sessions(list_of: List, table: Table, *, vpc: str | None, host: str | None) -> list[Object]:
    """Of one VPC or all, as one host or all that are here know them."""
    machines = list_of(kinds.HOST)
    vpcs = {(one.get("status") or {}).get("vni"): kinds.full_name(one) for one in list_of(kinds.VPC)}
    names = {address: kinds.full_name(one) for one in machines for address in one["spec"]["addresses"]}
    here = [kinds.full_name(one) for one in machines if (one.get("status") or {}).get("agent") != "away"]
    found = [
        session
        for name in ([host] if host is not None else here)
        for row in table(name, "flows")
        if (session := _session(name, row, vpcs, names)) is not None
    ]
    mine = [one for one in found if vpc in (None, one["metadata"]["vpc"])]
    return sorted(mine, key=lambda one: (one["metadata"]["vpc"], one["metadata"]["name"]))


_ONE_WAY: Final = ("via", "affinity")
"""Kinds of flows that have no opposite."""


def _session(
    host: str, row: Object, vpcs: Mapping[int | None, str], names: Mapping[str, str]
) -> Object | None:
    """None of the direction that answers: it says nothing more."""
    state = list(row["state"])
    if "reverse" in state:
        return None
    number = row["vni"] or row["new_vni"]
    via = row.get("via")
    what = f"{row['protocol']}-{row['source']}-{row['destination']}"
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": kinds.SESSION.name,
        "metadata": {"name": f"{host}/{what}", "vpc": vpcs.get(number, f"vni-{number}")},
        "spec": {
            "host": host,
            "type": row["kind"],
            "protocol": row["protocol"].upper(),
            "from": row["source"],
            "to": row["destination"],
            "becomes": _becomes(row, names.get(via, via) if via else None),
        },
        "status": {
            "state": _state(row["kind"], state),
            "idleSeconds": row["idle_s"],
            "endsInSeconds": max(0, row["timeout_s"] - row["idle_s"]),
        },
    }


def _becomes(row: Object, via: str | None) -> str:
    """What is translated, and the host that it goes through."""
    if row["kind"] == "via":
        return f"via {via}"
    parts = [
        f"{word} {row[new]}"
        for word, old, new in (("from", "source", "new_source"), ("to", "destination", "new_destination"))
        if row[new] != row[old]
    ]
    return " ".join(parts) or "as it is"


def _state(kind: str, flags: list[str]) -> str:
    if kind in _ONE_WAY:
        return "known"
    if "closed" in flags:
        return "closed"
    if "fin_orig" in flags or "fin_reply" in flags:
        return "closing"
    return "established" if "replied" in flags else "unanswered"
