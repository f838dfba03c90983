# SPDX-License-Identifier: Apache-2.0
"""Every kind of object by its names, and the columns that show it in a table.

The model classes (objects.py) refer to these, so a kind is described once; they stand apart because the
command line needs names and columns within milliseconds, without loading pydantic. Columns read the JSON form
of an object, which is what the API serves. What is missing in it is shown as a dash.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mizar import errors
from mizar.model import names

API_VERSION: Final = "mizar.io/v1"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its header, the dotted path of its value, and how the value is written.

    `form` gets the value found (never None) and the present time, seconds since the epoch.
    `wide` columns are shown on request only (`-o wide`).
    """

    header: str
    path: str
    wide: bool = False
    form: Callable[[Any, float], str] = lambda value, now: _plain(value)
    missing: str = "-"

    def text(self, obj: Json, *, now: float) -> str:
        value = full_name(obj) if self.path == "name" else _dig(obj, self.path)
        return self.missing if value is None or value == [] or value == "" else self.form(value, now)


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Names and nature of a kind. `in_vpc`: named inside a VPC. `rank`: order of creation, the
    reverse is the order of deletion. Each kind is one object: compared by identity."""

    name: str
    singular: str
    plural: str
    aliases: tuple[str, ...]
    in_vpc: bool
    read_only: bool
    rank: int
    columns: tuple[Column, ...]

    def __str__(self) -> str:
        return self.singular


class Ref(NamedTuple):
    """What an object is called: its kind and name; `vpc` for what is inside one."""

    kind: Kind
    vpc: str | None
    name: str

    @property
    def full_name(self) -> str:
        return names.full(self.vpc, self.name)

    def __str__(self) -> str:
        return f"{self.kind.singular} {self.full_name!r}"


def full_name(obj: Json) -> str:
    """`blue/web` of an object in JSON form."""
    metadata = obj.get("metadata") or {}
    return names.full(metadata.get("vpc"), str(metadata.get("name", "")))


def find(text: str) -> Kind:
    """The kind that `text` names: its name, singular, plural or an alias, in any case."""
    kind = _BY_NAME.get(text.lower())
    if kind is None:
        raise errors.InvalidError(
            f"unknown kind {text!r}{did_you_mean(text.lower(), _BY_NAME)}; kinds: {_LISTED}"
        )
    return kind


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when nothing known is near."""
    spelt = {name.lower(): name for name in known}
    near = difflib.get_close_matches(text.lower(), list(spelt), n=1, cutoff=0.6)
    return f"; did you mean {spelt[near[0]]!r}?" if near else ""


def _dig(obj: Any, path: str) -> Any:
    for step in path.split("."):
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(step)
    return obj


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)


def _age(value: Any, now: float) -> str:
    seconds = max(0, int(now - datetime.datetime.fromisoformat(str(value)).timestamp()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _deleting(value: Any, now: float) -> str:
    return f"for {_age(value, now)}"


def _role(value: Any, now: float) -> str:
    return "no roles" if value else "any role"


def _ports(value: Any, now: float) -> str:
    """`80->8080/TCP` of each port of a scaled endpoint."""
    return ",".join(
        f"{port.get('port')}{'->' + str(port['targetPort']) if port.get('targetPort') else ''}"
        f"/{port.get('protocol', 'TCP')}"
        for port in value
    )


def _backends(value: Any, now: float) -> str:
    """How many of the backends get new flows."""
    fit = sum(one.get("state") in ("healthy", "unknown") and bool(one.get("weight")) for one in value)
    return f"{fit}/{len(value)}"


def _hosts_up(value: Any, now: float) -> str:
    return f"{sum(bool(host.get('up')) for host in value)}/{len(value)}"


def _range(value: Any, now: float) -> str:
    return f"{value.get('first')}-{value.get('last')}"


def _routes(value: Any, now: float) -> str:
    return ",".join(f"{route.get('to')}->{route_target(route)}" for route in value)


def _seconds(value: Any, now: float) -> str:
    return f"{value}s"


def _count(value: Any, now: float) -> str:
    return str(len(value))


def route_target(route: Json) -> str:
    """`gateway out` of a route."""
    if route.get("blackhole"):
        return "blackhole"
    return next((f"{key} {route[key]}" for key in ("endpoint", "gateway", "peer") if route.get(key)), "-")


_NAME = Column("NAME", "name")
_READY = Column("READY", "status.ready", missing="no")
_AGE = Column("AGE", "metadata.creationTimestamp", form=_age)
_TAIL = (
    Column("MESSAGE", "status.message", wide=True),
    Column("DELETING", "metadata.deletionTimestamp", wide=True, form=_deleting),
)

HOST = Kind(
    name="Host",
    singular="host",
    plural="hosts",
    aliases=("node", "nodes"),
    in_vpc=False,
    read_only=False,
    rank=0,
    columns=(
        _NAME,
        Column("ADDRESSES", "spec.addresses"),
        Column("AGENT", "status.agent", missing="away"),
        Column("TRANSIT", "status.transit"),
        Column("ENDPOINTS", "status.endpoints"),
        _READY,
        _AGE,
        Column("INTERFACE", "status.interface", wide=True),
        Column("MTU", "status.mtu", wide=True),
        Column("REVISION", "status.revision", wide=True),
        Column("VERSION", "status.version", wide=True),
        Column("TAKES", "spec.unschedulable", wide=True, form=_role, missing="any role"),
        Column("TARGET", "spec.agent", wide=True),
        *_TAIL,
    ),
)
VPC = Kind(
    name="VPC",
    singular="vpc",
    plural="vpcs",
    aliases=(),
    in_vpc=False,
    read_only=False,
    rank=1,
    columns=(
        _NAME,
        Column("CIDRS", "spec.cidrs"),
        Column("VNI", "status.vni"),
        Column("NETWORKS", "status.networks"),
        Column("ENDPOINTS", "status.endpoints"),
        Column("DIVIDERS", "status.dividers"),
        _READY,
        _AGE,
        Column("MTU", "spec.mtu", wide=True, missing="auto"),
        *_TAIL,
    ),
)
NETWORK = Kind(
    name="Network",
    singular="network",
    plural="networks",
    aliases=("net", "nets"),
    in_vpc=True,
    read_only=False,
    rank=2,
    columns=(
        _NAME,
        Column("CIDRS", "spec.cidrs", missing="group"),
        Column("ENDPOINTS", "status.endpoints"),
        Column("BOUNCERS", "status.bouncers"),
        Column("REPLICAS", "spec.replicas"),
        _READY,
        _AGE,
        Column("ID", "status.id", wide=True),
        Column("SHARDS", "spec.shards", wide=True),
        *_TAIL,
    ),
)
ENDPOINT = Kind(
    name="Endpoint",
    singular="endpoint",
    plural="endpoints",
    aliases=("ep", "eps"),
    in_vpc=True,
    read_only=False,
    rank=3,
    columns=(
        _NAME,
        Column("NETWORK", "spec.network"),
        Column("HOST", "spec.host"),
        Column("ADDRESSES", "status.addresses"),
        _READY,
        _AGE,
        Column("PORTS", "spec.ports", wide=True, form=_ports),
        Column("BACKENDS", "status.backends", wide=True, form=_backends),
        Column("MAC", "status.mac", wide=True),
        Column("NETNS", "status.netns", wide=True),
        Column("INTERFACE", "status.interface", wide=True),
        *_TAIL,
    ),
)
GATEWAY = Kind(
    name="Gateway",
    singular="gateway",
    plural="gateways",
    aliases=("gw", "gws"),
    in_vpc=True,
    read_only=False,
    rank=4,
    columns=(
        _NAME,
        Column("HOSTS", "spec.hosts", missing="each its own"),
        Column("ADDRESSES", "spec.addresses", missing="the hosts'"),
        Column("DESTINATIONS", "spec.destinations"),
        Column("UP", "status.hosts", form=_hosts_up),
        _READY,
        _AGE,
        Column("PORTS", "spec.ports", wide=True, form=_range),
        Column("ID", "status.id", wide=True),
        *_TAIL,
    ),
)
FLOATING_ADDRESS = Kind(
    name="FloatingAddress",
    singular="floatingaddress",
    plural="floatingaddresses",
    aliases=("floating", "fip", "fips"),
    in_vpc=True,
    read_only=False,
    rank=5,
    columns=(
        _NAME,
        Column("ADDRESS", "spec.address"),
        Column("ENDPOINT", "spec.endpoint"),
        Column("GATEWAY", "spec.gateway"),
        Column("HOST", "status.host"),
        _READY,
        _AGE,
        *_TAIL,
    ),
)
PORT_FORWARD = Kind(
    name="PortForward",
    singular="portforward",
    plural="portforwards",
    aliases=("forward", "forwards", "pf", "pfs"),
    in_vpc=True,
    read_only=False,
    rank=6,
    columns=(
        _NAME,
        Column("ADDRESS", "spec.address"),
        Column("PORT", "spec.port"),
        Column("PROTOCOL", "spec.protocol"),
        Column("ENDPOINT", "spec.endpoint"),
        Column("TARGET", "spec.targetPort", missing="same"),
        Column("HOST", "status.host"),
        _READY,
        _AGE,
        Column("GATEWAY", "spec.gateway", wide=True),
        *_TAIL,
    ),
)
PEERING = Kind(
    name="Peering",
    singular="peering",
    plural="peerings",
    aliases=("peer", "peers"),
    in_vpc=True,
    read_only=False,
    rank=7,
    columns=(
        _NAME,
        Column("PEER", "spec.peer"),
        Column("ACTIVE", "status.active"),
        _READY,
        _AGE,
        *_TAIL,
    ),
)
ROUTE_TABLE = Kind(
    name="RouteTable",
    singular="routetable",
    plural="routetables",
    aliases=("rt", "rts"),
    in_vpc=True,
    read_only=False,
    rank=8,
    columns=(
        _NAME,
        Column("NETWORKS", "spec.networks", missing="all"),
        Column("ROUTES", "spec.routes", form=_count, missing="0"),
        _READY,
        _AGE,
        Column("TARGETS", "spec.routes", wide=True, form=_routes),
        *_TAIL,
    ),
)
BOUNCER = Kind(
    name="Bouncer",
    singular="bouncer",
    plural="bouncers",
    aliases=(),
    in_vpc=True,
    read_only=True,
    rank=90,
    columns=(
        _NAME,
        Column("NETWORK", "spec.network"),
        Column("HOST", "spec.host"),
        Column("SHARDS", "spec.shards"),
        Column("ENTRIES", "spec.entries"),
        Column("PACKETS", "status.packets"),
        Column("BYTES", "status.bytes", wide=True),
    ),
)
DIVIDER = Kind(
    name="Divider",
    singular="divider",
    plural="dividers",
    aliases=(),
    in_vpc=True,
    read_only=True,
    rank=91,
    columns=(
        _NAME,
        Column("HOST", "spec.host"),
        Column("SHARDS", "spec.shards"),
        Column("ENTRIES", "spec.entries"),
        Column("PACKETS", "status.packets"),
        Column("BYTES", "status.bytes", wide=True),
    ),
)

FIXTURES = (GATEWAY, FLOATING_ADDRESS, PORT_FORWARD, PEERING, ROUTE_TABLE)
"""What a VPC has besides networks and endpoints, in the order of creation."""

KINDS = (HOST, VPC, NETWORK, ENDPOINT, *FIXTURES, BOUNCER, DIVIDER)

ROUTE = Kind(
    name="Route",
    singular="route",
    plural="routes",
    aliases=(),
    in_vpc=True,
    read_only=True,
    rank=92,
    columns=(
        Column("VPC", "metadata.vpc"),
        Column("NETWORK", "spec.network", missing="all"),
        Column("TO", "spec.to"),
        Column("TARGET", "spec.target"),
        Column("DECLARED BY", "spec.declaredBy"),
    ),
)
SESSION = Kind(
    name="Session",
    singular="session",
    plural="sessions",
    aliases=("flow", "flows"),
    in_vpc=True,
    read_only=True,
    rank=93,
    columns=(
        Column("VPC", "metadata.vpc"),
        Column("HOST", "spec.host"),
        Column("TYPE", "spec.type"),
        Column("PROTOCOL", "spec.protocol"),
        Column("FROM", "spec.from"),
        Column("TO", "spec.to"),
        Column("BECOMES", "spec.becomes"),
        Column("STATE", "status.state"),
        Column("IDLE", "status.idleSeconds", form=_seconds),
        Column("ENDS IN", "status.endsInSeconds", wide=True, form=_seconds),
    ),
)
VIEWS = (ROUTE, SESSION)
"""What clients make of other lists; the API does not have them."""

_BY_NAME = {
    text: kind
    for kind in (*KINDS, *VIEWS)
    for text in (kind.name.lower(), kind.singular, kind.plural, *kind.aliases)
}
_LISTED = ", ".join(kind.singular for kind in (*KINDS, *VIEWS))
