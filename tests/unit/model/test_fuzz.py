# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in: an object, or an InvalidError of one line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import strategies as st

from mizar import errors
from mizar.model import manifest, objects, reading

SETTINGS = hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["web", "10.0.0.0/8", "10.0.0.1", "unix:///x", "10.0.0.0/99", "::1", "a:1", "\0", "é"]),
    st.sampled_from(["scaled", "simple", "TCP", "SCTP", "http", "/", "0.0.0.0/0", 80, 8080]),
    st.text(max_size=6),
)
FIELDS = sorted(
    {"name", "vpc", "labels", "uid", "resourceVersion", "addresses", "agent", "unschedulable", "cidrs"}
    | {"dividers", "mtu", "bouncers", "replicas", "shards", "type", "network", "host", "netns", "ifname"}
    | {"ready", "conditions", "forwarding", "ports", "port", "targetPort", "protocol", "backends", "weight"}
    | {"drain", "backendSelector", "sessionAffinity", "timeoutSeconds", "healthCheck", "path", "hosts"}
    | {"intervalSeconds", "hostMasquerade", "first", "last", "destinations", "gateway", "address", "endpoint"}
    | {"networks", "routes", "to", "peer", "blackhole", "active"}
)
ANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=12,
)
OBJECTS = st.fixed_dictionaries(
    {"kind": st.sampled_from([*objects.CLASSES, "Bouncer", "x"]), "metadata": ANY, "spec": ANY},
    optional={"apiVersion": st.just("mizar.io/v1"), "status": ANY, "extra": ANY},
)


# Services that are right but for one thing, or nothing.
NAMES = st.sampled_from(["web", "a", "A", ""])
NUMBERS = st.sampled_from([0, 1, 80, 8080, 65535, 65536, -1])
PORTS = st.fixed_dictionaries(
    {"port": NUMBERS},
    optional={"targetPort": NUMBERS, "protocol": st.sampled_from(["TCP", "SCTP", "tcp"]), "name": NAMES},
)
ADDRESSES = st.sampled_from(["10.0.0.1", "198.51.100.1", "198.51.100.2", "127.0.0.1", "x"])
PREFIXES = st.sampled_from(["0.0.0.0/0", "10.9.0.0/16", "10.9.0.1/16", "224.0.0.0/8", "x"])
SPECS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "Endpoint": st.fixed_dictionaries(
        {"type": st.just("scaled"), "network": NAMES, "ports": st.lists(PORTS, max_size=3)},
        optional={
            "addresses": st.lists(ADDRESSES, max_size=2),
            "backends": st.lists(st.fixed_dictionaries({"name": NAMES}, optional={"weight": NUMBERS})),
            "backendSelector": st.dictionaries(NAMES, NAMES, max_size=2),
            "sessionAffinity": st.fixed_dictionaries({}, optional={"timeoutSeconds": NUMBERS}),
            "healthCheck": st.fixed_dictionaries(
                {}, optional={"type": st.sampled_from(["up", "tcp", "http"]), "port": NUMBERS, "path": NAMES}
            ),
        },
    ),
    "Gateway": st.fixed_dictionaries(
        {},
        optional={
            "hosts": st.lists(NAMES, max_size=3),
            "hostMasquerade": st.booleans(),
            "addresses": st.lists(ADDRESSES, max_size=3),
            "ports": st.fixed_dictionaries({}, optional={"first": NUMBERS, "last": NUMBERS}),
            "destinations": st.lists(PREFIXES, max_size=2),
        },
    ),
    "FloatingAddress": st.fixed_dictionaries({"gateway": NAMES, "address": ADDRESSES, "endpoint": NAMES}),
    "PortForward": st.fixed_dictionaries(
        {"gateway": NAMES, "address": ADDRESSES, "endpoint": NAMES, "port": NUMBERS},
        optional={"targetPort": NUMBERS, "protocol": st.sampled_from(["TCP", "SCTP", "tcp"])},
    ),
    "RouteTable": st.fixed_dictionaries(
        {
            "routes": st.lists(
                st.fixed_dictionaries(
                    {"to": PREFIXES}, optional={"gateway": NAMES, "peer": NAMES, "blackhole": st.booleans()}
                ),
                max_size=3,
            )
        },
        optional={"networks": st.lists(NAMES, max_size=2)},
    ),
    "Peering": st.fixed_dictionaries({"peer": NAMES}),
}


@SETTINGS
@hypothesis.given(st.data(), st.sampled_from(sorted(SPECS)))
def test_service_is_what_it_was_after_a_detour_or_an_error_of_one_line(
    data: st.DataObject, kind: str
) -> None:
    spec = data.draw(SPECS[kind])
    raw = {"kind": kind, "metadata": {"name": "x", "vpc": "blue"}, "spec": spec}
    said = refusal(lambda: reading.read(raw))
    assert "\n" not in said
    if not said:
        obj = reading.read(raw)
        assert reading.read_json(objects.dump_list([obj])) == [obj]
        assert reading.read(objects.to_json(obj)) == obj
    else:
        assert "'blue/x'" in said


def refusal(call: Callable[[], object]) -> str:
    """What the InvalidError says, or nothing."""
    try:
        call()
    except errors.InvalidError as error:
        return str(error)
    return ""


@SETTINGS
@hypothesis.given(OBJECTS | ANY)
def test_any_data_is_an_object_or_an_error_of_one_line(raw: Any) -> None:
    said = refusal(lambda: reading.read(raw))
    assert "\n" not in said
    assert len(said) < 1000


@SETTINGS
@hypothesis.given(st.lists(OBJECTS, max_size=3), st.sampled_from([None, 2]))
def test_json_says_the_same_as_the_data(raws: list[Any], indent: int | None) -> None:
    text = json.dumps(raws, indent=indent)
    with contextlib.suppress(errors.InvalidError):
        assert reading.read_json(text) == reading.read_many(json.loads(text))
    with contextlib.suppress(errors.InvalidError):
        manifest.parse(text, source="f")


@SETTINGS
@hypothesis.given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_a_manifest_or_an_error_with_a_line(text: str | bytes) -> None:
    said = refusal(lambda: manifest.parse(text, source="f"))
    assert said.startswith("f:") or not said
    assert "\n" not in said
