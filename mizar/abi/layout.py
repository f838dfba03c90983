# SPDX-License-Identifier: Apache-2.0
"""The Python side of bpf/include/abi.h: enums, limits, structs and tables.

Why numpy: tables are read and written as columns, a million rows at a time; a
structured dtype with the struct's own layout *is* the buffer that the kernel takes.

What holds:
 - One dtype per struct, fields in the order, size and byte order of the C struct.
   Big-endian fields are ">u4"; reading one gives the number, so an address is
   always an int such as 0x0a000001, whatever its order in memory.
 - One TableSpec per table, which says what the rows are, and one MapSpec per map, which says how they are
   kept. Kind, sizes and default capacity of the maps are those of the objects.
 - tests/abi compares all of it with the BTF of the compiled objects; nothing
   here is trusted to have been kept in step by hand.

What does not belong here: verdict texts (verdicts.py), hashes (hashes.py), printing (decode.py).
"""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from mizar import errors

ABI_VERSION: Final = 3

# ---------------------------------------------------------------- limits

MAX_REPLICAS: Final = 15
MAX_DIVIDERS: Final = 16
MAX_ONLINK: Final = 4
MAX_SHARDS: Final = 4096
MAX_GENEVE_OPTIONS: Final = 63
MAX_OUTSIDE: Final = 8
"""Addresses of one gateway host for source NAT."""
MAGLEV_ROW: Final = 32
"""Places of a Maglev table in one row."""
TABLE_NETWORK: Final = 0x4000_0000
"""Or-ed with a network id: in place of the VNI in the keys of that network's own routes."""
ENVELOPE: Final = 64
"""Fixed room that the inner MTU leaves for the envelope, bytes."""

GENEVE_PORT: Final = 6081
OPT_CLASS: Final = 0xFF4D
ROUTER_MAC: Final = bytes((0x02, 0x4D, 0x5A, 0x00, 0x00, 0x01))
GATEWAY4: Final = 0xA9FE0101
"""169.254.1.1, the gateway address of every endpoint."""

MAX_VNI: Final = (1 << 24) - 1

BUCKET_ROWS: Final = 4
"""Places for rows in one bucket."""
BUCKET_REACH: Final = 16
"""Buckets in which a key may be, the first being its home."""
BUCKET_SHARE: Final = 2
"""Rows for which there is one bucket: half of the places are used at most, so that every key finds one."""
BUCKET_SPARE: Final = 4
"""The largest part of an array leaves room for a part of this fraction of it, from which its rows come."""
BUCKET_FACTOR: Final = 0x9E37_79B9_7F4A_7C15
"""Of the hash, where no tenant chooses keys."""
BUCKET_GONE: Final = 0xFFFF_FFFF_FFFF_FFFF
"""In place of a deleted key."""

DIRECT_ROWS: Final = 3
"""Places for learnt paths in a cache line."""
DIRECT_LINES: Final = 2
"""Cache lines of a set, which is where a key may be."""

# ---------------------------------------------------------------- enums and flags


class OptType(enum.IntEnum):
    """enum mz_opt_type: types of our Geneve options."""

    RTS = 0x01
    HERE = 0x02
    FORGET = 0x03
    ECHO = 0x04
    REDIRECT = 0x05


class InnerMac(enum.IntEnum):
    """enum mz_inner_mac: first two bytes of inner MACs that name an endpoint, a VPC or a gateway."""

    VIA = 0x064D
    PREFER = 0x064E
    PEER = 0x064F
    GATEWAY = 0x0650


class Hop(enum.IntEnum):
    """enum mz_hop: what the receiver of a packet with RTS may still do with it."""

    PROBE = 0
    DIVIDER = 1
    BOUNCER = 2
    ENDPOINT = 3


class RouteKind(enum.IntEnum):
    """enum mz_route_kind."""

    DIVIDER = 1
    NETWORK = 2
    NONE = 3
    BLACKHOLE = 4
    APPLIANCE = 5
    GATEWAY = 6


class FlowKind(enum.IntEnum):
    """enum mz_flow_kind: what an entry of the connection table is for."""

    SERVICE = 1
    NAT = 2
    VIA = 3
    AFFINITY = 4


class FlowState(enum.IntFlag):
    """MZ_FLOW_S_*."""

    REPLIED = 0x1
    FIN_ORIG = 0x2
    FIN_REPLY = 0x4
    CLOSED = 0x8
    REVERSE = 0x80


class GeneveFlags(enum.IntFlag):
    CONTROL = 0x80
    CRITICAL = 0x40


class ConfigFlags(enum.IntFlag):
    READY = 0x1
    GATEWAY = 0x2


class HostFlags(enum.IntFlag):
    SELF = 0x1
    DOWN = 0x2


class VpcFlags(enum.IntFlag):
    DIVIDER = 0x1
    BOUNCER = 0x2
    ENDPOINTS = 0x4
    GATEWAY = 0x8


class EndpointFlags(enum.IntFlag):
    PEER = 0x1


class PortFlags(enum.IntFlag):
    ROUTES = 0x1
    FORWARDS = 0x2


class GatewayFlags(enum.IntFlag):
    HOST = 0x1


class OutsideFlags(enum.IntFlag):
    HOST = 0x1


# ---------------------------------------------------------------- structs

Rows: TypeAlias = npt.NDArray[Any]
"""A one-dimensional array of keys or values of one table, of the table's dtype."""


def column(rows: npt.ArrayLike, dtype: np.dtype[Any]) -> Rows:
    """`rows`, or one row, as a contiguous array of `dtype`.

    A structured array of another dtype is refused: numpy would convert it field by field, by position.
    """
    array = np.atleast_1d(np.asarray(rows, dtype=None if isinstance(rows, np.ndarray) else dtype))
    if array.dtype != dtype and (array.dtype.names or dtype.names):
        raise TypeError(f"rows are {array.dtype}, not {dtype}")
    return np.ascontiguousarray(array, dtype=dtype)


U32: Final = np.dtype("=u4")
U64: Final = np.dtype("=u8")
BE32: Final = np.dtype(">u4")

_MAC: Final = ("u1", (6,))


def _struct(*fields: tuple[Any, ...]) -> np.dtype[Any]:
    """A packed dtype: the C structs have no padding that is not a field."""
    return np.dtype(list(fields))


GENEVE: Final = _struct(("ver_optlen", "u1"), ("flags", "u1"), ("protocol", ">u2"), ("vni_rsvd", ">u4"))
GENEVE_OPT: Final = _struct(("opt_class", ">u2"), ("type", "u1"), ("length", "u1"))
OPT_RTS: Final = _struct(("head", GENEVE_OPT), ("host", ">u4"), ("hop", "u1"), ("rsvd", "u1", (3,)))
OPT_ADDR4: Final = _struct(("head", GENEVE_OPT), ("addr", ">u4"), ("vni", ">u4"))
OPT_ECHO: Final = _struct(("head", GENEVE_OPT), ("nonce", ">u4"), ("reply", "u1"), ("rsvd", "u1", (3,)))
OPT_REDIRECT: Final = _struct(("head", GENEVE_OPT), ("backend", ">u4"), ("port", ">u2"), ("affinity", ">u2"))

CONFIG: Final = _struct(
    ("underlay_addr", ">u4"),
    ("underlay_ifindex", "=u4"),
    ("soft_ms", "=u4"),
    ("hard_ms", "=u4"),
    ("underlay_mac", *_MAC),
    ("flags", "=u2"),
)
HOST: Final = _struct(("nexthop", ">u4"), ("mac_until", "=u4"), ("mac", *_MAC), ("flags", "=u2"))
VPC: Final = _struct(
    ("flags", "=u4"), ("slot", "=u4"), ("n_dividers", "=u4"), ("dividers", ">u4", (MAX_DIVIDERS,))
)
# Of user space only: programs see a number, hashes.route_numbers.
ROUTE_KEY4: Final = _struct(("vni", "=u4"), ("addr", ">u4"), ("mask", ">u4"))
LENGTHS4: Final = _struct(("host_bits", "=u8"))
ROUTE: Final = _struct(("kind", "=u4"), ("network", "=u4"), ("shards", "=u4"), ("target", "=u4"))
SHARD_KEY: Final = _struct(("network", "=u4"), ("shard", "=u4"))
SHARD: Final = _struct(("n", "=u4"), ("hosts", ">u4", (MAX_REPLICAS,)))
ADDR_KEY4: Final = _struct(("vni", "=u4"), ("addr", ">u4"))
LOCATION: Final = _struct(("host", ">u4"), ("slot", "=u4"))
ENDPOINT: Final = _struct(("ifindex", "=u4"), ("slot", "=u4"), ("mac", *_MAC), ("flags", "=u2"))
PREFIX4: Final = _struct(("addr", ">u4"), ("mask", ">u4"))
PORT: Final = _struct(
    ("vni", "=u4"),
    ("addr", ">u4"),
    ("mac", *_MAC),
    ("mtu", "=u2"),
    ("network", "=u4"),
    ("shards", "=u4"),
    ("slot", "=u4"),
    ("n_onlink", "=u2"),
    ("flags", "=u2"),
    ("onlink", PREFIX4, (MAX_ONLINK,)),
)
DIRECT: Final = _struct(("host", ">u4"), ("confirmed", "=u4"), ("vni", "=u4"))
DIRECT_LINE: Final = _struct(
    ("keys", "=u8", (DIRECT_ROWS,)), ("values", DIRECT, (DIRECT_ROWS,)), ("version", "=u4")
)
DIRECT_SET: Final = _struct(("lines", DIRECT_LINE, (DIRECT_LINES,)))
FLOW_KEY4: Final = _struct(
    ("vni", "=u4"),
    ("src", ">u4"),
    ("dst", ">u4"),
    ("sport", ">u2"),
    ("dport", ">u2"),
    ("proto", "u1"),
    ("pad", "u1", (3,)),
)
FLOW4: Final = _struct(
    ("src", ">u4"),
    ("dst", ">u4"),
    ("sport", ">u2"),
    ("dport", ">u2"),
    ("vni", "=u4"),
    ("via", ">u4"),
    ("seen", "=u4"),
    ("asked", "=u4"),
    ("state", "u1"),
    ("kind", "u1"),
    ("pad", "=u2"),
)
FRAG_KEY4: Final = _struct(
    ("vni", "=u4"), ("src", ">u4"), ("dst", ">u4"), ("id", ">u2"), ("proto", "u1"), ("pad", "u1")
)
FRAG4: Final = _struct(("sport", ">u2"), ("dport", ">u2"))
WATCHED: Final = _struct(("sources", "=u8"))
SERVICE_KEY4: Final = _struct(
    ("vni", "=u4"), ("addr", ">u4"), ("port", ">u2"), ("proto", "u1"), ("pad", "u1")
)
SERVICE4: Final = _struct(
    ("id", "=u4"), ("size", "=u4"), ("port", ">u2"), ("affinity", ">u2"), ("slot", "=u4")
)
MAGLEV_KEY4: Final = _struct(("service", "=u4"), ("row", "=u4"))
MAGLEV4: Final = _struct(("backends", ">u4", (MAGLEV_ROW,)))
BACKEND_KEY4: Final = _struct(("service", "=u4"), ("addr", ">u4"))
BACKEND4: Final = _struct(("weight", "=u4"))
GATEWAY4_ROW: Final = _struct(
    ("ifindex", "=u4"),
    ("first_port", "=u2"),
    ("last_port", "=u2"),
    ("flags", "=u4"),
    ("slot", "=u4"),
    ("n", "=u4"),
    ("addrs", ">u4", (MAX_OUTSIDE,)),
)
OUTSIDE4: Final = _struct(("endpoint", ">u4"), ("vni", "=u4"), ("flags", "=u4"))
FLOATING4: Final = _struct(("addr", ">u4"))
FORWARD4: Final = _struct(("vni", "=u4"), ("addr", ">u4"), ("port", ">u2"), ("pad", "=u2"))
STATS: Final = _struct(("tx_packets", "=u8"), ("tx_bytes", "=u8"), ("rx_packets", "=u8"), ("rx_bytes", "=u8"))
COUNT: Final = _struct(("packets", "=u8"), ("bytes", "=u8"))
PARTS_ROW: Final = _struct(
    ("factor", "=u8"),
    ("mz_hosts", "=u8"),
    ("mz_vpcs", "=u8"),
    ("mz_endpoints4", "=u8"),
    ("mz_ports", "=u8"),
    ("mz_direct4", "=u8"),
    ("mz_locations4", "=u8"),
    ("mz_routes4", "=u8"),
    ("mz_lengths4", "=u8"),
    ("mz_shards", "=u8"),
)
CLOCK: Final = _struct(("jiffies", "=u8"), ("now_ms", "=u8"))
SCRATCH: Final = _struct(("words", "=u8", (16,)))

STRUCTS: Final[Mapping[str, np.dtype[Any]]] = types.MappingProxyType(
    {
        "mz_geneve": GENEVE,
        "mz_geneve_opt": GENEVE_OPT,
        "mz_opt_rts": OPT_RTS,
        "mz_opt_addr4": OPT_ADDR4,
        "mz_opt_echo": OPT_ECHO,
        "mz_opt_redirect": OPT_REDIRECT,
        "mz_config": CONFIG,
        "mz_host": HOST,
        "mz_vpc": VPC,
        "mz_route": ROUTE,
        "mz_lengths4": LENGTHS4,
        "mz_shard_key": SHARD_KEY,
        "mz_shard": SHARD,
        "mz_addr_key4": ADDR_KEY4,
        "mz_location": LOCATION,
        "mz_endpoint": ENDPOINT,
        "mz_prefix4": PREFIX4,
        "mz_port": PORT,
        "mz_direct": DIRECT,
        "mz_direct_line": DIRECT_LINE,
        "mz_direct_set": DIRECT_SET,
        "mz_flow_key4": FLOW_KEY4,
        "mz_flow4": FLOW4,
        "mz_frag_key4": FRAG_KEY4,
        "mz_frag4": FRAG4,
        "mz_watched": WATCHED,
        "mz_service_key4": SERVICE_KEY4,
        "mz_service4": SERVICE4,
        "mz_maglev_key4": MAGLEV_KEY4,
        "mz_maglev4": MAGLEV4,
        "mz_backend_key4": BACKEND_KEY4,
        "mz_backend4": BACKEND4,
        "mz_gateway4": GATEWAY4_ROW,
        "mz_outside4": OUTSIDE4,
        "mz_floating4": FLOATING4,
        "mz_forward4": FORWARD4,
        "mz_stats": STATS,
        "mz_count": COUNT,
        "mz_parts": PARTS_ROW,
        "mz_clock": CLOCK,
        "mz_scratch": SCRATCH,
    }
)
"""Every struct of abi.h by its C name."""

# ---------------------------------------------------------------- tables


class MapType(enum.IntEnum):
    """The map types of the kernel that we use (enum bpf_map_type of linux/bpf.h)."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LRU_HASH = 9

    @property
    def per_cpu(self) -> bool:
        """A look-up gives one value per possible CPU."""
        return self is MapType.PERCPU_ARRAY

    @property
    def is_array(self) -> bool:
        """Every key below the capacity exists and none can be deleted."""
        return self in (MapType.ARRAY, MapType.PERCPU_ARRAY)


class Table(enum.StrEnum):
    """Names of the tables; also of their maps, in the objects and below the pin directory."""

    CONFIG = "mz_config"
    HOSTS = "mz_hosts"
    VPCS = "mz_vpcs"
    ROUTES4 = "mz_routes4"
    SHARDS = "mz_shards"
    LOCATIONS4 = "mz_locations4"
    ENDPOINTS4 = "mz_endpoints4"
    PORTS = "mz_ports"
    DIRECT4 = "mz_direct4"
    FLOWS4 = "mz_flows4"
    FRAGS4 = "mz_frags4"
    WATCHED = "mz_watched"
    SERVICES4 = "mz_services4"
    MAGLEV4 = "mz_maglev4"
    BACKENDS4 = "mz_backends4"
    GATEWAYS4 = "mz_gateways4"
    OUTSIDE4 = "mz_outside4"
    FLOATING4 = "mz_floating4"
    FORWARDS4 = "mz_forwards4"
    STATS = "mz_stats"
    VERDICTS = "mz_verdicts"


class Form(enum.Enum):
    """How the map of a table keeps its rows."""

    PLAIN = enum.auto()
    """As the map's type has it."""
    BUCKETS = enum.auto()
    """In buckets of an array, as bpf/include/buckets.h has them."""
    SETS = enum.auto()
    """In sets of an array, as bpf/include/maps/direct4.h has them."""


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """What one table is, apart from what is in it."""

    name: Table
    label: str
    """The name users see (`mizar tables`, node API); IPv6 maps will share it."""
    type: MapType
    """What it is like to its users; that of its map where the form is plain."""
    key: np.dtype[Any]
    value: np.dtype[Any]
    max_entries: int
    """Default capacity; the agent may load with another one."""
    form: Form = Form.PLAIN
    secret: bool = False
    """Tenants choose keys, so that the factor of the hash is a secret."""

    def keys(self, n: int) -> Rows:
        """`n` keys, all zero."""
        return np.zeros(n, dtype=self.key)

    def values(self, n: int) -> Rows:
        """`n` values, all zero."""
        return np.zeros(n, dtype=self.value)


@dataclasses.dataclass(frozen=True)
class MapSpec:
    """What one map of the kernel is."""

    name: str
    type: MapType
    key: np.dtype[Any]
    value: np.dtype[Any]
    max_entries: int
    rows: int = 1
    """Rows of a table for each entry; more than one if they are in buckets or sets."""
    spare: int = 0
    """One entry more for so many, to have room for growing; 0: none."""

    def entries(self, rows: int) -> int:
        """How large the map must be for a table of `rows` rows."""
        entries = -(-rows // self.rows)
        return entries + -(-entries // self.spare) if self.spare else entries


VERDICT_MAX: Final = 96

_SPECS: Final = (
    TableSpec(Table.CONFIG, "config", MapType.ARRAY, U32, CONFIG, 1),
    TableSpec(Table.HOSTS, "hosts", MapType.HASH, BE32, HOST, 16 * 1024, form=Form.BUCKETS),
    TableSpec(Table.VPCS, "vpcs", MapType.HASH, U32, VPC, 16 * 1024, form=Form.BUCKETS),
    TableSpec(
        Table.ROUTES4, "routes", MapType.HASH, ROUTE_KEY4, ROUTE, 64 * 1024, form=Form.BUCKETS, secret=True
    ),
    TableSpec(Table.SHARDS, "shards", MapType.HASH, SHARD_KEY, SHARD, 128 * 1024, form=Form.BUCKETS),
    TableSpec(
        Table.LOCATIONS4,
        "locations",
        MapType.HASH,
        ADDR_KEY4,
        LOCATION,
        1024 * 1024,
        form=Form.BUCKETS,
        secret=True,
    ),
    TableSpec(
        Table.ENDPOINTS4,
        "endpoints",
        MapType.HASH,
        ADDR_KEY4,
        ENDPOINT,
        64 * 1024,
        form=Form.BUCKETS,
        secret=True,
    ),
    TableSpec(Table.PORTS, "ports", MapType.HASH, U32, PORT, 16 * 1024, form=Form.BUCKETS),
    TableSpec(
        Table.DIRECT4,
        "direct",
        MapType.LRU_HASH,
        ADDR_KEY4,
        DIRECT,
        192 * 1024,
        form=Form.SETS,
        secret=True,
    ),
    TableSpec(Table.FLOWS4, "flows", MapType.HASH, FLOW_KEY4, FLOW4, 128 * 1024),
    TableSpec(Table.FRAGS4, "fragments", MapType.LRU_HASH, FRAG_KEY4, FRAG4, 8 * 1024),
    TableSpec(Table.WATCHED, "watched", MapType.ARRAY, U32, WATCHED, 64 * 1024),
    TableSpec(Table.SERVICES4, "services", MapType.HASH, SERVICE_KEY4, SERVICE4, 64 * 1024),
    TableSpec(Table.MAGLEV4, "maglev", MapType.HASH, MAGLEV_KEY4, MAGLEV4, 256 * 1024),
    TableSpec(Table.BACKENDS4, "backends", MapType.HASH, BACKEND_KEY4, BACKEND4, 256 * 1024),
    TableSpec(Table.GATEWAYS4, "gateways", MapType.HASH, U32, GATEWAY4_ROW, 16 * 1024),
    TableSpec(Table.OUTSIDE4, "outside", MapType.HASH, BE32, OUTSIDE4, 16 * 1024),
    TableSpec(Table.FLOATING4, "floating", MapType.HASH, ADDR_KEY4, FLOATING4, 16 * 1024),
    TableSpec(Table.FORWARDS4, "forwards", MapType.HASH, SERVICE_KEY4, FORWARD4, 64 * 1024),
    TableSpec(Table.STATS, "stats", MapType.PERCPU_ARRAY, U32, STATS, 64 * 1024),
    TableSpec(Table.VERDICTS, "verdicts", MapType.PERCPU_ARRAY, U32, COUNT, VERDICT_MAX),
)

TABLES: Final[Mapping[str, TableSpec]] = types.MappingProxyType({spec.name: spec for spec in _SPECS})
"""Every map by its name. Table is a str, so TABLES["mz_hosts"] and TABLES[Table.HOSTS] are the same."""


def _buckets(name: str, value: np.dtype[Any], rows: int) -> MapSpec:
    bucket = _struct(("keys", "=u8", (BUCKET_ROWS,)), ("values", value, (BUCKET_ROWS,)))
    one = MapSpec(name, MapType.ARRAY, U32, bucket, 1, BUCKET_SHARE, BUCKET_SPARE)
    return dataclasses.replace(one, max_entries=one.entries(rows))


def _sets(name: str, rows: int) -> MapSpec:
    each = DIRECT_ROWS * DIRECT_LINES
    return MapSpec(name, MapType.ARRAY, U32, DIRECT_SET, rows // each, each)


def _map_of(spec: TableSpec) -> MapSpec:
    match spec.form:
        case Form.BUCKETS:
            return _buckets(spec.name, spec.value, spec.max_entries)
        case Form.SETS:
            return _sets(spec.name, spec.max_entries)
        case Form.PLAIN:
            return MapSpec(spec.name, spec.type, spec.key, spec.value, spec.max_entries)


LENGTHS: Final = "mz_lengths4"
"""Kept with mz_routes4 by the data plane, by VNI; no table of anybody else."""

PARTS: Final = "mz_parts"
"""One row: the parts in use of tables that are no plain maps, and the factor where tenants choose keys."""

_PRIVATE: Final = (
    _buckets(LENGTHS, LENGTHS4, TABLES[Table.VPCS].max_entries),
    MapSpec(PARTS, MapType.ARRAY, U32, PARTS_ROW, 1),
    MapSpec("mz_clock", MapType.PERCPU_ARRAY, U32, CLOCK, 1),
    MapSpec("mz_scratch", MapType.PERCPU_ARRAY, U32, SCRATCH, 1),
)
"""Maps that are no tables."""

MAPS: Final[Mapping[str, MapSpec]] = types.MappingProxyType(
    {spec.name: spec for spec in (*map(_map_of, _SPECS), *_PRIVATE)}
)
"""Every map of the objects by its name."""


SLOTTED: Final = (Table.STATS, Table.WATCHED)
"""Tables by slot, of one capacity: a slot that is given out again is empty in all of them."""


def with_slots(sizes: Mapping[str, int]) -> dict[str, int]:
    """Capacities by table, where those by slot follow the counters'."""
    follow = {table.value: sizes[Table.STATS] for table in SLOTTED if Table.STATS in sizes}
    return follow | dict(sizes)


def no_such_table(name: str) -> errors.InvalidError:
    """The error for a table name that is in no registry."""
    return errors.InvalidError(f"find table {name!r}: there is none (known: {', '.join(TABLES)})")


LABELS: Final[Mapping[str, TableSpec]] = types.MappingProxyType({spec.label: spec for spec in _SPECS})
"""Every map by the name that users see."""


def mask4(length: int) -> int:
    """Mask of an IPv4 prefix of this length."""
    return 0xFFFF_FFFF << (32 - length) & 0xFFFF_FFFF
