# SPDX-License-Identifier: Apache-2.0
"""What one run of a program leads to: a verdict, frames that leave, changes to the tables."""

from __future__ import annotations

import dataclasses
import enum
from typing import TypeAlias

from mizar.abi.verdicts import Verdict


class Program(enum.Enum):
    """Which program runs."""

    ENDPOINT = "mz_endpoint"
    TRANSIT_TC = "mz_transit_tc"
    TRANSIT_XDP = "mz_transit_xdp"


class Action(enum.Enum):
    """What becomes of the packet itself."""

    PASS = "pass"
    """On to the next program, or the host's stack."""
    DROP = "drop"
    SEND = "send"
    """It leaves as the last of the frames."""


class To(enum.Enum):
    ENDPOINT = "endpoint"
    """Into the interface `ifindex`."""
    HOST = "host"
    """Out of the underlay interface to `host`. Outer MACs are the kernel's to fill in unless `has_macs`."""
    BACK = "back"
    """Out of the interface that it came in by."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """One frame on its way."""

    frame: bytes
    to: To
    ifindex: int = 0
    host: int = 0
    has_macs: bool = True


@dataclasses.dataclass(frozen=True)
class Learn:
    """Who is (vni, address) to endpoints of this host is on `host`, confirmed now."""

    vni: int
    address: int
    host: int
    own_vni: int
    """Of the endpoint's own VPC: another one if that is a peer."""


@dataclasses.dataclass(frozen=True)
class Forget:
    vni: int
    address: int


@dataclasses.dataclass(frozen=True)
class CountTx:
    slot: int
    size: int


@dataclasses.dataclass(frozen=True)
class CountRx:
    slot: int
    size: int


Effect: TypeAlias = Learn | Forget | CountTx | CountRx


@dataclasses.dataclass(frozen=True)
class Outcome:
    verdict: Verdict
    action: Action
    frames: tuple[Sent, ...] = ()
    effects: tuple[Effect, ...] = ()


def drop(verdict: Verdict, *effects: Effect) -> Outcome:
    return Outcome(verdict, Action.DROP, effects=effects)


def passed(verdict: Verdict = Verdict.PASS) -> Outcome:
    return Outcome(verdict, Action.PASS)


def send(verdict: Verdict, *frames: Sent, effects: tuple[Effect, ...] = ()) -> Outcome:
    return Outcome(verdict, Action.SEND, frames, effects)
