# SPDX-License-Identifier: Apache-2.0
"""The embedded store: one SQLite file.

WAL with synchronous=FULL: a transaction that was acknowledged is on disk, and a crash at any point leaves the
file as after some transaction. One connection writes, another reads meanwhile. A lock file keeps a second
controller out: two planners would each push half of the truth.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence

from mizar import errors
from mizar.model import kinds, objects
from mizar.plan import planner
from mizar.store import events, records, schema
from mizar.store.protocol import Committed
from mizar.store.transaction import SqliteTransaction

_PAGE = 1000
"""Rows that a list reads at once; between two pages others may write."""

_TEXT_PAGE = 250
"""The same of JSON, which goes out at once: 3 ms of work."""

_EVENTS = 200_000
"""Events that are kept for watchers: some 40 MB when full."""

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32768",  # KiB: the inner pages of the indexes of a million endpoints, and more
)


class SqliteStore:
    """The Store protocol on one file. Methods may be called from any thread."""

    def __init__(self, path: pathlib.Path, *, clock: Callable[[], float], events_kept: int = _EVENTS) -> None:
        """Open or create the store. `clock` gives seconds since the epoch.

        UnavailableError: another process has it open, or it cannot be opened.
        """
        self._clock = clock
        self._lock_file = _lock(path)
        try:
            self._writer = _connect(path)
            schema.migrate(self._writer)
            self._reader = _connect(path)
            self._store: bytes = self._writer.execute("SELECT store FROM identity").fetchone()[0]
            self._revision = _revision(self._writer)
        except sqlite3.Error as error:
            os.close(self._lock_file)
            raise errors.UnavailableError(f"open store {str(path)!r}: {error}") from error
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._log = events.EventLog(revision=self._revision, limit=events_kept)

    @property
    def revision(self) -> int:
        return self._revision

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        os.close(self._lock_file)

    # ------------------------------------------------------------------------------------------ writing

    @contextlib.contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        with self._writing:
            tx = SqliteTransaction(self._writer, store=self._store, now=int(self._clock()))
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield tx
                if tx.failed:
                    raise errors.ConflictError("the transaction was refused in part; nothing was written")
                tx.flush()
                self._writer.execute("COMMIT" if tx.wrote else "ROLLBACK")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            if tx.wrote:
                self._revision = tx.revision
            tx.committed.revision = self._revision
            self._log.append(tx.events)

    def apply(self, wanted: Sequence[objects.Declared]) -> Committed:
        with self.transaction() as tx:
            tx.apply(wanted)
        return tx.committed

    def delete(self, refs: Sequence[kinds.Ref]) -> Committed:
        with self.transaction() as tx:
            tx.delete(refs)
        return tx.committed

    def remove(self, refs: Sequence[kinds.Ref]) -> Committed:
        with self.transaction() as tx:
            tx.remove(refs)
        return tx.committed

    def join(self, names: Sequence[str]) -> Committed:
        with self.transaction() as tx:
            tx.join(names)
        return tx.committed

    # ------------------------------------------------------------------------------------------ reading

    def get(self, ref: kinds.Ref) -> objects.Declared | None:
        """What was just written is what is asked for most, and the connection that wrote it has it in its
        cache, while the other must read all pages anew: so that one is asked unless it is writing."""
        if not self._writing.acquire(blocking=False):
            with self._view() as view:
                return view.get(ref)
        try:
            with self._look(self._writer) as view:
                return view.get(ref)
        finally:
            self._writing.release()

    def select(self, kind: kinds.Kind, vpc: str | None = None) -> Iterator[objects.Declared]:
        if kind.read_only:
            raise errors.InvalidError(f"{kind.plural} are not stored; they follow from networks and VPCs")
        if not kind.in_vpc:
            yield from self._named(kind, None)
            return
        if vpc is not None and self.get(kinds.Ref(kinds.VPC, None, vpc)) is None:
            raise errors.NotFoundError(f"vpc {vpc!r} does not exist")
        for name in [vpc] if vpc is not None else self._names("vpc"):
            if kind is kinds.ENDPOINT or kind in kinds.FIXTURES:
                yield from self._paged(kind, name)
            else:
                yield from self._named(kind, name)

    def endpoint_texts(self, vpc: str | None = None) -> Iterator[list[records.EndpointText]]:
        if vpc is not None and self.get(kinds.Ref(kinds.VPC, None, vpc)) is None:
            raise errors.NotFoundError(f"vpc {vpc!r} does not exist")
        for name in [vpc] if vpc is not None else self._names("vpc"):
            after = ""
            while True:
                with self._view() as view:
                    page = view.endpoint_texts(name, after=after, limit=_TEXT_PAGE)
                yield page
                if len(page) < _TEXT_PAGE:
                    break
                after = page[-1].name

    def count(self, kind: kinds.Kind) -> int:
        with self._reading:
            if kind in kinds.FIXTURES:
                found = self._reader.execute("SELECT COUNT(*) FROM fixture WHERE kind = ?", (kind.name,))
            else:
                found = self._reader.execute(f"SELECT COUNT(*) FROM {kind.singular}")
            return int(found.fetchone()[0])

    def everything(self) -> planner.Change:
        with self._view() as view:
            return view.everything()

    def deleting(self) -> list[kinds.Ref]:
        with self._view() as view:
            return view.deleting()

    def watch(self, since: int) -> events.Subscription:
        return self._log.subscribe(since)

    @contextlib.contextmanager
    def _view(self) -> Iterator[SqliteTransaction]:
        """A consistent look at all of the store, of the last commit."""
        with self._reading, self._look(self._reader) as view:
            yield view

    @contextlib.contextmanager
    def _look(self, db: sqlite3.Connection) -> Iterator[SqliteTransaction]:
        """The same over a connection that nobody else uses meanwhile."""
        db.execute("BEGIN")
        try:
            yield SqliteTransaction(db, store=self._store, now=0)
        finally:
            db.execute("ROLLBACK")

    def _names(self, table: str) -> list[str]:
        with self._reading:
            return [name for (name,) in self._reader.execute(f"SELECT name FROM {table} ORDER BY name")]

    def _named(self, kind: kinds.Kind, vpc: str | None) -> Iterator[objects.Declared]:
        """All of a small kind."""
        with self._view() as view:
            if kind is kinds.NETWORK:
                record = view.vpc(vpc or "")
                names = list(view.networks(record.vni)) if record is not None else []
            else:
                rows = view.db.execute(f"SELECT name FROM {kind.singular} ORDER BY name")
                names = [name for (name,) in rows]
            found = [view.get(kinds.Ref(kind, vpc, name)) for name in names]
        yield from (obj for obj in found if obj is not None)

    def _paged(self, kind: kinds.Kind, vpc: str) -> Iterator[objects.Declared]:
        """All of a kind of which a VPC may have many."""
        after = ""
        while True:
            page: Sequence[objects.Declared]
            with self._view() as view:
                if kind is kinds.ENDPOINT:
                    page = view.endpoint_page(vpc, after=after, limit=_PAGE)
                else:
                    page = view.fixture_page(kind, vpc, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].metadata.name


def _connect(path: pathlib.Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    for pragma in _PRAGMAS:
        db.execute(pragma)
    return db


def _revision(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT value FROM counter WHERE name = 'revision'").fetchone()[0])


def _lock(path: pathlib.Path) -> int:
    """Keep other processes out until the descriptor is closed, by us or by our death."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise errors.UnavailableError(f"open store {str(path)!r}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise errors.UnavailableError(f"store {str(path)!r} is in use by another controller") from None
    return descriptor
