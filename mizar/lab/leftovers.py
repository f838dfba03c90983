# SPDX-License-Identifier: Apache-2.0
"""Namespaces that the lab's agents made for endpoints, found without any of them running.

An agent notes an endpoint in its journal before it makes anything of it, and gives the interface an alias
when it has made it. Either is enough: journals may be damaged by what ended the lab, and so may interfaces.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from pyroute2.netlink import exceptions

from mizar import errors
from mizar.agent import attachment, journal, namespaces
from mizar.lab import network, state, topology


def endpoint_namespaces(hosts: Sequence[str]) -> list[str]:
    """Names of those that exist. `hosts`: namespaces of the lab's hosts. Those that a manifest named are
    somebody else's and are left alone."""
    found = {*_from_journals(), *_from_aliases(hosts)}
    return sorted(name for name in found if namespaces.path_of(name).exists())


def _from_journals() -> Iterator[str]:
    for path in state.directory("hosts").glob("*/agent.db"):
        with contextlib.suppress(errors.UnavailableError), contextlib.closing(journal.Journal(path)) as known:
            for record in known.endpoints():
                made = attachment.of(record.message, record.mtu)
                if made.owned:
                    yield made.netns


def _from_aliases(hosts: Sequence[str]) -> Iterator[str]:
    for host in hosts:
        with contextlib.suppress(errors.MizarError, exceptions.NetlinkError), network.inside(host) as ip:
            for link in ip.get_links():
                vpc, slash, name = str(link.get("ifalias") or "").removeprefix(_ALIAS).partition("/")
                if slash:
                    yield f"{topology.ENDPOINT_NETNS}{vpc}.{name}"


_ALIAS = attachment.ALIAS_PREFIX
