# SPDX-License-Identifier: Apache-2.0
"""Rows of the tables as JSON-able dicts: what `mizar tables` and the node API show.

    for row in decode.rows(layout.Table.DIRECT4, *plane.dump("mz_direct4"), now_ms=decode.now_ms(ns)):
        print(json.dumps(row))

What holds:
 - Field names are stable: scripts read them. Addresses are dotted strings, MACs colon separated, flags
   lists of lower-case names, enums lower-case names; what is unset is null.
 - Rows come in the order of the columns given, without copying the columns into objects first.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from mizar.abi import hashes, layout, verdicts

Row: TypeAlias = dict[str, Any]

PROTOCOLS: Final[Mapping[int, str]] = {1: "icmp", 6: "tcp", 17: "udp", 132: "sctp"}
"""IP protocols by name, as far as we know their headers."""

_TIME_MASK: Final = 0xFFFFFFFF
_AHEAD_MS: Final = 1000
"""Entries are stamped by whichever CPU's clock; MZ_DIRECT4_AHEAD_MS of the programs."""


def now_ms(monotonic_ns: int) -> int:
    """The programs' clock (milliseconds modulo 2^32) for a time of time.monotonic_ns()."""
    return monotonic_ns // 1_000_000 & _TIME_MASK


def age_ms(confirmed: int, now: int) -> int:
    """Milliseconds from `confirmed` to `now`, both of the programs' clock; 0 if a little ahead of it."""
    return 0 if (confirmed - now) & _TIME_MASK <= _AHEAD_MS else (now - confirmed) & _TIME_MASK


def address4(number: int) -> str:
    """10.0.0.1 for 0x0a000001."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def mac(octets: Any) -> str:
    """Six octets, colon separated."""
    return ":".join(f"{int(octet):02x}" for octet in octets)


def prefix4(number: int, length: int) -> str:
    return f"{address4(number)}/{length}"


def _flags(kind: type[enum.IntFlag], value: int) -> list[str]:
    return [str(flag.name).lower() for flag in kind if flag & value]


def _name(kind: type[enum.IntEnum], value: int) -> str:
    return next((member.name.lower() for member in kind if member == value), str(value))


# ---------------------------------------------------------------- one table each


def _config(_: Any, value: Any, __: int) -> Row:
    return {
        "address": address4(int(value["underlay_addr"])),
        "ifindex": int(value["underlay_ifindex"]),
        "mac": mac(value["underlay_mac"]),
        "soft_ms": int(value["soft_ms"]),
        "hard_ms": int(value["hard_ms"]),
        "flags": _flags(layout.ConfigFlags, int(value["flags"])),
    }


def _host(key: Any, value: Any, _: int) -> Row:
    nexthop, until = int(value["nexthop"]), int(value["mac_until"])
    return {
        "address": address4(int(key)),
        "nexthop": address4(nexthop) if nexthop else None,
        "mac": mac(value["mac"]) if until else None,
        "mac_until": until,
        "flags": _flags(layout.HostFlags, int(value["flags"])),
    }


def _vpc(key: Any, value: Any, _: int) -> Row:
    count = min(int(value["n_dividers"]), layout.MAX_DIVIDERS)
    return {
        "vni": int(key),
        "flags": _flags(layout.VpcFlags, int(value["flags"])),
        "slot": int(value["slot"]),
        "dividers": [address4(int(host)) for host in value["dividers"][:count]],
    }


def _prefix(key: Any) -> str:
    return prefix4(int(key["addr"]), int(key["mask"]).bit_count())


def _route_table(number: int) -> str:
    """The VNI, or which network's own routes these are."""
    own = number & layout.TABLE_NETWORK
    return f"network {number & ~layout.TABLE_NETWORK}" if own else str(number)


def _route(key: Any, value: Any, _: int) -> Row:
    kind, target, table = int(value["kind"]), int(value["target"]), int(key["vni"])
    own = bool(table & layout.TABLE_NETWORK)
    appliance = kind == layout.RouteKind.APPLIANCE
    return {
        "vni": None if own else table,
        "table": _route_table(table) if own else "vpc",
        "prefix": _prefix(key),
        "kind": _name(layout.RouteKind, kind),
        "network": int(value["network"]),
        "shards": int(value["shards"]),
        "endpoint": address4(socket.ntohl(target)) if appliance else None,
        "peer_vni": target if target and not appliance else None,
    }


def _shard(key: Any, value: Any, _: int) -> Row:
    count = min(int(value["n"]), layout.MAX_REPLICAS)
    return {
        "network": int(key["network"]),
        "shard": int(key["shard"]),
        "hosts": [address4(int(host)) for host in value["hosts"][:count]],
    }


def _location(key: Any, value: Any, _: int) -> Row:
    host = int(value["host"])
    return _addr_key(key) | {
        "host": address4(host) if host else None,
        "scaled": not host,
        "slot": int(value["slot"]),
    }


def _endpoint(key: Any, value: Any, _: int) -> Row:
    return _addr_key(key) | {
        "ifindex": int(value["ifindex"]),
        "slot": int(value["slot"]),
        "mac": mac(value["mac"]),
        "flags": _flags(layout.EndpointFlags, int(value["flags"])),
    }


def _port(key: Any, value: Any, _: int) -> Row:
    count = min(int(value["n_onlink"]), layout.MAX_ONLINK)
    return {
        "ifindex": int(key),
        "vni": int(value["vni"]),
        "address": address4(int(value["addr"])),
        "mac": mac(value["mac"]),
        "mtu": int(value["mtu"]),
        "network": int(value["network"]),
        "shards": int(value["shards"]),
        "slot": int(value["slot"]),
        "flags": _flags(layout.PortFlags, int(value["flags"])),
        "onlink": [prefix4(int(p["addr"]), int(p["mask"]).bit_count()) for p in value["onlink"][:count]],
    }


def _direct(key: Any, value: Any, now: int) -> Row:
    host, vni = int(value["host"]), int(value["vni"])
    return _addr_key(key) | {
        "host": address4(host) if host else None,
        "scaled": not host,
        "age_ms": age_ms(int(value["confirmed"]), now),
        "endpoint_vni": vni,
    }


def _flow_key(key: Any) -> Row:
    proto = int(key["proto"])
    return {
        "vni": int(key["vni"]),
        "protocol": PROTOCOLS.get(proto, str(proto)),
        "source": f"{address4(int(key['src']))}:{int(key['sport'])}",
        "destination": f"{address4(int(key['dst']))}:{int(key['dport'])}",
    }


def _flow(key: Any, value: Any, now: int) -> Row:
    kind, state = int(value["kind"]), int(value["state"])
    seen = age_ms(int(value["seen"]) * 1000 & _TIME_MASK, now) // 1000
    timeout = hashes.flow_timeout(int(key["proto"]), state)
    if kind == layout.FlowKind.AFFINITY:
        timeout = int(value["asked"])
    via = int(value["via"])
    return _flow_key(key) | {
        "kind": _name(layout.FlowKind, kind),
        "new_vni": int(value["vni"]),
        "new_source": f"{address4(int(value['src']))}:{int(value['sport'])}",
        "new_destination": f"{address4(int(value['dst']))}:{int(value['dport'])}",
        "via": address4(via) if via else None,
        "state": _flags(layout.FlowState, state),
        "idle_s": seen,
        "timeout_s": timeout,
    }


def _fragment(key: Any, value: Any, _: int) -> Row:
    return {
        "vni": int(key["vni"]),
        "protocol": PROTOCOLS.get(int(key["proto"]), str(int(key["proto"]))),
        "source": address4(int(key["src"])),
        "destination": address4(int(key["dst"])),
        "id": int(key["id"]),
        "source_port": int(value["sport"]),
        "destination_port": int(value["dport"]),
    }


def _watched(key: Any, value: Any, _: int) -> Row:
    return {"slot": int(key), "sources": f"{int(value['sources']):016x}"}


def _service_key(key: Any) -> Row:
    proto = int(key["proto"])
    return {
        "vni": int(key["vni"]),
        "address": address4(int(key["addr"])),
        "port": int(key["port"]),
        "protocol": PROTOCOLS.get(proto, str(proto)),
    }


def _service(key: Any, value: Any, _: int) -> Row:
    return _service_key(key) | {
        "id": int(value["id"]),
        "places": int(value["size"]),
        "target_port": int(value["port"]),
        "affinity_s": hashes.affinity_seconds(int(value["affinity"])),
        "slot": int(value["slot"]),
    }


def _maglev(key: Any, value: Any, _: int) -> Row:
    return {
        "service": int(key["service"]),
        "row": int(key["row"]),
        "backends": [address4(int(backend)) for backend in value["backends"]],
    }


def _backend(key: Any, value: Any, _: int) -> Row:
    return {
        "service": int(key["service"]),
        "address": address4(int(key["addr"])),
        "weight": int(value["weight"]),
    }


def _gateway(key: Any, value: Any, _: int) -> Row:
    count = min(int(value["n"]), layout.MAX_OUTSIDE)
    return {
        "vni": int(key),
        "ifindex": int(value["ifindex"]),
        "ports": f"{int(value['first_port'])}-{int(value['last_port'])}",
        "flags": _flags(layout.GatewayFlags, int(value["flags"])),
        "slot": int(value["slot"]),
        "addresses": [address4(int(addr)) for addr in value["addrs"][:count]],
    }


def _outside(key: Any, value: Any, _: int) -> Row:
    endpoint = int(value["endpoint"])
    return {
        "address": address4(int(key)),
        "vni": int(value["vni"]) or None,
        "endpoint": address4(endpoint) if endpoint else None,
        "flags": _flags(layout.OutsideFlags, int(value["flags"])),
    }


def _floating(key: Any, value: Any, _: int) -> Row:
    return _addr_key(key) | {"outside": address4(int(value["addr"]))}


def _forward(key: Any, value: Any, _: int) -> Row:
    return _service_key(key) | {
        "to_vni": int(value["vni"]),
        "to_address": address4(int(value["addr"])),
        "to_port": int(value["port"]),
    }


def _stats(key: Any, value: Any, _: int) -> Row:
    return {"slot": int(key)} | {str(name): int(value[name]) for name in layout.STATS.names or ()}


def _verdict(key: Any, value: Any, _: int) -> Row:
    known = verdicts.BY_NUMBER.get(int(key))
    return {
        "verdict": known.label if known is not None else str(int(key)),
        "drop": known is not None and known.is_drop,
        "packets": int(value["packets"]),
        "bytes": int(value["bytes"]),
    }


def _addr_key(key: Any) -> Row:
    return {"vni": int(key["vni"]), "address": address4(int(key["addr"]))}


_DECODERS: Final[Mapping[str, Callable[[Any, Any, int], Row]]] = {
    layout.Table.CONFIG: _config,
    layout.Table.HOSTS: _host,
    layout.Table.VPCS: _vpc,
    layout.Table.ROUTES4: _route,
    layout.Table.SHARDS: _shard,
    layout.Table.LOCATIONS4: _location,
    layout.Table.ENDPOINTS4: _endpoint,
    layout.Table.PORTS: _port,
    layout.Table.DIRECT4: _direct,
    layout.Table.FLOWS4: _flow,
    layout.Table.FRAGS4: _fragment,
    layout.Table.WATCHED: _watched,
    layout.Table.SERVICES4: _service,
    layout.Table.MAGLEV4: _maglev,
    layout.Table.BACKENDS4: _backend,
    layout.Table.GATEWAYS4: _gateway,
    layout.Table.OUTSIDE4: _outside,
    layout.Table.FLOATING4: _floating,
    layout.Table.FORWARDS4: _forward,
    layout.Table.STATS: _stats,
    layout.Table.VERDICTS: _verdict,
}


def rows(table: str, keys: layout.Rows, values: layout.Rows, *, now_ms: int) -> Iterator[Row]:
    """Every row of a dump; `now_ms` dates learnt rows (see the function of that name)."""
    decode = _DECODERS[table]
    for key, value in zip(keys, values, strict=True):
        yield decode(key, value, now_ms)


def key_text(table: str, key: Any) -> str:
    """One key in one word or two, for messages: 10.0.0.1, 7/10.0.1.0/24, 7/10.0.1.5."""
    match layout.Table(table):
        case layout.Table.HOSTS:
            return address4(int(key))
        case layout.Table.ROUTES4:
            return f"{_route_table(int(key['vni']))}/{_prefix(key)}"
        case layout.Table.OUTSIDE4:
            return address4(int(key))
        case layout.Table.SERVICES4 | layout.Table.FORWARDS4:
            found = _service_key(key)
            return f"{found['vni']}/{found['address']}:{found['port']}/{found['protocol']}"
        case layout.Table.FLOWS4:
            flow = _flow_key(key)
            return f"{flow['vni']}/{flow['source']}-{flow['destination']}/{flow['protocol']}"
        case layout.Table.FRAGS4:
            return (
                f"{int(key['vni'])}/{address4(int(key['src']))}-{address4(int(key['dst']))}/{int(key['id'])}"
            )
        case layout.Table.MAGLEV4:
            return f"{int(key['service'])}/{int(key['row'])}"
        case layout.Table.BACKENDS4:
            return f"{int(key['service'])}/{address4(int(key['addr']))}"
        case (
            layout.Table.LOCATIONS4 | layout.Table.ENDPOINTS4 | layout.Table.DIRECT4 | layout.Table.FLOATING4
        ):
            return f"{int(key['vni'])}/{address4(int(key['addr']))}"
        case layout.Table.SHARDS:
            return f"{int(key['network'])}/{int(key['shard'])}"
        case _:
            return str(int(key))
