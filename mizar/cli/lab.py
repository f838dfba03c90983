# SPDX-License-Identifier: Apache-2.0
"""`mizar lab`: a whole cluster on this machine, and programs run inside it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from mizar import errors
from mizar.cli import complete, options, output, progress

if TYPE_CHECKING:
    from mizar.lab import lab as lab_module

_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126
"""Exit codes of a shell for a command that cannot be run."""

_COMMAND: Final[dict[str, Any]] = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.group(
    epilog=options.examples(
        ("mizar lab up --hosts 4 --file examples/01-two-tenants.yaml", "bring it up with objects in it"),
        ("mizar lab exec blue/web-1 -- ping -c 3 10.0.1.2", "a program where an endpoint is"),
        ("mizar lab host h2 -- ip -s link show eth0", "a program on a host"),
        ("mizar lab agent h2 kill", "the data plane goes on without it"),
        ("mizar lab down", "leave nothing behind"),
    )
)
def lab() -> None:
    """Run a cluster on this machine.

    Every host is a network namespace with an agent of its own.

    Nothing in it is faked: agents, controller, programs and packets are those of production. Needs root.
    """


@lab.command(
    epilog=options.examples(
        ("mizar lab up", "4 hosts, no objects"),
        ("mizar lab up --hosts 5 --file examples/02-group-network.yaml", "ready when all of it works"),
        ("mizar lab up --transit xdp --wire segmenting", "bounce in XDP, on cables that behave like NICs"),
    )
)
@click.option("--hosts", type=int, default=4, show_default=True, metavar="N", help="Number of hosts.")
@click.option(
    "-f",
    "--file",
    "manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
    metavar="MANIFEST",
    help="Objects to apply; the lab is up when all are ready.",
)
@click.option(
    "--transit",
    type=click.Choice(["auto", "xdp", "tcx"]),
    default="auto",
    show_default=True,
    help="Where bouncers and dividers run.",
)
@click.option(
    "--wire",
    type=click.Choice(["gso", "segmenting"]),
    default="gso",
    show_default=True,
    help="Cables pass large packets in one piece, or cut them to the MTU as NICs do.",
)
@click.option(
    "--mtu",
    type=int,
    default=1500,
    show_default=True,
    metavar="N",
    help="Of the underlay; endpoints get 64 bytes less.",
)
@options.timeout("60s")
def up(hosts: int, manifest: pathlib.Path | None, transit: str, wire: str, mtu: int, timeout: float) -> None:
    """Bring a lab up.

    All of it, or nothing.

    --timeout is for each of daemons, hosts and manifest to become ready.
    """
    from mizar.lab import config, lifecycle

    wanted = config.LabConfig(
        hosts=hosts,
        manifest=manifest.absolute() if manifest else None,
        transit=config.Transit(transit),
        wire=config.Wire(wire),
        mtu=mtu,
        ready_timeout=timeout,
    )
    with _ended_is_interrupted(), progress.Progress(at_once=True) as shown:
        lifecycle.up(wanted, report=shown.step)
    click.echo(f"lab is up: {hosts} hosts, API at unix://{config.API_SOCKET}")


@lab.command()
def down() -> None:
    """Remove the lab.

    With everything in it. Safe to repeat, and after a crash.
    """
    from mizar.lab import lifecycle

    with progress.Progress(at_once=True) as shown:
        existed = lifecycle.down(report=shown.step)
    click.echo("lab is down" if existed else "no lab was up")


@lab.command(
    epilog=options.examples(
        ("mizar lab status", "for people"),
        ("mizar lab status -o json", "hosts, namespaces, interfaces and process ids for scripts"),
    )
)
@options.output(options.Output.TABLE, options.Output.JSON)
def status(output: options.Output) -> None:
    """Show hosts and daemons."""
    from mizar.lab import lab as lab_module
    from mizar.lab import status as lab_status

    _show_status(lab_status.of(lab_module.current()), output)


def _show_status(found: dict[str, Any], form: options.Output) -> None:
    if form is options.Output.JSON:
        output.print_json(found)
        return
    rows = [
        [
            host["name"],
            host["address"],
            host["netns"],
            host["interface"],
            host["agent"]["state"],
            output.text_of(host["agent"]["pid"]),
        ]
        for host in found["hosts"]
    ]
    outside = found["outside"]
    rows.append(["outside", outside["address"], outside["netns"], outside["interface"], "-", "-"])
    output.print_table(["NAME", "ADDRESS", "NETNS", "INTERFACE", "AGENT", "PID"], rows)
    asked, controller = found["options"], found["controller"]
    click.echo(
        f"\nlab {found['state']}: transit {asked['transit']}, wire {asked['wire']},"
        f" underlay MTU {asked['mtu']}"
    )
    click.echo(f"controller {controller['state']}: {controller['api']}")


# ---------------------------------------------------------------- programs inside


@lab.command(
    name="exec",
    context_settings=_COMMAND,
    epilog=options.examples(
        ("mizar lab exec blue/web-1 -- ping -c 3 10.0.1.2", "a program"),
        ("mizar lab exec blue/web-1 -- bash", "a shell"),
    ),
)
@click.argument("endpoint", metavar="VPC/ENDPOINT", shell_complete=complete.endpoints)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
def exec_(endpoint: str, command: tuple[str, ...]) -> None:
    """Run CMD where an endpoint is.

    In its network namespace; the exit code is CMD's.
    """
    _become(_current().endpoint_netns(endpoint), command)


@lab.command(
    context_settings=_COMMAND,
    epilog=options.examples(
        ("mizar lab host h1 -- tcpdump -ni eth0 udp port 6081", "watch the tunnel"),
        ("mizar lab host h1 -- ip neighbour", "what the host knows of the underlay"),
    ),
)
@click.argument("host", shell_complete=complete.lab_hosts)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
def host(host: str, command: tuple[str, ...]) -> None:
    """Run CMD on a host.

    In its network namespace; the exit code is CMD's.
    """
    _become(_current().host(host).netns, command)


@lab.command(
    context_settings=_COMMAND,
    epilog=options.examples(("mizar lab outside -- ping -c 1 172.30.0.11", "from where no agent is")),
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
def outside(command: tuple[str, ...]) -> None:
    """Run CMD outside of all hosts.

    On the underlay, but on no host of Mizar's; the exit code is CMD's.
    """
    _become(_current().topology.outside.netns, command)


def _become(netns: str, command: tuple[str, ...]) -> NoReturn:
    """This process becomes the command: its exit code, signals and terminal are the caller's own."""
    from mizar.lab import tools

    command = command[1:] if command[0] == "--" else command
    if not command:
        raise errors.UsageError("wanted a command after --")
    with tools.inside(netns):
        sys.stdout.flush()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
        try:
            os.execvp(command[0], command)
        except FileNotFoundError:
            code, why = _NOT_FOUND, "it is not installed"
        except OSError as failure:
            code, why = _NOT_EXECUTABLE, str(failure.strerror)
    click.echo(f"mizar: run {command[0]}: {why}", err=True)
    raise SystemExit(code)


# ---------------------------------------------------------------- daemons

_ACTION: Final = click.Choice(["start", "stop", "kill"])


@lab.command(
    epilog=options.examples(
        ("mizar lab agent h2 kill", "SIGKILL; packets go on flowing"),
        ("mizar lab agent h2 start", "returns when it serves"),
    )
)
@click.argument("host", shell_complete=complete.lab_hosts)
@click.argument("action", type=_ACTION)
def agent(host: str, action: str) -> None:
    """Start, stop or kill an agent.

    Stop is SIGTERM, kill is SIGKILL. Packets go on flowing.
    """
    found = _current()
    if action == "start":
        with progress.Progress() as shown:
            shown.step(f"starting the agent of {host}")
            process = found.start_agent(host)
        click.echo(f"agent of {host} runs, process {process.pid}")
    else:
        found.stop_agent(host, kill=action == "kill")
        click.echo(f"agent of {host} {'killed' if action == 'kill' else 'stopped'}")


@lab.command(
    epilog=options.examples(
        ("mizar lab controller stop", "nothing changes for packets"),
        ("mizar lab controller start", "returns when the API listens"),
    )
)
@click.argument("action", type=_ACTION)
def controller(action: str) -> None:
    """Start, stop or kill the controller.

    Stop is SIGTERM, kill is SIGKILL. Packets do not depend on it.
    """
    found = _current()
    if action == "start":
        with progress.Progress() as shown:
            shown.step("starting the controller")
            process = found.start_controller()
        click.echo(f"controller runs, process {process.pid}")
    else:
        found.stop_controller(kill=action == "kill")
        click.echo(f"controller {'killed' if action == 'kill' else 'stopped'}")


def _current() -> lab_module.Lab:
    from mizar.lab import lab as lab_module

    return lab_module.current()


@contextlib.contextmanager
def _ended_is_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP clean up as ^C does."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
