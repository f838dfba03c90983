# SPDX-License-Identifier: Apache-2.0
"""`make demo`: two tenants with the same addresses on four hosts, told as it happens.

Every line that claims something is read from the running lab: replies, counters, measured times. What does
not hold ends the demo with exit code 1, and whatever happens the lab is removed.
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich import box, console, table

from mizar import errors
from mizar.lab import config, lab, lifecycle, speed, tools, vxlan
from mizar.model import kinds

MANIFEST: Final = pathlib.Path(__file__).parents[2] / "examples" / "01-two-tenants.yaml"
HOSTS: Final = 4

# Those of the manifest.
_SAME_NETWORK: Final = ("web-1", "web-2", "10.0.1.6")
_ONLY_RED: Final = ("web-99", "10.0.1.99")

_PORT: Final = 7000
_LATER_PACKETS: Final = 10
_SECONDS: Final = 2
_ROUNDS: Final = 3


class DemoError(errors.MizarError):
    """Something that the demo shows is not so."""


def main() -> int:
    """Exit code."""
    out = console.Console(highlight=False, soft_wrap=True)
    try:
        with _ended_is_interrupted(), _running(out) as found:
            _topology(out, found)
            _same_addresses(out, found)
            _isolation(out, found)
            _first_packets(out, found)
            _speed(out, found)
    except KeyboardInterrupt:
        out.print("\ninterrupted")
        return 130
    except errors.MizarError as failure:
        console.Console(stderr=True, highlight=False).print(f"demo: {failure}", style="red", markup=False)
        return 1
    _what_next(out)
    return 0


@contextlib.contextmanager
def _running(out: console.Console) -> Iterator[lab.Lab]:
    """A lab for the length of the block. One that is up already is the user's, and stays."""
    _title(out, f"A cluster of {HOSTS} hosts on this machine")
    wanted = config.LabConfig(hosts=HOSTS, manifest=MANIFEST)
    found = lifecycle.up(wanted, report=lambda text: out.print(f"  {text} ...", style="dim"))
    try:
        yield found
    finally:
        out.print("\n  removing the lab ...", style="dim")
        lifecycle.down()


# ---------------------------------------------------------------- chapters


def _topology(out: console.Console, found: lab.Lab) -> None:
    endpoints = found.client.list(kinds.ENDPOINT)
    roles = [*found.client.list(kinds.BOUNCER), *found.client.list(kinds.DIVIDER)]
    rows = []
    for machine in found.topology.hosts:
        here = [obj for obj in endpoints if obj["spec"]["host"] == machine.name]
        lives = [f"{kinds.full_name(obj)} {obj['status']['addresses'][0]}" for obj in here]
        serves = [_role_text(role) for role in roles if role["spec"]["host"] == machine.name]
        rows.append([machine.name, machine.address, "\n".join(lives), "\n".join(serves)])
    _table(out, ["host", "underlay", "endpoints", "roles"], rows)
    out.print("  Hosts are network namespaces; agents, programs and packets are real.")


def _same_addresses(out: console.Console, found: lab.Lab) -> None:
    sender, receiver, address = _SAME_NETWORK
    _title(out, f"Two tenants, one address: {address}")
    for tenant in ("blue", "red"):
        _ping(out, found, f"{tenant}/{sender}", address)
    with _listeners(found, [f"{tenant}/{receiver}" for tenant in ("blue", "red")]):
        for tenant in ("blue", "red"):
            answer = _ask(found, f"{tenant}/{sender}", address)
            _expect(answer == f"{tenant}/{receiver}", f"{tenant}/{sender} asked {address}, {answer} answered")
            out.print(f"  {tenant}/{sender} asks {address} who it is: [green]{answer}")


def _isolation(out: console.Console, found: lab.Lab) -> None:
    name, address = _ONLY_RED
    _title(out, f"A tenant cannot reach the other: {address} is only in red")
    _ping(out, found, "red/web-1", address)
    before = _drops(found)
    done = found.exec("blue/web-1", ["ping", "-c", "2", "-i", "0.2", "-W", "1", address])
    _expect(done.returncode != 0, f"blue/web-1 got an answer from {address}, which is red/{name}")
    out.print(f"  blue/web-1 pings {address}: [green]no answer")
    for (host, reason), packets in sorted(_drops(found).items()):
        if new := packets - before.get((host, reason), 0):
            out.print(f"  {host} dropped {new} packets: {reason}")


def _first_packets(out: console.Console, found: lab.Lab) -> None:
    sender, receiver, address = _strangers(found)
    _title(out, f"The way of the first packet, {sender} to {receiver}")
    start = _roles(found)
    first = _ping(out, found, sender, address, count=1)
    carried = _increase(start, _roles(found))
    _expect(any(kind == "Divider" for kind, _ in carried), "no divider carried the first packet")
    _expect(any(kind == "Bouncer" for kind, _ in carried), "no bouncer carried the first packet")
    for (kind, name), packets in sorted(carried.items(), reverse=True):
        out.print(
            f"  {kind.lower()} {name} carried [green]{packets}[/green] packet{'s' if packets > 1 else ''}"
        )
    host = found.client.get(kinds.Ref(kinds.ENDPOINT, *sender.split("/")))["spec"]["host"]
    start, direct = _roles(found), _verdict(found, host, "direct")
    later = _ping(out, found, sender, address, count=_LATER_PACKETS)
    _expect(not _increase(start, _roles(found)), "later packets still went through a bouncer or divider")
    straight = _verdict(found, host, "direct") - direct
    _expect(straight >= _LATER_PACKETS, f"only {straight} of {_LATER_PACKETS} later packets went direct")
    out.print(
        f"  no bouncer and no divider carried any: {host} sent [green]{straight}[/green] packets direct"
    )
    out.print(f"  round trip: {first:.2f} ms the first, {later:.2f} ms the next {_LATER_PACKETS}")


def _speed(out: console.Console, found: lab.Lab) -> None:
    sender, receiver, address = _SAME_NETWORK
    _title(out, "TCP, beside the kernel's VXLAN on the same two hosts")
    out.print(f"  {_ROUNDS} runs each of {_SECONDS} s, in turns ...", style="dim")
    left, right = found.topology.hosts[:2]
    with vxlan.between(left, right, underlay_mtu=found.config.mtu) as (client, server):
        routes = {
            "Mizar": speed.Route(
                found.endpoint_netns(f"blue/{sender}"), found.endpoint_netns(f"blue/{receiver}"), address
            ),
            "kernel VXLAN": speed.Route(client.netns, server.netns, server.address),
        }
        medians = speed.compare(routes, seconds=_SECONDS, rounds=_ROUNDS)
    base = medians["kernel VXLAN"]
    rows = [[name, f"{rate:.1f} Gb/s", f"{rate / base:.2f}"] for name, rate in medians.items()]
    _table(out, ["one TCP flow", "median", "to VXLAN"], rows)


def _what_next(out: console.Console) -> None:
    _title(out, "What to try next")
    rows = [
        ("mizar lab up --file examples/01-two-tenants.yaml", "the same lab, to stay"),
        ("mizar lab exec blue/web-1 -- ping 10.0.2.6", "run it at an endpoint"),
        ("mizar get bouncers", "who carried what"),
        ("mizar tables h1 direct", "paths learnt"),
        ("mizar lab host h2 -- tcpdump -ni eth0 udp port 6081", "the tunnel on the wire"),
        ("mizar lab down", "leave nothing behind"),
    ]
    width = max(len(command) for command, _ in rows)
    for command, what in rows:
        out.print(f"  [cyan]{command:<{width}}[/cyan]  {what}")
    out.print("  The command is .venv/bin/mizar; docs/lab.md has the rest.")


# ---------------------------------------------------------------- what is shown


def _ping(out: console.Console, found: lab.Lab, sender: str, address: str, *, count: int = 3) -> float:
    """Ping and say so; average round trip in ms."""
    done = found.exec(sender, ["ping", "-c", str(count), "-i", "0.05", "-W", "2", address])
    _expect(done.returncode == 0, f"{sender} gets no answer from {address}: {done.stdout.strip()}")
    summary = done.stdout.strip().splitlines()
    lost = summary[-2].split(", ")[2]
    average = float(summary[-1].split(" = ")[1].split("/")[1])
    out.print(f"  {sender} pings {address}: [green]{count} sent, {lost}[/green], {average:.2f} ms on average")
    return average


@contextlib.contextmanager
def _listeners(found: lab.Lab, endpoints: Sequence[str]) -> Iterator[None]:
    """Each endpoint tells its name to whoever connects. Sockets stay in the namespace they are made in."""
    with contextlib.ExitStack() as stack:
        for name in endpoints:
            with tools.inside(found.endpoint_netns(name)):
                server = stack.enter_context(socket.create_server(("", _PORT)))
            threading.Thread(target=_tell, args=(server, name), daemon=True).start()
        yield


def _tell(server: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):  # closed: the demo has moved on
        connection, _ = server.accept()
        with connection:
            connection.sendall(name.encode())


def _ask(found: lab.Lab, sender: str, address: str) -> str:
    try:
        with (
            tools.inside(found.endpoint_netns(sender)),
            socket.create_connection((address, _PORT), timeout=5) as asked,
        ):
            return asked.makefile().read()
    except OSError as failure:
        raise DemoError(f"{sender} cannot connect to {address}: {failure}") from failure


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DemoError(otherwise)


# ---------------------------------------------------------------- counters


def _strangers(found: lab.Lab) -> tuple[str, str, str]:
    """Sender, receiver and its address: in two networks of a VPC, and the receiver's host has no role there.

    A divider or bouncer that has the receiver itself would deliver at once, which is another story.
    """
    serving = {
        (role["spec"]["vpc"], role["spec"]["host"])
        for kind in (kinds.BOUNCER, kinds.DIVIDER)
        for role in found.client.list(kind)
    }
    endpoints = found.client.list(kinds.ENDPOINT)
    for sender, receiver in itertools.permutations(endpoints, 2):
        vpc = receiver["metadata"]["vpc"]
        if (
            sender["metadata"]["vpc"] == vpc
            and sender["spec"]["network"] != receiver["spec"]["network"]
            and sender["spec"]["host"] != receiver["spec"]["host"]
            and (vpc, receiver["spec"]["host"]) not in serving
        ):
            return kinds.full_name(sender), kinds.full_name(receiver), receiver["status"]["addresses"][0]
    raise DemoError("every host with an endpoint has a role in its VPC: the demo needs one without")


def _roles(found: lab.Lab) -> dict[tuple[str, str], int]:
    """Packets by kind and name of the role."""
    return {
        (obj["kind"], kinds.full_name(obj)): int((obj.get("status") or {}).get("packets") or 0)
        for kind in (kinds.BOUNCER, kinds.DIVIDER)
        for obj in found.client.list(kind)
    }


def _increase(
    before: dict[tuple[str, str], int], after: dict[tuple[str, str], int]
) -> dict[tuple[str, str], int]:
    return {role: more for role, packets in after.items() if (more := packets - before.get(role, 0)) > 0}


def _drops(found: lab.Lab) -> dict[tuple[str, str], int]:
    return {(row["host"], row["reason"]): int(row["packets"]) for row in found.client.drops()}


def _verdict(found: lab.Lab, host: str, name: str) -> int:
    rows: list[dict[str, Any]] = found.client.counters(host)["verdicts"]
    return next((int(row["packets"]) for row in rows if row["name"] == name), 0)


# ---------------------------------------------------------------- layout


def _title(out: console.Console, text: str) -> None:
    out.print(f"\n[bold]{text}")


def _table(out: console.Console, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    shown = table.Table(*headers, box=box.SIMPLE_HEAD, pad_edge=True)
    for row in rows:
        shown.add_row(*row)
    out.print(shown)


def _role_text(role: dict[str, Any]) -> str:
    spec = role["spec"]
    if role["kind"] == "Divider":
        return f"divider of {spec['vpc']}"
    return f"bouncer of {spec['vpc']}/{spec['network']}"


@contextlib.contextmanager
def _ended_is_interrupted() -> Iterator[None]:
    """SIGTERM cleans up as ^C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
