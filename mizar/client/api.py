# SPDX-License-Identifier: Apache-2.0
"""Client: the verbs of the API. Objects are dicts in the JSON form of docs/api.md."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from mizar import errors
from mizar.client import http, target, views
from mizar.model import kinds

Object = dict[str, Any]
Objects = list[Object]

_POLL_SECONDS: Final = 0.05
_POLL_LONGEST: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch. `type`: ADDED, MODIFIED or DELETED."""

    type: str
    object: Object


class Client:
    """The API at one address. Cheap to make: it connects when asked."""

    def __init__(self, to: target.Target) -> None:
        self.target = to

    def healthy(self) -> bool:
        """Whether a controller answers."""
        try:
            http.call(self.target, "GET", "/healthz", timeout=2)
        except errors.MizarError:
            return False
        return True

    # ------------------------------------------------------------- objects

    def list(self, kind: kinds.Kind, *, vpc: str | None = None, host: str | None = None) -> Objects:
        """Objects of a kind, those of one VPC and on one host if given."""
        if kind is kinds.ROUTE:
            return views.routes(self.list, vpc=vpc)
        if kind is kinds.SESSION:
            return views.sessions(self.list, self.table, vpc=vpc, host=host)
        if host is not None:
            return [obj for obj in self.list(kind, vpc=vpc) if obj["spec"].get("host") == host]
        found: Objects = http.call(self.target, "GET", _collection(kind, vpc))
        return found

    def get(self, ref: kinds.Ref) -> Object:
        """NotFoundError if it does not exist."""
        if ref.kind.read_only:  # these have no address of their own in the API
            return self._find(ref)
        found: Object = http.call(self.target, "GET", _path(ref))
        return found

    def find(self, ref: kinds.Ref) -> Object | None:
        """As `get`, None if it does not exist."""
        with contextlib.suppress(errors.NotFoundError):
            return self.get(ref)
        return None

    def put(self, obj: Object) -> Object:
        stored: Object = http.call(self.target, "PUT", _path(ref_of(obj)), body=obj)
        return stored

    def delete(self, ref: kinds.Ref) -> Object:
        """Begin to delete; see `wait_gone`."""
        gone: Object = http.call(self.target, "DELETE", _path(ref))
        return gone

    def apply(self, objects: Sequence[Object], *, timeout: float = 300) -> Objects:
        """All or nothing: [{kind, name, result: created|configured|unchanged}]."""
        results: Objects = http.call(self.target, "POST", "/v1/apply", body=list(objects), timeout=timeout)
        return results

    def delete_all(self, objects: Sequence[Object], *, timeout: float = 300) -> None:
        """All or nothing; the API finds the order."""
        http.call(self.target, "POST", "/v1/delete", body=list(objects), timeout=timeout)

    def watch(
        self,
        kind: kinds.Kind,
        *,
        vpc: str | None = None,
        since: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Event]:
        """Changes as they happen: of what exists (as ADDED) when `since` is None, else after that
        resourceVersion. TimeoutError after `timeout` seconds of silence."""
        more = {"watch": "true"} | ({"resourceVersion": str(since)} if since is not None else {})
        for line in http.lines(self.target, _collection(kind, vpc, **more), timeout=timeout):
            yield Event(type=line["type"], object=line["object"])

    # -------------------------------------------------------------- waiting

    def wait_ready(self, refs: Sequence[kinds.Ref], *, timeout: float, seen: Seen | None = None) -> None:
        """Until all are ready; UnavailableError names one that is not, and why."""
        self._wait(refs, _not_ready, timeout=timeout, what="ready", seen=seen)

    def wait_gone(self, refs: Sequence[kinds.Ref], *, timeout: float, seen: Seen | None = None) -> None:
        """Until none exists; UnavailableError names one that still does."""
        self._wait(refs, _not_gone, timeout=timeout, what="deleted", seen=seen)

    def _wait(
        self, refs: Sequence[kinds.Ref], lacks: Lacks, *, timeout: float, what: str, seen: Seen | None
    ) -> None:
        """One question a round for few, one list a kind for many. The pause grows: what is quick is
        seen quickly, what is slow costs little."""
        deadline = time.monotonic() + timeout
        pause = _POLL_SECONDS
        waiting = list(refs)
        while True:
            found = self._look(waiting)
            reasons = [
                (ref, reason)
                for ref, obj in zip(waiting, found, strict=True)
                if (reason := lacks(obj)) is not None
            ]
            waiting = [ref for ref, _ in reasons]
            if seen is not None:
                seen(len(refs) - len(waiting), len(refs))
            if not waiting:
                return
            if time.monotonic() >= deadline:
                others = f" ({len(waiting) - 1} more are not either)" if len(waiting) > 1 else ""
                raise errors.UnavailableError(
                    f"{waiting[0]} is not {what} after {timeout:g} s: {reasons[0][1]}{others}"
                )
            time.sleep(pause)
            pause = min(pause * 1.3, _POLL_LONGEST)

    def _look(self, refs: Sequence[kinds.Ref]) -> Sequence[Object | None]:
        if len(refs) <= 3:
            return [self.find(ref) for ref in refs]
        found = {
            (kind.name, kinds.full_name(obj)): obj
            for kind in {ref.kind.name: ref.kind for ref in refs}.values()
            for obj in self.list(kind)
        }
        return [found.get((ref.kind.name, ref.full_name)) for ref in refs]

    # ------------------------------------------------------- what hosts hold

    def table(self, host: str, table: str) -> Objects:
        """Rows of a kernel table, decoded."""
        rows: Objects = http.call(self.target, "GET", f"/v1/hosts/{_quote(host)}/tables/{_quote(table)}")
        return rows

    def drops(self, host: str | None = None) -> Objects:
        """Drop counters by reason, of one host or of all."""
        path = f"/v1/hosts/{_quote(host)}/drops" if host else "/v1/drops"
        rows: Objects = http.call(self.target, "GET", path)
        return rows

    def counters(self, host: str) -> Object:
        found: Object = http.call(self.target, "GET", f"/v1/hosts/{_quote(host)}/counters")
        return found

    def _find(self, ref: kinds.Ref) -> Object:
        for obj in self.list(ref.kind, vpc=ref.vpc):
            if kinds.full_name(obj) == ref.full_name:
                return obj
        raise errors.NotFoundError(f"{ref} does not exist")


Seen = Callable[[int, int], None]
"""Told of progress: how many are done, of how many."""

Lacks = Callable[[Object | None], str | None]
"""What an object still lacks; None when it lacks nothing."""


def ref_of(obj: Object) -> kinds.Ref:
    """What a manifest's object is called."""
    metadata = obj["metadata"]
    return kinds.Ref(kind=kinds.find(obj["kind"]), vpc=metadata.get("vpc"), name=metadata["name"])


def _not_ready(obj: Object | None) -> str | None:
    if obj is None:
        return "it does not exist"
    status = obj.get("status") or {}
    if status.get("ready"):
        return None
    return next((c["message"] for c in status.get("conditions") or () if c.get("message")), "no reason given")


def _not_gone(obj: Object | None) -> str | None:
    if obj is None:
        return None
    if not obj["metadata"].get("deletionTimestamp"):
        return "nobody has deleted it"
    return "hosts that knew it have not all acknowledged"


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _collection(kind: kinds.Kind, vpc: str | None = None, **query: str) -> str:
    asked = ({"vpc": vpc} if vpc else {}) | query
    return f"/v1/{kind.plural}" + (f"?{urllib.parse.urlencode(asked)}" if asked else "")


def _path(ref: kinds.Ref) -> str:
    name = _quote(ref.name)
    return (
        f"/v1/vpcs/{_quote(ref.vpc)}/{ref.kind.plural}/{name}" if ref.vpc else f"/v1/{ref.kind.plural}/{name}"
    )
