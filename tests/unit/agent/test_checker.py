# SPDX-License-Identifier: Apache-2.0
"""When checks change their mind, start, stop and see that an endpoint has gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from mizar.agent import announcer, attachment, background, bell, checker, health, probes, underlay
from mizar.rpc.gen.mizar.node.v1 import node_pb2

GOOD, BAD, WORSE = health.Result(True), health.Result(False, "refused"), health.Result(False, "no answer")
KEY = health.Key("blue", "web-1", "blue/shop")
TARGET = attachment.Target("mizar.blue.web-1", "eth0", 0x0A000105)


def check(**fields: int) -> node_pb2.Check:
    made = node_pb2.Check(
        key=node_pb2.CheckKey(endpoint=node_pb2.EndpointKey(vpc="blue", name="web-1"), service="blue/shop"),
        kind=node_pb2.Check.TCP_CONNECT,
        port=8080,
        interval_ms=100,
        timeout_ms=50,
        failures=1,
        successes=1,
    )
    made.MergeFrom(node_pb2.Check(**fields))  # type: ignore[arg-type]
    return made


# ---------------------------------------------------------------- opinions


def test_opinion_takes_as_many_equal_answers_as_were_asked_for() -> None:
    tally = checker.Tally(check(failures=3, successes=2))
    told = [tally.take(result) for result in (GOOD, GOOD, BAD, BAD, GOOD, BAD, BAD, BAD, GOOD, GOOD)]
    assert told == [None, GOOD, None, None, GOOD, None, None, BAD, None, GOOD]


def test_reason_is_told_again_when_it_changes() -> None:
    tally = checker.Tally(check())
    assert [tally.take(result) for result in (BAD, WORSE)] == [BAD, WORSE]


def test_endpoint_that_has_gone_needs_no_second_look() -> None:
    tally = checker.Tally(check(failures=5, successes=2))
    tally.take(GOOD)
    tally.take(GOOD)
    assert tally.settle(checker.GONE) == checker.GONE
    assert [tally.take(GOOD), tally.take(GOOD)] == [None, GOOD]


# ---------------------------------------------------------------- running


class Backends:
    """A host with one endpoint that answers as it is told to."""

    def __init__(self) -> None:
        self.changed = bell.Bell()
        self.health = health.Board()
        self.wanted: dict[health.Key, node_pb2.Check] = {KEY: check()}
        self.targets = {("blue", "web-1"): TARGET}
        self.failure: Exception | None = None
        self.asked = 0

    def checks(self) -> dict[health.Key, node_pb2.Check]:
        return dict(self.wanted)

    def attached(self, vpc: str, name: str) -> attachment.Target | None:
        return self.targets.get((vpc, name))

    async def probe(self, target: attachment.Target, _: node_pb2.Check) -> None:
        assert target == TARGET
        self.asked += 1
        if self.failure:
            raise self.failure


@contextlib.asynccontextmanager
async def running(backends: Backends) -> AsyncIterator[None]:
    task = asyncio.create_task(checker.Checker(backends, probe=backends.probe).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def found(backends: Backends, expected: health.Result) -> None:
    await until(lambda: backends.health.results() == {KEY: expected})


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (probes.UnfitError("HTTP status 503"), "HTTP status 503"),
        (TimeoutError(), "no answer within 50 ms"),
    ],
)
def test_failure_is_told_in_one_line_and_so_is_its_end(failure: Exception, message: str) -> None:
    async def run() -> None:
        backends = Backends()
        async with running(backends):
            await found(backends, GOOD)
            backends.failure = failure
            await found(backends, health.Result(False, message))
            backends.failure = None
            await found(backends, GOOD)

    asyncio.run(run())


def test_endpoint_that_goes_is_told_before_its_next_check() -> None:
    async def run() -> None:
        backends = Backends()
        backends.wanted = {KEY: check(interval_ms=3_000_000)}
        async with running(backends):
            await found(backends, GOOD)
            backends.targets.clear()
            backends.changed.ring()
            await found(backends, checker.GONE)

    asyncio.run(run())


def test_removed_check_stops_and_is_forgotten() -> None:
    async def run() -> None:
        backends = Backends()
        async with running(backends):
            await found(backends, GOOD)
            backends.wanted.clear()
            backends.changed.ring()
            await until(lambda: not backends.health.results())
            asked = backends.asked
            backends.wanted = {KEY._replace(service="blue/other"): check()}
            backends.changed.ring()
            await until(lambda: backends.asked > asked + 1)
            assert KEY not in backends.health.results()

    asyncio.run(run())


def test_changed_check_starts_over() -> None:
    async def run() -> None:
        backends = Backends()
        backends.wanted = {KEY: check(interval_ms=3_000_000)}
        async with running(backends):
            await found(backends, GOOD)
            backends.failure = probes.UnfitError("HTTP status 503")
            backends.wanted = {KEY: check()}
            backends.changed.ring()
            await found(backends, health.Result(False, "HTTP status 503"))

    asyncio.run(run())


# ---------------------------------------------------------------- what it runs in


def test_bell_is_heard_from_other_threads_until_one_stops_listening() -> None:
    rung = bell.Bell()

    async def run() -> None:
        with rung.heard() as event:
            assert event.is_set(), "what was before is to be looked at too"
            event.clear()
            await asyncio.to_thread(rung.ring)
            await event.wait()

    asyncio.run(run())
    rung.ring()  # the loop is closed


def test_background_ends_what_runs_and_outlives_what_fails(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    async def fail() -> None:
        raise ValueError("on purpose")

    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            done.append("cancelled")

    aside = background.Background()
    aside.spawn(fail())
    aside.spawn(wait())
    aside.close()
    assert done == ["cancelled"]
    assert "on purpose" in caplog.text


# ---------------------------------------------------------------- announcements


def test_announcement_is_a_request_from_and_for_the_address_itself() -> None:
    frame = announcer.announcement(b"\x02\0\0\0\0\x01", 0xC0000214)
    assert len(frame) == 60
    assert frame[:14].hex(" ") == "ff ff ff ff ff ff 02 00 00 00 00 01 08 06"
    assert frame[14:42].hex(" ") == (
        "00 01 08 00 06 04 00 01 02 00 00 00 00 01 c0 00 02 14 00 00 00 00 00 00 c0 00 02 14"
    )


class Answers:
    """A host on an interface that does not exist."""

    def __init__(self) -> None:
        self.changed = bell.Bell()
        self.addresses = {1, 2}

    def answered(self) -> set[int]:
        return self.addresses

    def nic(self) -> underlay.Nic:
        return underlay.Nic("mznone0", 1, 1, bytes(6), 1500, "")


def test_interface_that_has_gone_does_not_end_the_announcer(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        task = asyncio.create_task(announcer.Announcer(Answers(), pause=0.001).run())
        await until(lambda: caplog.text.count("announce outside addresses on mznone0") == announcer.TIMES)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
