# SPDX-License-Identifier: Apache-2.0
"""The controller: apply, delete, get, list, watch; everything that the API calls.

    request -> store (one transaction) -> planner (steps) -> pusher -> agents

What holds:
 - What was acknowledged to a client is in the store, and the rest follows from the store: after a crash the
   planner's state is rebuilt, every agent gets a snapshot, and deletions under way go on.
 - Transactions, and what the planner makes of them, happen one after the other in the same order. The
   database has a thread of its own; planner and pusher live on the event loop.
 - An object that is deleted is marked first, and freed (its address, its number) when all reachable hosts
   that had rows of it have let go.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import pydantic

import mizar
from mizar import errors
from mizar.controller import (
    backoff,
    config,
    counters,
    feed,
    fleet,
    health,
    planning,
    presence,
    pusher,
    roles,
    sentries,
    status,
    subjects,
    views,
    worker,
)
from mizar.controller.hostqueue import HostState
from mizar.controller.rollout import Change
from mizar.model import bulk, facts, kinds, objects
from mizar.plan import delta, planner, rows, state
from mizar.store import protocol

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_PAGE: Final = 100
"""Objects between two turns for others, in long lists."""

_PHASES: Final = [stage for stage in rows.Stage if stage < rows.Stage.MOVES]


class Health(pydantic.BaseModel):
    """How the controller is."""

    status: Literal["ok"] = "ok"
    version: str
    revision: int = pydantic.Field(description="resourceVersion of the last change")
    hosts: int
    connected: int = pydantic.Field(description="hosts whose agent is connected and has everything")


class _Listener:
    """pusher.Listener for two: the board, and who waits for hosts."""

    def __init__(self, board: status.Board, turned: Callable[[str], None]) -> None:
        self._board = board
        self._on_turned = turned

    def settled(self, host: str) -> None:
        self._board.settled(host)

    def turned(self, host: str) -> None:
        self._board.turned(host)
        self._on_turned(host)


class Controller:
    """One management plane over one store. An async context manager: running between enter and exit."""

    def __init__(
        self,
        store: protocol.Store,
        *,
        connector: Callable[[str], worker.Connect],
        timing: config.Timing | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`connector(target)` reaches the agent at a target (link.Agents)."""
        self._store = store
        self._timing = timing or config.Timing()
        self._rng = rng or random.Random()
        self._connector = connector
        self.world = state.State()
        """What the planner has; for reading."""
        self._board = status.Board(self.world, lambda subject: self._feed.tell(subject))
        self._writing = asyncio.Lock()
        self._database = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mizar-store")
        self._to_remove: dict[kinds.Ref, None] = {}
        self.failed = False
        """Planning has failed, which is a bug: the process must end, and be started again."""
        self.on_failure: Callable[[], None] = lambda: None
        self._remover: asyncio.Task[None] | None = None
        self._to_join: dict[str, None] = {}
        self._joiner: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        with bulk.collector_paused():
            everything = await self._in_database(self._store.everything)
            planner.apply(self.world, everything)
        self.pusher = pusher.Pusher(
            snapshot=self._snapshot,
            later=loop.call_later,
            listener=_Listener(self._board, self._turned),
            drain=self._timing.drain,
            retry_delay=self._retry_delay,
            version=self._store.revision,
        )
        self._board.pusher = self.pusher
        self._health = health.Health(
            self.world, plan=self._plan_unstored, later=loop.call_later, news=self._tell_service
        )
        self._presence = presence.Presence(
            self.world,
            self.pusher,
            plan=self._plan_unstored,
            later=loop.call_later,
            patience=self._timing.away,
        )
        self._fleet = fleet.Fleet(
            self.pusher,
            connector=self._connector,
            on_health=self._health.heard,
            has_checks=lambda name: any(planner.checks(self.world, name)),
            timing=self._timing,
            rng=self._rng,
        )
        self._views = views.Views(
            self.world, self._board, self.pusher, self._fleet.statuses, health=self._health
        )
        for host in everything.hosts:
            self._fleet.add(host.name, host.agent, address=host.address, expected=True)
        self._feed = feed.Feed(self._store, world=self.world, board=self._board, views=self._views)
        await self._resume_deletions()
        self.pusher.when_pruned(bulk.keep)
        watching = sentries.watch(
            self.world, ask=self._fleet.unreached, tell=self._presence.lost, period=self._timing.look
        )
        self._sentries = asyncio.create_task(watching, name="sentries")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.close()
        await self._fleet.close()
        for task in (self._sentries, self._remover, self._joiner):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._database.shutdown()

    def end_watches(self) -> None:
        """Watches have no end of their own; a server that stops ends them."""
        self._feed.close()

    async def _resume_deletions(self) -> None:
        """What was marked when the controller stopped goes once no reachable host has rows of it. A host that
        was being deleted is told a last time that it has nothing."""
        marked = await self._in_database(self._store.deleting)
        for ref in marked:
            obj = self._store.get(ref) if ref.kind is kinds.HOST else None
            if isinstance(obj, objects.Host):
                self._fleet.add(ref.name, obj.spec.agent, address=0, expected=True)
                self._fleet.leave(ref.name)
        if marked:
            self.pusher.when_pruned(lambda: self._remove_later(marked))

    def _retry_delay(self, attempt: int) -> float:
        timing = self._timing
        return backoff.delay(attempt, first=timing.backoff_first, last=timing.backoff_last, rng=self._rng)

    def _snapshot(self, host: str) -> list[delta.Batch]:
        staged = planner.snapshot(self.world, host)
        return [delta.Batch(staged.get(stage, [])) for stage in _PHASES]

    async def _in_database(self, call: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._database, call, *args)

    # ------------------------------------------------------------ writing

    async def apply(self, wanted: Sequence[objects.Declared]) -> list[protocol.Result]:
        """Create or change objects: all or none."""
        committed, _ = await asyncio.shield(self._write(self._store.apply, wanted))
        return committed.results

    async def delete(self, refs: Sequence[kinds.Ref]) -> list[objects.Declared]:
        """Begin to delete objects: all or none. Returns them as they are now."""
        wanted = list(dict.fromkeys(refs))
        _, marked = await asyncio.shield(self._write(self._store.delete, wanted, then=self._present))
        return marked

    def _present(self, refs: Sequence[kinds.Ref]) -> list[objects.Declared]:
        found = (self._store.get(ref) for ref in refs)
        return [self._views.of(obj) for obj in found if obj is not None]

    async def _write(
        self,
        write: Callable[[Any], protocol.Committed],
        what: Sequence[Any],
        *,
        then: Callable[[Any], list[_T]] = lambda _: [],
    ) -> tuple[protocol.Committed, list[_T]]:
        """One transaction and what follows from it; `then(what)` is asked in between. To be shielded: a
        client that hangs up must not part them."""
        async with self._writing:
            committed = await self._in_database(write, what)
            answer = then(what)
            fixtures = planning.fixtures_gone(committed.results)
            with self._failing_once_for_all(), bulk.collector_paused():
                for step in planning.steps(committed.change, self.world.endpoints):
                    self._plan(step, committed.revision, fixtures)
                    fixtures = []
                    await asyncio.sleep(0)
        return committed, answer

    @contextlib.contextmanager
    def _failing_once_for_all(self) -> Iterator[None]:
        """After a failure the planner no longer has what the store has. A new process will."""
        try:
            yield
        except Exception:
            self.failed = True
            self.on_failure()
            raise

    def _plan(self, change: planner.Change, revision: int, fixtures: Sequence[kinds.Ref]) -> None:
        """`fixtures`: those that the change deletes."""
        gone = [*fixtures, *planning.refs_gone(self.world, change)]
        made = planner.apply(self.world, change)
        for host in change.hosts:
            queue = self.pusher.hosts.get(host.name)
            if queue is None or queue.leaving:
                self._fleet.add(host.name, host.agent, address=host.address)
            else:
                self._fleet.retarget(host.name, host.agent)
        done = (lambda: self._remove_later(gone)) if gone else None
        self._follow(change, made)
        self.pusher.submit(Change(revision, revision, made, done))
        for name in change.gone_hosts:
            self._fleet.leave(name)
        self._feed.look()
        if self._board.watched:
            self._track(change, revision)

    def _plan_unstored(self, change: planner.Change) -> None:
        """What is known of hosts and backends now, and in no store. No object is waiting for it."""
        with self._failing_once_for_all():
            made = planner.apply(self.world, change)
        revision = self.pusher.version
        self.pusher.submit(Change(revision + 1, revision, made))
        for name in change.away if self._board.watched else ():
            self._tell_outside(name)

    def _follow(self, change: planner.Change, made: delta.Delta) -> None:
        """Listen to hosts that get checks, look after hosts that lead out."""
        self._health.planned(change)
        self._fleet.hear(health.hosts_to_hear(made))
        self._presence.look(host for gateway in change.gateways for host, _ in gateway.hosts)

    def _tell_service(self, service: int) -> None:
        """News of a scaled endpoint's backends."""
        if self._board.watched:
            self._feed.tell(subjects.Subject("Service", service))

    def _tell_outside(self, host: str) -> None:
        """News of what this host, one of a gateway, has to do with outside."""
        known = self.world.hosts.get(host)
        for number in known.gateways if known is not None else ():
            self._feed.tell(subjects.Subject("Gateway", number))
            for address in self.world.gateways[number].floating:
                self._feed.tell(subjects.Subject("FloatingAddress", address))
            for key in self.world.gateways[number].forwards:
                self._feed.tell(subjects.Subject("PortForward", key))

    def _track(self, change: planner.Change, revision: int) -> None:
        for subject in subjects.of_change(change):
            self._board.track(subject, revision)

    def _remove_later(self, refs: Sequence[kinds.Ref]) -> None:
        """Free what nobody has rows of any more; many at once."""
        self._to_remove.update(dict.fromkeys(refs))
        if self._remover is None or self._remover.done():
            self._remover = asyncio.create_task(self._remove_marked(), name="remover")

    async def _remove_marked(self) -> None:
        """Until nothing is left; what is refused (a VPC whose network is not gone yet) is tried with the
        next."""
        while self._to_remove:
            refs = sorted(self._to_remove, key=lambda ref: -ref.kind.rank)
            try:
                await self._in_database(self._store.remove, refs)
                freed = refs
            except errors.ConflictError:
                freed = [ref for ref in refs if await self._remove_one(ref)]
            self._feed.look()
            for ref in freed:
                self._to_remove.pop(ref, None)
            if not freed:
                return

    async def _remove_one(self, ref: kinds.Ref) -> bool:
        try:
            await self._in_database(self._store.remove, [ref])
        except errors.ConflictError as failure:
            _log.debug("%s stays for now: %s", ref, failure)
            return False
        return True

    # ------------------------------------------------------------ hosts that come

    def _turned(self, name: str) -> None:
        """A host that is here for the first time may take roles: not before, because others would send it
        packets that it knows nothing of."""
        self._presence.look((name,))
        known = self.world.hosts.get(name)
        if known is not None and known.gateways and self._board.watched:
            self._tell_outside(name)
        if known is None or known.fact.joined or self.pusher.hosts[name].state is not HostState.CONNECTED:
            return
        self._to_join[name] = None
        if self._joiner is None or self._joiner.done():
            self._joiner = asyncio.create_task(self._join(), name="joiner")

    async def _join(self) -> None:
        """All that have come meanwhile at once: each time, every role may move."""
        while self._to_join:
            names = list(self._to_join)
            self._to_join.clear()
            await asyncio.shield(self._write(self._store.join, names))
        # Connections of a thousand hosts would be looked at again and again, for 20 ms each time.
        bulk.keep()

    # ------------------------------------------------------------ reading

    async def get(self, ref: kinds.Ref) -> objects.Declared:
        """One object; NotFoundError if there is none."""
        found = self._store.get(ref)
        if found is None:
            raise errors.NotFoundError(f"{ref} does not exist")
        return self._views.of(found)

    async def listing(self, kind: kinds.Kind, *, vpc: str | None = None) -> list[objects.AnyObject]:
        """All objects of a kind, those of one VPC if given."""
        if kind.read_only:
            return await self._list_roles(kind, vpc)
        return [obj async for obj in self._present_ones(kind, vpc)]

    async def _present_ones(self, kind: kinds.Kind, vpc: str | None) -> AsyncIterator[objects.Declared]:
        """One by one, with turns for others."""
        for count, obj in enumerate(self._store.select(kind, vpc), start=1):
            yield self._views.of(obj)
            if count % _PAGE == 0:
                await asyncio.sleep(0)

    async def endpoints_json(self, *, vpc: str | None = None) -> AsyncIterator[bytes]:
        """The JSON array of all endpoints, in pieces: what `listing` would be written as, at a tenth of the
        cost and in no memory to speak of."""
        before = b"["
        for page in self._store.endpoint_texts(vpc):
            if page:
                yield before + ",".join([self._views.written(one) for one in page]).encode()
                before = b","
            await asyncio.sleep(0)
        yield b"[]" if before == b"[" else b"]"

    async def _list_roles(self, kind: kinds.Kind, vpc: str | None) -> list[objects.AnyObject]:
        if vpc is not None and all(one.fact.name != vpc for one in self.world.vpcs.values()):
            raise errors.NotFoundError(f"vpc {vpc!r} does not exist")
        counted = await self._counters_of(roles.hosts_with_roles(self.world, kind=kind.name, vpc=vpc))
        if kind is kinds.DIVIDER:
            return list(roles.dividers(self.world, counted, vpc=vpc))
        return list(roles.bouncers(self.world, counted, vpc=vpc))

    def health(self) -> Health:
        return Health(
            version=mizar.__version__,
            revision=self._store.revision,
            hosts=len(self.world.hosts),
            connected=sum(self._is_here(name, host.fact) for name, host in self.world.hosts.items()),
        )

    def _is_here(self, name: str, fact: facts.HostFact) -> bool:
        queue = self.pusher.hosts.get(name)
        return fact.joined and queue is not None and queue.state is HostState.CONNECTED

    # ------------------------------------------------------------ what hosts hold

    def table(self, host: str, table: str) -> AsyncIterator[list[str]]:
        """Rows of a table of one host, in pages, each row a JSON object."""
        self._check_host(host)
        return self._fleet.table(host, table)

    async def counted(self, host: str) -> counters.HostCounters:
        """What one host has counted."""
        self._check_host(host)
        return self._named(await self._fleet.counters(host))

    async def counted_everywhere(self) -> dict[str, counters.HostCounters]:
        """What the hosts that answer have counted."""
        return await self._counters_of(self.world.hosts)

    async def _counters_of(self, hosts: Any) -> dict[str, counters.HostCounters]:
        found = await self._fleet.counters_of(sorted(hosts))
        return {name: self._named(found[name]) for name in sorted(found)}

    def _named(self, message: Any) -> counters.HostCounters:
        return counters.read(message, vpc_name=self._vpc_name, network_name=self._network_name)

    def _vpc_name(self, vni: int) -> str | None:
        vpc = self.world.vpcs.get(vni)
        return vpc.fact.name if vpc is not None else None

    def _network_name(self, number: int) -> str | None:
        network = self.world.networks.get(number)
        return network.fact.name if network is not None else None

    def _check_host(self, name: str) -> None:
        if name not in self.world.hosts:
            hint = kinds.did_you_mean(name, self.world.hosts)
            raise errors.NotFoundError(f"host {name!r} does not exist{hint}")

    def watch(
        self, kind: kinds.Kind, *, vpc: str | None = None, since: int | None = None
    ) -> AsyncIterator[feed.Event]:
        """What there is and what happens to it, or what happened after the version `since`:
        feed.Feed.watch."""
        return self._feed.watch(kind, vpc=vpc, since=since, present=self._present_ones)
