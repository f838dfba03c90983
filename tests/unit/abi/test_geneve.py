# SPDX-License-Identifier: Apache-2.0
"""Our Geneve packets: what is packed is parsed back, and each fault has its verdict."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from mizar.abi import geneve, layout
from mizar.abi.verdicts import Verdict

U32 = st.integers(min_value=0, max_value=0xFFFFFFFF)
OPTIONS = st.one_of(
    st.builds(geneve.Rts, U32, st.sampled_from(layout.Hop)),
    st.builds(geneve.Here, U32),
    st.builds(geneve.Forget, U32),
    st.builds(geneve.Echo, U32, st.booleans()),
)
HEADERS = st.builds(
    geneve.Header,
    vni=st.integers(min_value=0, max_value=layout.MAX_VNI),
    control=st.booleans(),
    options=st.lists(OPTIONS, max_size=5).map(tuple),
)

PLAIN = geneve.pack(geneve.Header(vni=7), b"inner")
UNKNOWN = b"\x01\x02\x03\x01abcd"
CRITICAL = b"\x01\x02\x83\x01abcd"
RTS = geneve.pack_option(geneve.Rts(1, layout.Hop.DIVIDER))


def with_options(raw: bytes) -> bytes:
    return bytes((len(raw) // 4,)) + PLAIN[1:8] + raw + b"inner"


@hypothesis.given(HEADERS, st.binary(max_size=100))
def test_packed_is_parsed_back(header: geneve.Header, inner: bytes) -> None:
    assert geneve.parse(geneve.pack(header, inner)) == (header, inner)


@hypothesis.given(st.binary(max_size=300))
def test_anything_is_parsed_or_refused_with_a_drop(payload: bytes) -> None:
    fault = _fault(payload)
    if fault is not None:
        assert fault.is_drop
        return
    header, inner = geneve.parse(payload)
    assert payload.endswith(inner)
    assert len(inner) <= len(payload) - 8 - 12 * len(header.options)


def _fault(payload: bytes) -> Verdict | None:
    try:
        geneve.parse(payload)
    except geneve.GeneveError as refused:
        return refused.verdict
    return None


@pytest.mark.parametrize(
    ("payload", "verdict"),
    [
        (b"", Verdict.DROP_GENEVE_TRUNCATED),
        (PLAIN[:7], Verdict.DROP_GENEVE_TRUNCATED),
        (b"\x3f" + PLAIN[1:], Verdict.DROP_GENEVE_TRUNCATED),
        (b"\x40" + PLAIN[1:], Verdict.DROP_GENEVE_VERSION),
        (PLAIN[:2] + b"\x08\x00" + PLAIN[4:], Verdict.DROP_GENEVE_PROTOCOL),
        (with_options(b"\x01\x02\x03\x02abcd"), Verdict.DROP_GENEVE_OPTION),
        (with_options(b"\xff\x4d\x01\x01abcd"), Verdict.DROP_GENEVE_OPTION),
        (with_options(RTS[:8] + b"\x04" + RTS[9:]), Verdict.DROP_GENEVE_OPTION),
        (with_options(CRITICAL), Verdict.DROP_GENEVE_CRITICAL),
        (with_options(RTS + CRITICAL), Verdict.DROP_GENEVE_CRITICAL),
    ],
)
def test_fault_has_its_verdict(payload: bytes, verdict: Verdict) -> None:
    with pytest.raises(geneve.GeneveError) as caught:
        geneve.parse(payload)
    assert caught.value.verdict is verdict


def test_unknown_option_is_skipped_if_it_is_not_critical() -> None:
    header, inner = geneve.parse(with_options(UNKNOWN + RTS))
    assert header.options == (geneve.Rts(1, layout.Hop.DIVIDER),)
    assert inner == b"inner"


def test_last_of_several_counts() -> None:
    header = geneve.Header(7, options=(geneve.Here(1), geneve.Forget(2), geneve.Here(3)))
    assert header.last(geneve.Here) == geneve.Here(3)
    assert header.first(geneve.Here) == geneve.Here(1)
    assert header.last(geneve.Echo) is None
