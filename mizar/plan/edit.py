# SPDX-License-Identifier: Apache-2.0
"""The delta of one change in the making.

Whoever is about to change something that a cell depends on *touches* the cell first; its rows are kept as
they were. At the end the touched cells are compared with what they have become, and every difference gets the
stage that makes before it breaks. Locations and endpoints are noted row by row as they change.
"""

from __future__ import annotations

from collections.abc import Iterable

from mizar.plan import cells, delta, rows, state
from mizar.plan.rows import Stage

_BEFORE_USE = {True: Stage.DIVIDERS, False: Stage.HOSTS}
"""Stage of routes and shards, by whether the host has them as a divider."""


class Edit:
    """Collects one delta. `state` is changed by others between touches and `finish`."""

    def __init__(self, world: state.State) -> None:
        self.delta = delta.Delta()
        self._world = world
        self._vpcs: dict[tuple[str, int], tuple[state.VpcState, cells.Cell]] = {}
        self._networks: dict[tuple[str, int], tuple[state.VpcState, state.NetworkState, cells.Cell]] = {}

    # ------------------------------------------------------------------------------------------ touching

    def touch_vpc(self, vpc: state.VpcState, hosts: Iterable[str]) -> None:
        """The VPC's cell on each of these hosts is about to change."""
        for host in hosts:
            at = (host, vpc.fact.vni)
            if at not in self._vpcs:
                self._vpcs[at] = (vpc, cells.of_vpc(self._world, vpc, host))

    def touch_network(self, vpc: state.VpcState, network: state.NetworkState, hosts: Iterable[str]) -> None:
        """The network's cell on each of these hosts is about to change, and so perhaps the VPC's."""
        hosts = tuple(hosts)
        self.touch_vpc(vpc, hosts)
        for host in hosts:
            at = (host, network.fact.id)
            if at not in self._networks:
                self._networks[at] = (vpc, network, cells.of_network(vpc, network, host))

    # ------------------------------------------------------------------------------------------- noting

    def upsert(self, stage: Stage, host: str, row: rows.Row) -> None:
        self.delta.batch(stage, host).upserts.append(row)

    def upsert_head(self, stage: Stage, host: str, row: rows.VpcRow | rows.NetworkRow) -> None:
        """Before what is noted already: a stage may take several messages, and agents refuse rows whose
        network or VPC they do not know. So networks are compared first, and VPCs come before them."""
        self.delta.batch(stage, host).upserts.insert(0, row)

    def remove(self, host: str, key: rows.Key) -> None:
        self.delta.batch(Stage.BREAK, host).removals.append(key)

    # ---------------------------------------------------------------------------------------- finishing

    def finish(self) -> delta.Delta:
        """Compare what was touched, and return the delta."""
        routes: dict[tuple[str, int], _Routes] = {}
        for (host, _), (vpc, network, before) in self._networks.items():
            after = cells.of_network(vpc, network, host)
            self._compare(host, before, after, routes, vpc)
            self._compare_shards(host, before, after, vpc, network.space)
        for (host, _), (vpc, before) in self._vpcs.items():
            after = cells.of_vpc(self._world, vpc, host)
            self._compare(host, before, after, routes, vpc)
            self._compare_shards(host, before, after, vpc, vpc.group)
        for (host, _), changed in routes.items():
            self._compare_routes(host, changed)
        return self.delta

    def _compare(
        self,
        host: str,
        before: cells.Cell,
        after: cells.Cell,
        routes: dict[tuple[str, int], _Routes],
        vpc: state.VpcState,
    ) -> None:
        if before.head != after.head:
            self._compare_heads(host, before.head, after.head, uses=host in vpc.hosts, divides=after.divides)
        if before.routes != after.routes:
            changed = routes.setdefault((host, vpc.fact.vni), _Routes(divides=host in vpc.dividers))
            changed.before.update((row.key, row) for row in before.routes)
            changed.after.update((row.key, row) for row in after.routes)

    def _compare_heads(
        self, host: str, before: cells.Head | None, after: cells.Head | None, *, uses: bool, divides: bool
    ) -> None:
        if after is None:
            if before is not None:
                self.remove(host, before.key)
        elif isinstance(after, rows.VpcRow):
            self._change_vpc(host, before if isinstance(before, rows.VpcRow) else None, after, uses=uses)
        elif isinstance(before, rows.NetworkRow) and before.bounces:
            self.upsert_head(Stage.BREAK, host, after)
        else:
            self.upsert_head(Stage.BOUNCERS if after.bounces else _BEFORE_USE[divides], host, after)

    def _change_vpc(self, host: str, before: rows.VpcRow | None, after: rows.VpcRow, *, uses: bool) -> None:
        if before is None:
            # Agents take a network only after its VPC. Nobody uses the row yet: neither endpoints here, which
            # come last, nor others, who turn to a new divider in a later stage.
            self.upsert_head(Stage.BOUNCERS, host, after)
        elif before.divides and not after.divides:
            # The others must have turned to other dividers before it stops; its own endpoints turn with them.
            self.delta.replaces = True
            if uses:
                self.upsert_head(Stage.HOSTS, host, after._replace(divides=True))
            self.upsert_head(Stage.BREAK, host, after)
        elif before.dividers and not after.dividers:
            self.upsert_head(Stage.BREAK, host, after)
        elif after.divides and not before.divides:
            # Until all its routes are there its own endpoints ask the dividers of before.
            early = after._replace(dividers=before.dividers) if before.dividers else after
            self.upsert_head(Stage.DIVIDERS, host, early)
            if early != after:
                self.upsert_head(Stage.HOSTS, host, after)
        else:
            self.upsert_head(Stage.HOSTS if after.dividers else Stage.BOUNCERS, host, after)

    def _compare_shards(
        self, host: str, before: cells.Cell, after: cells.Cell, vpc: state.VpcState, space: state.Space | None
    ) -> None:
        if before.shards is after.shards:
            return
        if after.shards:
            # A divider has new tables before the routes that lead to them.
            fresh = after.divides and not before.shards
            stage = Stage.BOUNCERS if fresh else _BEFORE_USE[after.divides]
            self._put_shards(stage, host, before.shards, after.shards)
            return
        if before.divides and host in vpc.hosts and space is not None:
            # Its own endpoints look here until the break, when shards may leave their old holders.
            self._put_shards(Stage.DIVIDERS, host, before.shards, space.rows)
        self.delta.batch(Stage.BREAK, host).removals.extend(row.key for row in before.shards)

    def _put_shards(
        self, stage: Stage, host: str, before: tuple[rows.ShardRow, ...], after: tuple[rows.ShardRow, ...]
    ) -> None:
        """Those shards that have other holders than before, or all when there were none."""
        known = before or (None,) * len(after)
        changed = [new for old, new in zip(known, after, strict=False) if old != new]
        if changed:
            self.delta.batch(stage, host).upserts.extend(changed)

    def _compare_routes(self, host: str, changed: _Routes) -> None:
        for key, after in changed.after.items():
            before = changed.before.get(key)
            if before == after:
                continue
            stage = _BEFORE_USE[changed.divides]
            # A divider that becomes a mere user, or whose group space is gone, answers until the break.
            if before is not None and _knows(before) > _knows(after):
                stage = Stage.BREAK
            self.upsert(stage, host, after)
        for key in changed.before.keys() - changed.after.keys():
            self.remove(host, key)


class _Routes:
    """Routes of one VPC on one host that changed, from all its cells together."""

    __slots__ = ("after", "before", "divides")

    def __init__(self, *, divides: bool) -> None:
        self.before: dict[rows.Key, rows.RouteRow] = {}
        self.after: dict[rows.Key, rows.RouteRow] = {}
        self.divides = divides


def _knows(route: rows.RouteRow) -> int:
    """How much a route says: where to look, that there is nothing, or whom to ask."""
    order = {rows.RouteKind.NETWORK: 2, rows.RouteKind.NONE: 1, rows.RouteKind.DIVIDER: 0}
    return order[route.kind]
