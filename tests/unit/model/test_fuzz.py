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
    st.text(max_size=6),
)
FIELDS = sorted(
    {"name", "vpc", "labels", "uid", "resourceVersion", "addresses", "agent", "unschedulable", "cidrs"}
    | {"dividers", "mtu", "bouncers", "replicas", "shards", "type", "network", "host", "netns", "ifname"}
    | {"ready", "conditions"}
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
