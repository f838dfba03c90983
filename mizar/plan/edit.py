# SPDX-License-Identifier: Apache-2.0
"""The delta of one change in the making.

Whoever is about to change something that a cell or item depends on *touches* it first; its rows are kept as
they were. At the end what was touched is compared with what it has become, and every difference gets the
stage that makes before it breaks. Locations and endpoints are noted row by row as they change.
"""

from __future__ import annotations

from collections.abc import Iterable

from mizar.plan import cells, delta, items, rows, state
from mizar.plan.rows import Stage

_BEFORE_USE = {True: Stage.DIVIDERS, False: Stage.HOSTS}
"""Stage of routes and shards, by whether others turn to the host for them (Cell.early)."""


class Edit:
    """Collects one delta. `state` is changed by others between touches and `finish`."""

    def __init__(self, world: state.State) -> None:
        self.delta = delta.Delta()
        self._world = world
        self._vpcs: dict[tuple[str, int], tuple[state.VpcState, cells.Cell]] = {}
        self._networks: dict[tuple[str, int], tuple[state.VpcState, state.NetworkState, cells.Cell]] = {}
        self._items: dict[items.Item, items.Rows] = {}

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

    def touch_item(self, item: items.Item) -> None:
        """Its rows on any host are about to change."""
        if item not in self._items:
            self._items[item] = items.by_host(self._world, item)

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
            self._compare_way_out(host, before, after)
        for (host, _), changed in routes.items():
            self._compare_routes(host, changed)
        for item, known in self._items.items():
            self._compare_item(known, items.by_host(self._world, item))
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
            self._compare_heads(host, before.head, after.head, uses=host in vpc.hosts, early=after.early)
        if before.routes != after.routes:
            changed = routes.setdefault(
                (host, vpc.fact.vni), _Routes(divides=host in vpc.dividers, leads_out=vpc.leads_out(host))
            )
            changed.before.update((row.key, row) for row in before.routes)
            changed.after.update((row.key, row) for row in after.routes)

    def _compare_heads(
        self, host: str, before: cells.Head | None, after: cells.Head | None, *, uses: bool, early: bool
    ) -> None:
        if after is None:
            if before is not None:
                self.remove(host, before.key)
        elif isinstance(after, rows.VpcRow):
            self._change_vpc(host, before if isinstance(before, rows.VpcRow) else None, after, uses=uses)
        elif isinstance(before, rows.NetworkRow) and before.bounces:
            self.upsert_head(Stage.BREAK, host, after)
        else:
            self.upsert_head(Stage.BOUNCERS if after.bounces else _BEFORE_USE[early], host, after)

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
            fresh = after.early and not before.shards
            stage = Stage.BOUNCERS if fresh else _BEFORE_USE[after.early]
            self._put_shards(stage, host, before.shards, after.shards)
            return
        if before.early and space is not None:
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
            stage = changed.stage(after)
            # A divider that becomes a mere user, or whose group space is gone, answers until the break.
            if before is not None and _says_less(after, before):
                stage = Stage.BREAK
            self.upsert(stage, host, after)
        for key in changed.before.keys() - changed.after.keys():
            self.remove(host, key)

    def _compare_way_out(self, host: str, before: cells.Cell, after: cells.Cell) -> None:
        """The hosts of a gateway know that they are before anybody is told to turn to them."""
        known = {row.key: row for row in before.way_out}
        for row in after.way_out:
            old = known.pop(row.key, None)
            if old != row:
                moved = old is not None and isinstance(row, rows.ShardRow)
                self.upsert(Stage.HOSTS if moved else Stage.DIVIDERS, host, row)
        for key in known:
            self.remove(host, key)

    def _compare_item(self, before: items.Rows, after: items.Rows) -> None:
        for host, wanted in after.items():
            had = before.get(host)
            if had is None:
                had = self._take_over(host, before)
            known = {row.key: row for row in had}
            for row in wanted:
                old = known.pop(row.key, None)
                if old != row:
                    self.upsert(items.stage(row, old, new=not before), host, row)
            for key in known:
                self.remove(host, key)
        for host, had in before.items():
            if host not in after:
                for row in had:
                    self.remove(host, row.key)

    def _take_over(self, host: str, before: items.Rows) -> tuple[items.ItemRow, ...]:
        """A new bouncer of a service says at first what the others say: new backends are not there yet."""
        others = tuple(row for row in next(iter(before.values()), ()) if isinstance(row, rows.ServiceRow))
        for row in others:
            self.upsert(Stage.BOUNCERS, host, row)
        return others


class _Routes:
    """Routes of one VPC on one host that changed, from all its cells together."""

    __slots__ = ("_divides", "_leads_out", "after", "before")

    def __init__(self, *, divides: bool, leads_out: bool) -> None:
        self.before: dict[rows.Key, rows.RouteRow] = {}
        self.after: dict[rows.Key, rows.RouteRow] = {}
        self._divides = divides
        self._leads_out = leads_out

    def stage(self, row: rows.RouteRow) -> Stage:
        """Early if others turn to the host for it. Declared routes are for endpoints, and for who leads
        out."""
        implied = row.kind in _SAYS and not row.table
        return _BEFORE_USE[self._leads_out or (self._divides and implied)]


_SAYS = {rows.RouteKind.NETWORK: 2, rows.RouteKind.NONE: 1, rows.RouteKind.DIVIDER: 0}
"""How much an implied route says: where to look, that there is nothing, or whom to ask."""


def _says_less(route: rows.RouteRow, than: rows.RouteRow) -> bool:
    """Declared routes do not compare: they hold as soon as they are there."""
    return route.kind in _SAYS and than.kind in _SAYS and _SAYS[route.kind] < _SAYS[than.kind]
