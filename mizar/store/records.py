# SPDX-License-Identifier: Apache-2.0
"""Rows of the SQLite backend, and what they are to the layers around: facts and objects.

Records of the small kinds are mutable: a transaction counts in them and writes the dirty ones back. Objects
are made by validating: pydantic does that several times faster than it constructs without.
"""

from __future__ import annotations

import datetime
import functools
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mizar.model import addresses, facts, kinds, objects, parts, services


@dataclass(eq=False)
class Record:
    """What hosts, VPCs and networks have in common, in the order of the columns."""

    serial: int
    name: str
    spec: str
    labels: str
    revision: int
    created: int
    deleted: int | None

    @functools.cached_property
    def wanted(self) -> Any:
        return json.loads(self.spec)


@dataclass(eq=False)
class HostRecord(Record):
    live: int = 0
    total: int = 0
    joined: int = 0

    @property
    def fact(self) -> facts.HostFact:
        spec = self.wanted
        return facts.HostFact(
            self.name,
            addresses.parse(spec["addresses"][0]),
            spec["agent"],
            schedulable=not spec["unschedulable"],
            joined=bool(self.joined),
        )


@dataclass(eq=False)
class VpcRecord(Record):
    vni: int = 0
    space: int = 0

    @functools.cached_property
    def fact(self) -> facts.VpcFact:
        return _kept_vpc_fact(self.name, self.spec, self.vni, self.space)


@dataclass(eq=False)
class NetworkRecord(Record):
    live: int = 0
    total: int = 0
    vni: int = 0
    id: int = 0
    cursor: int = 0

    @functools.cached_property
    def fact(self) -> facts.NetworkFact:
        return _kept_network_fact(self.name, self.spec, self.vni, self.id)


@dataclass(eq=False)
class FixtureRecord(Record):
    """A gateway, floating address, port forward, route table or peering."""

    kind: str = ""
    vni: int = 0
    number: int = 0

    @functools.cached_property
    def declared(self) -> Any:
        """The spec as an object."""
        return _SPECS[self.kind].model_validate(self.wanted)


_SPECS: Final[dict[str, type[objects.Part]]] = {
    "Gateway": services.GatewaySpec,
    "FloatingAddress": services.FloatingAddressSpec,
    "PortForward": services.PortForwardSpec,
    "RouteTable": services.RouteTableSpec,
    "Peering": services.PeeringSpec,
}


@dataclass(slots=True, eq=False)
class EndpointRecord:
    """One endpoint, in the order of the columns. `network` and `host` are their id and serial; host 0: it is
    scaled."""

    serial: int
    vni: int
    name: str
    network: int
    host: int
    addresses: bytes
    automatic: int
    netns: str
    ifname: str
    labels: str
    revision: int
    created: int
    deleted: int | None
    forwarding: int = 0


def vpc_fact(name: str, spec: dict[str, Any], *, vni: int, space: int) -> facts.VpcFact:
    return facts.VpcFact(
        vni=vni,
        name=name,
        cidrs=tuple(map(addresses.parse_prefix, spec["cidrs"])),
        dividers=spec["dividers"],
        mtu=spec.get("mtu") or 0,
        group=space,
    )


def network_fact(name: str, spec: dict[str, Any], *, vni: int, number: int) -> facts.NetworkFact:
    return facts.NetworkFact(
        id=number,
        vni=vni,
        name=name,
        cidrs=tuple(map(addresses.parse_prefix, spec["cidrs"])),
        bouncers=spec["bouncers"],
        replicas=spec["replicas"],
        shards=spec["shards"],
    )


# ------------------------------------------------------------------------------------------------- columns


def spec_text(spec: objects.Part) -> str:
    """A spec as it is kept: canonical, so that equal specs are equal texts."""
    return json.dumps(
        spec.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=True, separators=(",", ":")
    )


def labels_text(labels: dict[str, str]) -> str:
    return json.dumps(labels, sort_keys=True, separators=(",", ":")) if labels else ""


def pack(numbers: tuple[int, ...]) -> bytes:
    """Addresses as a column."""
    return _ONE.pack(*numbers) if len(numbers) == 1 else struct.pack(f"!{len(numbers)}I", *numbers)


_ONE = struct.Struct("!I")


def unpack(column: bytes) -> tuple[int, ...]:
    return struct.unpack(f"!{len(column) // 4}I", column)


# ------------------------------------------------------------------------------------------------- objects


def metadata(record: Record | EndpointRecord, *, store: bytes, vpc: str | None = None) -> dict[str, Any]:
    """Fields of the metadata of an object. `store`: the store's own number."""
    fields: dict[str, Any] = {
        "name": record.name,
        "labels": json.loads(record.labels) if record.labels else {},
        "uid": uid(store, record.serial),
        "resource_version": record.revision,
        "creation_timestamp": timestamp(record.created),
    }
    if record.deleted is not None:
        fields["deletion_timestamp"] = timestamp(record.deleted)
    if vpc is not None:
        fields["vpc"] = vpc
    return fields


def host(record: HostRecord, *, store: bytes) -> objects.Host:
    return objects.Host.model_validate(
        {
            "metadata": metadata(record, store=store),
            "spec": record.wanted,
            "status": {"endpoints": record.live},
        }
    )


def vpc(record: VpcRecord, *, store: bytes, networks: int, endpoints: int) -> objects.Vpc:
    return objects.Vpc.model_validate(
        {
            "metadata": metadata(record, store=store),
            "spec": record.wanted,
            "status": {"vni": record.vni, "networks": networks, "endpoints": endpoints},
        }
    )


def network(record: NetworkRecord, *, store: bytes, vpc: str) -> objects.Network:
    return objects.Network.model_validate(
        {
            "metadata": metadata(record, store=store, vpc=vpc),
            "spec": record.wanted,
            "status": {"id": record.id, "endpoints": record.live},
        }
    )


def endpoint(record: EndpointRecord, *, store: bytes, vpc: str, network: str, host: str) -> objects.Endpoint:
    texts = tuple(map(addresses.to_text, unpack(record.addresses)))
    return objects.Endpoint.model_validate(
        {
            "metadata": metadata(record, store=store, vpc=vpc),
            "spec": {
                "network": network,
                "host": host,
                "addresses": () if record.automatic else texts,
                "netns": record.netns or None,
                "ifname": record.ifname or None,
                "forwarding": bool(record.forwarding),
            },
            "status": {"addresses": texts, "mac": facts.mac_text(record.serial), "host": host},
        }
    )


def scaled_endpoint(record: EndpointRecord, spec: str, *, store: bytes, vpc: str) -> objects.Endpoint:
    texts = tuple(map(addresses.to_text, unpack(record.addresses)))
    return objects.Endpoint.model_validate(
        {
            "metadata": metadata(record, store=store, vpc=vpc),
            "spec": json.loads(spec),
            "status": {"addresses": texts},
        }
    )


def service_fact(record: EndpointRecord, spec: str, backends: Iterable[tuple[int, int]]) -> facts.ServiceFact:
    """`backends`: serial and weight of each."""
    wanted = services.ScaledSpec.model_validate_json(spec)
    affinity = wanted.session_affinity
    return facts.ServiceFact(
        id=record.serial,
        vni=record.vni,
        name=record.name,
        network=record.network,
        address=unpack(record.addresses)[0],
        ports=tuple(
            facts.PortFact(port.port, parts.PROTOCOLS[port.protocol], port.target) for port in wanted.ports
        ),
        backends=tuple(facts.BackendFact(endpoint, weight) for endpoint, weight in backends),
        affinity=affinity.timeout_seconds if affinity is not None else 0,
        check=_check_fact(wanted),
    )


def _check_fact(spec: services.ScaledSpec) -> facts.CheckFact | None:
    check = spec.health_check
    if check is None:
        return None
    return facts.CheckFact(
        kind=check.type,
        port=0 if check.type == "up" else check.port or spec.ports[0].target,
        path=(check.path or "/") if check.type == "http" else "",
        interval_ms=check.interval_seconds * 1000,
        timeout_ms=check.timeout_seconds * 1000,
        failures=check.failures,
        successes=check.successes,
    )


def fixture(
    record: FixtureRecord, *, store: bytes, vpc: str, status: dict[str, Any] | None = None
) -> objects.Fixture:
    """`status`: what the store knows of it."""
    cls: Any = objects.CLASSES[record.kind]
    made: objects.Fixture = cls.model_validate(
        {
            "metadata": metadata(record, store=store, vpc=vpc),
            "spec": record.wanted,
            "status": status or {},
        }
    )
    return made


class EndpointText(NamedTuple):
    """An endpoint's JSON up to what the store does not know: `text` ends inside of the status. A scaled one
    is there as an object instead: those are few."""

    serial: int
    revision: int
    deleted: bool
    vpc: str
    name: str
    netns: str
    text: str
    scaled: objects.Endpoint | None = None


def scaled_text(record: EndpointRecord, obj: objects.Endpoint) -> EndpointText:
    vpc = obj.metadata.vpc
    deleted = record.deleted is not None
    return EndpointText(record.serial, record.revision, deleted, vpc, record.name, "", "", obj)


def endpoint_text(record: EndpointRecord, *, store: bytes, vpc: str, network: str, host: str) -> EndpointText:
    """What `endpoint` would be written as, without the object: a list may be of a million. Names are DNS
    labels and addresses are ours, so they need no escaping."""
    numbers = ",".join([f'"{addresses.to_text(number)}"' for number in unpack(record.addresses)])
    deleted = f'"deletionTimestamp":"{timestamp(record.deleted)}",' if record.deleted is not None else ""
    netns = f',"netns":{json.dumps(record.netns)}' if record.netns else ""
    ifname = f',"ifname":{json.dumps(record.ifname)}' if record.ifname else ""
    text = (
        f'{{"apiVersion":"{kinds.API_VERSION}","kind":"Endpoint","metadata":{{"name":"{record.name}",'
        f'"labels":{record.labels or "{}"},"uid":"{uid(store, record.serial)}",'
        f'"resourceVersion":{record.revision},"creationTimestamp":"{timestamp(record.created)}",{deleted}'
        f'"vpc":"{vpc}"}},"spec":{{"type":"simple","network":"{network}","host":"{host}",'
        f'"addresses":[{"" if record.automatic else numbers}]{netns}{ifname},'
        f'"forwarding":{"true" if record.forwarding else "false"}}},'
        f'"status":{{"addresses":[{numbers}],"mac":"{facts.mac_text(record.serial)}","host":"{host}"'
    )
    return EndpointText(
        record.serial, record.revision, record.deleted is not None, vpc, record.name, record.netns, text
    )


@functools.lru_cache(maxsize=1024)
def _kept_vpc_fact(name: str, spec: str, vni: int, space: int) -> facts.VpcFact:
    """Of a row. Cached: a request for one endpoint would take longer to read it than to write."""
    return vpc_fact(name, json.loads(spec), vni=vni, space=space)


@functools.lru_cache(maxsize=1024)
def _kept_network_fact(name: str, spec: str, vni: int, number: int) -> facts.NetworkFact:
    return network_fact(name, json.loads(spec), vni=vni, number=number)


def serial_of(uid: str) -> int:
    """The reverse of `uid`: the object's serial number."""
    return int.from_bytes(bytes.fromhex(uid.replace("-", ""))[9:], "big")


def uid(store: bytes, serial: int) -> str:
    """A UUID (version 8, RFC 9562 s5.8) of the store's number and the object's."""
    raw = bytearray(store + serial.to_bytes(8, "big"))
    raw[6] = 0x80 | raw[6] & 0x0F
    raw[8] = 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@functools.lru_cache(maxsize=64)
def timestamp(seconds: int) -> str:
    """RFC 3339, UTC. Cached: objects of one request share theirs."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
