# SPDX-License-Identifier: Apache-2.0
"""Bodies that nobody would send: never a 500, never a change by what was refused, always one line of
reason."""

from __future__ import annotations

import asyncio
import copy
import json
import pathlib
import random
from typing import Any

import pytest

from mizar.api import openapi
from mizar.model import kinds
from tests.unit.api import support
from tests.unit.api.support import BASE, Api, endpoint

GOOD = [*BASE, endpoint("a", addresses=["10.0.1.9"]), endpoint("b")]
EVERY_KIND: list[Any] = json.loads(json.dumps(openapi.ALL))
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**64, 1e308, 0.5, "", " ", "a", "-", "a/b", "..", "\0", "\ud7ff", "é"
    * 70, "x" * 5000, "10.0.1.9", "10.0.1.9/24", "10.0.0.0/16", "0.0.0.0/0", "255.255.255.255", "::1",
    "fe80::/10", "h1", "web", "blue", "unix:///x", "VPC", [], [[]], {}, {"": None}, [None], ["10.0.1.77"],
    ["10.0.1.77", "10.0.1.77"], [1], {"name": "a"}, {"a": {"b": {"c": []}}},
]  # fmt: skip
ROUNDS = 250


def mutate(rng: random.Random, value: Any) -> Any:
    """A copy with one thing changed, somewhere."""
    value = copy.deepcopy(value)
    where, key = _somewhere(rng, value)
    if where is None:
        return rng.choice(ODD)
    act = rng.random()
    if act < 0.6:
        where[key] = copy.deepcopy(rng.choice(ODD))
    elif act < 0.75:
        del where[key]
    elif isinstance(where, dict):
        where[rng.choice(["spec", "metadata", "kind", "extra", "netns", "mtu", "shards", "replicas", ""])] = (
            copy.deepcopy(rng.choice(ODD))
        )
    else:
        where.append(copy.deepcopy(rng.choice([*ODD, where[key]])))
    return value


def _somewhere(rng: random.Random, value: Any) -> tuple[Any, Any]:
    """A container within and a key of it; deeper ones more often."""
    here: tuple[Any, Any] = (None, None)
    while isinstance(value, dict | list) and value:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(list(keys))
        here = (value, key)
        if rng.random() < 0.25:
            break
        value = value[key]
    return here


async def state(api: Api) -> Any:
    stored = [kind.plural for kind in kinds.KINDS if not kind.read_only]
    return [(await api.ask("GET", f"/v1/{plural}"))[1] for plural in stored]


def without_status(found: Any) -> Any:
    return [[{**one, "status": None} for one in kind] for kind in found]


def check(status: int, body: Any, sent: Any) -> None:
    assert status in {200, 201, 202, 404, 405, 409, 413, 422}, (status, body, sent)
    if status >= 400:
        message = body["error"]["message"]
        assert message, sent
        assert "\n" not in message
        assert len(message) < 2000, sent


@pytest.mark.parametrize(("good", "seed"), [(GOOD, 1), (GOOD, 2), (EVERY_KIND, 5), (EVERY_KIND, 6)])
def test_odd_objects_are_refused_and_change_nothing(
    tmp_path: pathlib.Path, good: list[Any], seed: int
) -> None:
    async def story() -> None:
        rng = random.Random(seed)
        async with support.running(tmp_path) as api:
            await api.apply(*good)
            before = without_status(await state(api))
            for _ in range(ROUNDS):
                sent = good
                for _ in range(rng.randrange(1, 4)):
                    sent = mutate(rng, sent)
                revision = api.revision
                status, body = await api.ask("POST", "/v1/apply", sent)
                check(status, body, sent)
                if status >= 400:
                    assert api.revision == revision, sent
                    continue
                if api.revision != revision:  # it was right after all
                    before = without_status(await state(api))
            assert without_status(await state(api)) == before

    asyncio.run(story())


def test_odd_deletions_are_refused(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        rng = random.Random(3)
        async with support.running(tmp_path) as api:
            await api.apply(*GOOD)
            wanted = [{"kind": "Endpoint", "name": "blue/c"}, {"kind": "Host", "metadata": {"name": "h7"}}]
            for _ in range(ROUNDS):
                sent = mutate(rng, mutate(rng, wanted))
                revision = api.revision
                status, body = await api.ask("POST", "/v1/delete", sent)
                check(status, body, sent)
                assert status < 400 or api.revision == revision

    asyncio.run(story())


def test_odd_puts_are_refused(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        rng = random.Random(4)
        async with support.running(tmp_path) as api:
            await api.apply(*GOOD)
            for _ in range(ROUNDS):
                sent = mutate(rng, endpoint("z", addresses=["10.0.1.77"]))
                name = rng.choice(["z", "a", "", "%00", "..", "%2e%2e", "x" * 300, "é", "a%2fb", "a b"])
                revision = api.revision
                answer = await api.client.put(f"/v1/vpcs/blue/endpoints/{name}", content=json.dumps(sent))
                check(answer.status_code, answer.json() if answer.content else {}, sent)
                assert answer.status_code < 400 or api.revision == revision

    asyncio.run(story())


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[", b"\xff\xfe", b"{}", b"[]", b"null", b"0", b'"x"', b"[" * 100_000, b'{"a":' * 50_000,
        b"NaN", b"[1e999]", b'[{"kind":"VPC","kind":"Host"}]',
        b'{"kind":"VPC","metadata":{"name":"\\ud800"},"spec":{}}',
        b'{"kind":"VPC","metadata":{"name":"x","labels":{"a":"\\ud800"}},"spec":{"cidrs":["10.0.0.0/8"]}}',
        b"kind: VPC", b'[{"kind": "VPC", "metadata": {"name": "x"}, "spec": {"cidrs": ["10.0.0.0/8"],}}]',
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/apply", "/v1/delete"])
def test_bodies_that_are_no_objects_are_refused(tmp_path: pathlib.Path, path: str, content: bytes) -> None:
    async def story() -> None:
        async with support.running(tmp_path) as api:
            answer = await api.client.post(path, content=content)
            check(answer.status_code, answer.json(), content)
            assert answer.status_code in ({200, 202} if content == b"[]" else {422})
            assert api.revision == 0

    asyncio.run(story())
