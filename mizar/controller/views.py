# SPDX-License-Identifier: Apache-2.0
"""Objects as users see them: what the store has, with a status that is true now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mizar.controller import health, status, subjects, views_services
from mizar.controller.hostqueue import HostState
from mizar.controller.pusher import Pusher
from mizar.controller.subjects import Subject
from mizar.model import objects
from mizar.plan import state
from mizar.rpc.gen.mizar.node.v1 import node_pb2
from mizar.store.records import EndpointText

_DELETING: Final = status.Verdict(ready=False, reason="Deleting", message="being deleted")


class Views:
    """Fills in what the store does not know."""

    def __init__(
        self,
        world: state.State,
        board: status.Board,
        pusher: Pusher,
        statuses: Mapping[str, node_pb2.NodeStatus],
        *,
        health: health.Health,
    ) -> None:
        self._world = world
        self._board = board
        self._pusher = pusher
        self._statuses = statuses
        self._health = health

    def of(self, obj: objects.Declared) -> objects.Declared:
        """The object with its whole status."""
        subject = subjects.of(self._world, obj)
        verdict = self._verdict(obj, subject)
        more: dict[str, Any] = {
            "ready": verdict.ready,
            "conditions": (_condition(verdict),),
            "message": verdict.message or None,
        }
        match obj:
            case objects.Host():
                more |= self._host(obj)
                return obj.model_copy(update={"status": (obj.status or _HOST).model_copy(update=more)})
            case objects.Vpc():
                more |= self._vpc(obj)
                return obj.model_copy(update={"status": (obj.status or _VPC).model_copy(update=more)})
            case objects.Network():
                more |= self._network(obj)
                return obj.model_copy(update={"status": (obj.status or _NETWORK).model_copy(update=more)})
            case objects.Endpoint(spec=objects.EndpointSpec() as spec):
                more |= _endpoint(obj, spec)
                return obj.model_copy(update={"status": (obj.status or _ENDPOINT).model_copy(update=more)})
            case objects.Endpoint():
                more["backends"] = views_services.backends(self._world, self._health, subject)
            case objects.Gateway():
                more["hosts"] = views_services.gateway_hosts(self._world, subject, is_up=self._leads_out)
            case objects.FloatingAddress() | objects.PortForward():
                more["host"] = views_services.answering(self._world, subject)
        assert obj.status is not None  # the store says something of each
        return obj.model_copy(update={"status": obj.status.model_copy(update=more)})

    def _leads_out(self, host: str) -> bool:
        return self._is_up(host) and host not in self._world.away

    def _is_up(self, host: str) -> bool:
        queue = self._pusher.hosts.get(host)
        return queue is not None and queue.state in (HostState.CONNECTED, HostState.SYNCING)

    def written(self, one: EndpointText) -> str:
        """The JSON of an endpoint with its whole status: what `of` would be written as."""
        if one.scaled is not None:
            return self.of(one.scaled).model_dump_json(by_alias=True, exclude_none=True)
        if one.deleted:
            verdict = _DELETING
        else:
            verdict = self._board.verdict(Subject("Endpoint", one.serial), one.revision)
        rest = _READY_TEXT if verdict is status.READY else _verdict_text(verdict)
        return f'{one.text},"netns":{json.dumps(one.netns or _made_netns(one.vpc, one.name))},{rest}}}}}'

    def _verdict(self, obj: objects.Declared, subject: Subject) -> status.Verdict:
        if obj.metadata.deletion_timestamp is not None:
            return _DELETING
        return self._board.verdict(subject, obj.metadata.resource_version or 0)

    def _host(self, obj: objects.Host) -> dict[str, Any]:
        name = obj.metadata.name
        queue = self._pusher.hosts.get(name)
        more: dict[str, Any] = {"agent": "connected" if self._is_up(name) else "away"}
        said = self._statuses.get(name)
        if said is not None:
            more |= {
                "transit": said.transit or None,
                "transit_reason": said.transit_reason or None,
                "interface": said.interface or None,
                "mtu": said.underlay_mtu or None,
                "revision": max(said.revision, queue.applied if queue is not None else 0),
                "version": said.version or None,
            }
        return more

    def _vpc(self, obj: objects.Vpc) -> dict[str, Any]:
        known = self._world.vpcs.get(obj.status.vni) if obj.status and obj.status.vni else None
        return {"dividers": tuple(sorted(known.dividers)) if known else ()}

    def _network(self, obj: objects.Network) -> dict[str, Any]:
        known = self._world.networks.get(obj.status.id) if obj.status and obj.status.id else None
        return {"bouncers": tuple(sorted(known.space.bouncers)) if known else ()}


def _endpoint(obj: objects.Endpoint, spec: objects.EndpointSpec) -> dict[str, Any]:
    """The namespace that the agent makes when none is named (node.proto, Veth)."""
    made = _made_netns(obj.metadata.vpc, obj.metadata.name)
    return {"host": spec.host, "netns": spec.netns or made}


def _made_netns(vpc: str, name: str) -> str:
    return f"mizar.{vpc}.{name}"


def _condition(verdict: status.Verdict) -> objects.Condition:
    return objects.Condition(
        status="True" if verdict.ready else "False",
        reason=verdict.reason,
        message=verdict.message,
        last_transition_time=None,
    )


def _verdict_text(verdict: status.Verdict) -> str:
    """The fields of a status that follow from a verdict, without braces."""
    fields: dict[str, Any] = {
        "ready": verdict.ready,
        "conditions": [_condition(verdict).model_dump(by_alias=True, exclude_none=True)],
    }
    if verdict.message:
        fields["message"] = verdict.message
    return json.dumps(fields, separators=(",", ":"))[1:-1]


_READY_TEXT: Final = _verdict_text(status.READY)
_HOST: Final = objects.HostStatus.model_construct()
_VPC: Final = objects.VpcStatus.model_construct()
_NETWORK: Final = objects.NetworkStatus.model_construct()
_ENDPOINT: Final = objects.EndpointStatus.model_construct()
