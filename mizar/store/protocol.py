# SPDX-License-Identifier: Apache-2.0
"""What every store offers. Backends: SQLite (embedded), later etcd and the Kubernetes API.

What holds for each:
  - Transactions are serial, and all or nothing: what `transaction()` left without an exception is durable and
    survives a crash at any point; what raised changed nothing.
  - Rules between objects are checked inside the transaction that writes.
  - One counter of revisions for the whole store; every transaction that writes takes the next one, and all
    that it writes carries it as resourceVersion. Writing what is there already writes nothing.
  - VNIs, network ids, serials (MACs) and addresses are given out inside the transaction that uses them:
    never twice, never lost. The same object applied again keeps what it has.
  - Deleting is two steps: `delete` marks, and the planner forgets; `remove` frees, once the hosts have
    forgotten.
  - Status is not stored, but for what must survive: allocations, and counts that follow from the objects.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from mizar.model import kinds, objects
from mizar.plan import planner
from mizar.store import events
from mizar.store.records import EndpointText


class Outcome(enum.StrEnum):
    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    """Marked: `deletionTimestamp` is set."""


class Result(NamedTuple):
    """What became of one object of a request."""

    ref: kinds.Ref
    outcome: Outcome


@dataclass(slots=True)
class Committed:
    """What a transaction did. Complete when the `with` block has been left."""

    revision: int = 0
    """The store's revision after it."""
    results: list[Result] = field(default_factory=list)
    """One for each object applied or deleted, in the order of the requests."""
    change: planner.Change = field(default_factory=planner.Change)
    """For the planner: what came, changed and went."""


class Transaction(Protocol):
    """What may be done between begin and commit."""

    @property
    def committed(self) -> Committed: ...

    def apply(self, wanted: Sequence[objects.Declared]) -> list[Result]:
        """Create or change objects of any kinds, in any order; references may be to each other.

        InvalidError, ConflictError or NotFoundError name the first object that is refused.
        """

    def delete(self, refs: Sequence[kinds.Ref]) -> list[Result]:
        """Mark objects of any kinds as being deleted, in any order. ConflictError: something else is in one.
        NotFoundError: no such object."""

    def remove(self, refs: Sequence[kinds.Ref]) -> None:
        """Take marked objects away for good and free what they had. What is not there is left out;
        ConflictError when one is not marked, or still has something in it."""

    def join(self, names: Sequence[str]) -> None:
        """The agents of these hosts have been reached: they may take roles from now on. Hosts that have
        joined, are being deleted or do not exist are left out."""

    def get(self, ref: kinds.Ref) -> objects.Declared | None: ...


class Store(Protocol):
    """Objects, by kind and name."""

    @property
    def revision(self) -> int:
        """That of the last transaction that wrote."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """One transaction, rolled back when the block raises. Others wait; it does not nest."""

    def apply(self, wanted: Sequence[objects.Declared]) -> Committed:
        """A transaction that only applies."""

    def delete(self, refs: Sequence[kinds.Ref]) -> Committed:
        """A transaction that only deletes."""

    def remove(self, refs: Sequence[kinds.Ref]) -> Committed:
        """A transaction that only removes."""

    def join(self, names: Sequence[str]) -> Committed:
        """A transaction that only joins."""

    def get(self, ref: kinds.Ref) -> objects.Declared | None:
        """The object with its allocations and counts in status, or None."""

    def select(self, kind: kinds.Kind, vpc: str | None = None) -> Iterator[objects.Declared]:
        """All objects of a kind by name, those of one VPC if given. Reads in pages: what is written meanwhile
        may or may not be in it. NotFoundError: no such VPC."""

    def endpoint_texts(self, vpc: str | None = None) -> Iterator[Sequence[EndpointText]]:
        """All endpoints by VPC and name, those of one VPC if given, as JSON without the end of their status;
        in pages, some of which may be empty. As `select` otherwise."""

    def count(self, kind: kinds.Kind) -> int: ...

    def everything(self) -> planner.Change:
        """All that is not being deleted, for an empty planner."""

    def deleting(self) -> list[kinds.Ref]:
        """All that is marked and not yet removed, in the order in which it may be removed."""

    def watch(self, since: int) -> events.Subscription:
        """Events after the revision `since`. GoneError when they are no longer known."""

    def close(self) -> None: ...
