# SPDX-License-Identifier: Apache-2.0
"""mizar.abi.layout says what abi.h says: sizes, offsets, enum values, limits."""

from __future__ import annotations

import enum
import pathlib
from typing import Any

import numpy as np
import pytest

from mizar.abi import layout, verdicts
from mizar.dataplane import btf, libbpf

from .conftest import abi_names

# C prefix of the members, Python enum, and members that only C has.
ENUMS: dict[str, tuple[str, type[enum.IntEnum], set[str]]] = {
    "mz_opt_type": ("MZ_OPT_", layout.OptType, set()),
    "mz_hop": ("MZ_HOP_", layout.Hop, set()),
    "mz_route_kind": ("MZ_ROUTE_", layout.RouteKind, set()),
    "mz_flow_kind": ("MZ_FLOW_", layout.FlowKind, set()),
    "mz_inner_mac": ("MZ_MAC_", layout.InnerMac, set()),
    "mz_verdict": ("MZ_", verdicts.Verdict, {"DROP_FIRST", "VERDICT_MAX"}),
}

FLAGS: dict[str, type[enum.IntFlag]] = {
    "MZ_GENEVE_F_": layout.GeneveFlags,
    "MZ_CONFIG_F_": layout.ConfigFlags,
    "MZ_HOST_F_": layout.HostFlags,
    "MZ_VPC_F_": layout.VpcFlags,
    "MZ_ENDPOINT_F_": layout.EndpointFlags,
    "MZ_PORT_F_": layout.PortFlags,
    "MZ_FLOW_S_": layout.FlowState,
    "MZ_GATEWAY_F_": layout.GatewayFlags,
    "MZ_OUTSIDE_F_": layout.OutsideFlags,
}

FIXED = {layout.Table.CONFIG, layout.Table.VERDICTS}  # sizes that follow from something else

NUMBERS: dict[str, int] = {
    "MZ_ABI_VERSION": layout.ABI_VERSION,
    "MZ_MAX_REPLICAS": layout.MAX_REPLICAS,
    "MZ_MAX_DIVIDERS": layout.MAX_DIVIDERS,
    "MZ_MAX_ONLINK": layout.MAX_ONLINK,
    "MZ_MAX_SHARDS": layout.MAX_SHARDS,
    "MZ_MAX_GENEVE_OPTIONS": layout.MAX_GENEVE_OPTIONS,
    "MZ_MAX_OUTSIDE": layout.MAX_OUTSIDE,
    "MZ_MAGLEV_ROW": layout.MAGLEV_ROW,
    "MZ_TABLE_NETWORK": layout.TABLE_NETWORK,
    "MZ_ENVELOPE": layout.ENVELOPE,
    "MZ_GENEVE_PORT": layout.GENEVE_PORT,
    "MZ_OPT_CLASS": layout.OPT_CLASS,
    "MZ_GATEWAY4": layout.GATEWAY4,
    "MZ_BUCKET_ROWS": layout.BUCKET_ROWS,
    "MZ_BUCKET_REACH": layout.BUCKET_REACH,
    "MZ_BUCKET_SHARE": layout.BUCKET_SHARE,
    "MZ_BUCKET_SPARE": layout.BUCKET_SPARE,
    "MZ_BUCKET_FACTOR": layout.BUCKET_FACTOR,
    "MZ_BUCKET_GONE": layout.BUCKET_GONE,
    "MZ_DIRECT_ROWS": layout.DIRECT_ROWS,
    "MZ_DIRECT_LINES": layout.DIRECT_LINES,
    **{
        f"{table.upper()}_MAX": spec.max_entries
        for table, spec in layout.TABLES.items()
        if table not in FIXED
    },
}


C_TYPES = {"u1": "__u8", "u2": "__u16", "u4": "__u32", "u8": "__u64"}
BIG_ENDIAN = {"u2": "__be16", "u4": "__be32"}
STRUCT_NAMES = {dtype: name for name, dtype in layout.STRUCTS.items()}


def _c_type(dtype: np.dtype[Any]) -> str:
    """How abi.h writes the type of a field, or of its elements."""
    kind = dtype.base.str[1:]
    if dtype.base in STRUCT_NAMES:
        return STRUCT_NAMES[dtype.base]
    return BIG_ENDIAN[kind] if dtype.base.byteorder == ">" else C_TYPES[kind]


def _assert_struct(name: str, found: btf.Struct, dtype: np.dtype[Any]) -> None:
    expected = {}
    for field in dtype.names or ():
        assert dtype.fields is not None
        of, offset = dtype.fields[field][:2]
        expected[field] = btf.Member(offset, of.itemsize, _c_type(of))
    assert found.members == expected, name
    assert found.size == dtype.itemsize, name


def test_every_struct_has_the_layout_of_the_header(header: btf.Btf) -> None:
    in_header = {name: found for name, found in header.structs.items() if name.startswith("mz_")}
    assert in_header.keys() == layout.STRUCTS.keys()
    for name, found in in_header.items():
        _assert_struct(name, found, layout.STRUCTS[name])


@pytest.mark.parametrize("name", ENUMS)
def test_every_enum_has_the_values_of_the_header(header: btf.Btf, name: str) -> None:
    prefix, python, only_c = ENUMS[name]
    members = {key.removeprefix(prefix): value for key, value in header.enums[name].items()}
    members = {key.removeprefix("V_"): value for key, value in members.items() if key not in only_c}
    assert members == {member.name: member.value for member in python}


def test_no_enum_of_the_header_is_unknown(header: btf.Btf) -> None:
    assert {name for name in header.enums if name.startswith("mz_")} == ENUMS.keys()


def test_every_macro_has_the_value_of_the_header(header: btf.Btf) -> None:
    expected = dict(NUMBERS)
    for prefix, flags in FLAGS.items():
        expected |= {f"{prefix}{flag.name}": flag.value for flag in flags}
    probes = {name: values for name, values in header.enums.items() if name.startswith("probe_")}
    found = {name.removeprefix("probe_"): next(iter(v.values())) & 0xFFFFFFFF for name, v in probes.items()}
    assert found == {name: value & 0xFFFFFFFF for name, value in expected.items()}


def test_drops_begin_where_the_header_says(header: btf.Btf) -> None:
    assert header.enums["mz_verdict"]["MZ_DROP_FIRST"] == verdicts.DROP_FIRST
    assert header.enums["mz_verdict"]["MZ_VERDICT_MAX"] == layout.VERDICT_MAX
    assert not verdicts.Verdict.TO_TC.is_drop
    assert verdicts.Verdict.DROP_MALFORMED_ETH.is_drop


def test_router_mac_is_that_of_the_header() -> None:
    [octets] = abi_names(r"^#define MZ_ROUTER_MAC \{ (.*) \}")
    assert bytes(int(octet, 0) for octet in octets.split(",")) == layout.ROUTER_MAC


def test_every_map_is_as_the_objects_declare_it(objects: dict[str, pathlib.Path]) -> None:
    seen = set()
    for path in objects.values():
        with libbpf.Object(path) as obj:
            for name in obj.map_names():
                if not name.startswith("mz_"):
                    continue  # .rodata and the like
                spec = layout.MAPS[name]
                declared = (spec.type, spec.key.itemsize, spec.value.itemsize, spec.max_entries)
                assert obj.map_definition(name) == declared, f"{name} in {path.name}"
                seen.add(name)
    assert seen == layout.MAPS.keys()


def test_structs_in_the_objects_are_those_of_the_header(objects: dict[str, pathlib.Path]) -> None:
    """An object that was compiled from an older header is found out."""
    for path in objects.values():
        for name, found in btf.from_elf(path).structs.items():
            if name in layout.STRUCTS:
                _assert_struct(f"{name} in {path.name}", found, layout.STRUCTS[name])
