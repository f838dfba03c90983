# SPDX-License-Identifier: Apache-2.0
"""`mizar agent` and `mizar controller`: the two daemons, in the foreground, as systemd or a person runs them.

Options become AgentConfig and ControllerConfig; what is not given keeps the default of those classes, so that
defaults stand in one place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mizar import errors
from mizar.cli import options

if TYPE_CHECKING:
    from mizar.rpc import wire

_FILE = click.Path(dir_okay=False, path_type=pathlib.Path)
_DIRECTORY = click.Path(file_okay=False, path_type=pathlib.Path)
_LEVELS = click.Choice(["debug", "info", "warning", "error"])


@click.command(
    epilog=options.examples(
        ("mizar agent", "of this host, on its default interface"),
        ("mizar agent --address 192.0.2.11 --transit xdp", "name the underlay address and the hook"),
        (
            "mizar agent --listen 192.0.2.11:7601 --tls-cert h1.pem --tls-key h1.key --tls-ca ca.pem",
            "for a controller elsewhere",
        ),
    )
)
@click.option("--name", metavar="NAME", help="Name of this host. [default: its host name]")
@click.option("--address", metavar="IPV4", help="Underlay address. [default: that of the interface]")
@click.option("--interface", metavar="NAME", help="Underlay interface. [default: the default route's]")
@click.option("--state-dir", type=_DIRECTORY, metavar="DIR", help="[default: /run/mizar]")
@click.option(
    "--pin-root",
    type=_DIRECTORY,
    metavar="DIR",
    help="Where programs stay. [default: /sys/fs/bpf/mizar/NAME]",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS",
    help="unix:///path, or host:port with TLS; repeat for more. [default: agent.sock in the state dir]",
)
@click.option(
    "--listen-insecure",
    multiple=True,
    metavar="HOST:PORT",
    help="TCP without TLS: whoever reaches it owns this host's network.",
)
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="Our certificate, PEM.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="Its key.")
@click.option("--tls-ca", type=_FILE, metavar="FILE", help="The CA that signed the controller's certificate.")
@click.option(
    "--transit", type=click.Choice(["auto", "xdp", "tcx"]), help="Where bouncing runs. [default: auto]"
)
@click.option(
    "--map-size",
    "map_sizes",
    multiple=True,
    metavar="TABLE=N",
    help="Capacity of a table made now, such as locations=4000000; repeat for more.",
)
@click.option("--log-level", type=_LEVELS, help="[default: info]")
def agent(
    tls_cert: pathlib.Path | None,
    tls_key: pathlib.Path | None,
    tls_ca: pathlib.Path | None,
    map_sizes: tuple[str, ...],
    transit: str | None,
    **given: Any,
) -> None:
    """Run the agent of this host.

    In this network namespace, until SIGTERM.

    What it has loaded stays when it ends: packets go on flowing, and the next agent adopts it.
    """
    from mizar.agent import config, main
    from mizar.dataplane import protocol

    settings = _said(given) | _said(
        {
            "tls": _tls(tls_cert, tls_key, tls_ca),
            "map_sizes": dict(_map_size(text) for text in map_sizes),
            "transit": protocol.TransitMode(transit) if transit else None,
        }
    )
    with _wrong_usage():
        wanted = config.AgentConfig(**settings)
    main.run(wanted)


@click.command(
    epilog=options.examples(
        ("mizar controller", "with its database in /var/lib/mizar/controller"),
        ("mizar controller --state-dir ./state --listen unix:///tmp/api.sock", "to try it"),
        ("mizar controller --listen unix:///run/mizar/api.sock --listen 127.0.0.1:7600", "on TCP too"),
    )
)
@click.option(
    "--state-dir",
    type=_DIRECTORY,
    metavar="DIR",
    help="Of the database. [default: /var/lib/mizar/controller]",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS",
    help="unix:///path or host:port; repeat for more. [default: unix:///run/mizar/api.sock]",
)
@click.option("--agent-cert", type=_FILE, metavar="FILE", help="Our certificate for agents on TCP, PEM.")
@click.option("--agent-key", type=_FILE, metavar="FILE", help="Its key.")
@click.option("--agent-ca", type=_FILE, metavar="FILE", help="The CA that signed the agents' certificates.")
@click.option("--agent-insecure", is_flag=True, help="Talk to agents on TCP without TLS: for laboratories.")
@click.option(
    "--drain",
    type=options.DurationType(),
    metavar="DURATION",
    help="How long rows that are replaced stay for what is on the wire. [default: 1s]",
)
@click.option("--max-body", type=int, metavar="BYTES", help="Largest request. [default: 64 MiB]")
@click.option("--log-level", type=_LEVELS, help="[default: info]")
def controller(
    agent_cert: pathlib.Path | None,
    agent_key: pathlib.Path | None,
    agent_ca: pathlib.Path | None,
    drain: float | None,
    max_body: int | None,
    **given: Any,
) -> None:
    """Run the controller.

    Until SIGTERM. Packets do not depend on it.
    """
    from mizar.api import main
    from mizar.controller import config

    timing = dataclasses.replace(config.Timing(), drain=drain) if drain is not None else None
    settings = _said(given) | _said(
        {
            "agent_tls": _tls(agent_cert, agent_key, agent_ca),
            "max_body_bytes": max_body,
            "timing": timing,
        }
    )
    with _wrong_usage():
        wanted = config.ControllerConfig(**settings)
    main.run(wanted)


def _said(values: dict[str, Any]) -> dict[str, Any]:
    """What the command line says; the rest is left to the defaults."""
    return {name: value for name, value in values.items() if value not in (None, (), {}, False)}


def _tls(
    cert: pathlib.Path | None, key: pathlib.Path | None, ca: pathlib.Path | None
) -> wire.TlsFiles | None:
    from mizar.rpc import wire

    if cert and key and ca:
        return wire.TlsFiles(cert, key, ca)
    if cert or key or ca:
        raise errors.UsageError("TLS is mutual: give certificate, key and CA together")
    return None


def _map_size(text: str) -> tuple[str, int]:
    table, _, size = text.partition("=")
    if not size.isdecimal():
        raise errors.UsageError(f"map size {text!r}: wanted TABLE=N, such as locations=4000000")
    return table, int(size)


@contextlib.contextmanager
def _wrong_usage() -> Iterator[None]:
    """What a configuration refuses was said on the command line."""
    try:
        yield
    except errors.InvalidError as failure:
        raise errors.UsageError(str(failure)) from failure
