# SPDX-License-Identifier: Apache-2.0
"""Network namespaces for tests: made, wired, used and removed with a `with`.

    with netns.namespace("h1") as h1, netns.namespace("h2") as h2:
        netns.wire(h1, "172.31.0.1/24", h2, "172.31.0.2/24")
        h1.run("ping", "-c1", "172.31.0.2")

What holds:
 - Names are unique to the run (`t<pid>-<n>-<hint>`), so test runs side by side do not meet.
 - Leaving the block removes the namespace, the wires in it, and ends the processes started in it.
 - Commands run under `nsenter --net`, which leaves /sys (and so the bpffs) as it is.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import pyroute2

from mizar.agent import namespaces

_counter: Final = itertools.count()


def unique(hint: str) -> str:
    """A name that no other test run uses."""
    return f"t{os.getpid()}-{next(_counter)}-{hint}"


def until(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Poll until `condition` holds; AssertionError names `what` when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)


class Namespace:
    """A named network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = namespaces.path_of(name)
        self._processes: list[subprocess.Popen[str]] = []

    def run(self, *argv: str, timeout: float = 20.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; AssertionError with its output if it fails and `check`."""
        done = subprocess.run(
            [*self.prefix, *argv], capture_output=True, text=True, timeout=timeout, check=False
        )
        if check:
            assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
        return done

    def start(
        self, *argv: str, env: Mapping[str, str] | None = None, output: pathlib.Path | None = None
    ) -> subprocess.Popen[str]:
        """Start a command that runs on; its output goes to a pipe, or to a file."""
        with output.open("a") if output else contextlib.nullcontext(subprocess.PIPE) as stdout:
            process = subprocess.Popen(
                [*self.prefix, *argv],
                stdout=stdout,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **(env or {})},
            )
        self._processes.append(process)
        return process

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command to run it here."""
        return ("nsenter", f"--net={self.path}")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run the block in this namespace, in this thread."""
        with namespaces.opened(self.path) as fd, namespaces.entered(fd):
            yield

    @contextlib.contextmanager
    def netlink(self) -> Iterator[pyroute2.IPRoute]:
        """rtnetlink of this namespace."""
        with self.entered(), pyroute2.IPRoute() as ip:
            yield ip

    def interfaces(self) -> set[str]:
        with self.netlink() as ip:
            return {str(link.get("ifname")) for link in ip.get_links()}

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        namespaces.remove(self.name)


@contextlib.contextmanager
def namespace(hint: str) -> Iterator[Namespace]:
    """A namespace of its own, with lo up and IPv6 off."""
    made = Namespace(unique(hint))
    namespaces.create(made.name)
    try:
        with made.entered():
            pathlib.Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        with made.netlink() as ip:
            ip.link("set", index=1, state="up")
        yield made
    finally:
        made.close()


def wire(
    left: Namespace,
    left_address: str,
    right: Namespace,
    right_address: str,
    *,
    ifname: str = "eth0",
    mtu: int = 1500,
) -> None:
    """A veth pair between two namespaces, `ifname` at both ends, with addresses such as 172.31.0.1/24."""
    with namespaces.opened(right.path) as fd, left.netlink() as ip:
        ip.link(
            "add", ifname=ifname, kind="veth", mtu=mtu, peer={"ifname": ifname, "net_ns_fd": fd, "mtu": mtu}
        )
    for end, address in ((left, left_address), (right, right_address)):
        _set_up(end, ifname, address)


def switch(at: Namespace, ends: Mapping[str, Namespace], *, ifname: str = "eth0", mtu: int = 1500) -> None:
    """A bridge in `at` and a wire from it to each end, whose key is its address such as 172.31.0.1/24."""
    with at.netlink() as ip:
        ip.link("add", ifname="bridge", kind="bridge", mtu=mtu)
        bridge = ip.link_lookup(ifname="bridge")[0]
        ip.link("set", index=bridge, state="up")
        for number, end in enumerate(ends.values()):
            with namespaces.opened(end.path) as fd:
                peer = {"ifname": ifname, "net_ns_fd": fd, "mtu": mtu}
                ip.link("add", ifname=f"port{number}", kind="veth", mtu=mtu, peer=peer)
            port = ip.link_lookup(ifname=f"port{number}")[0]
            ip.link("set", index=port, master=bridge, state="up")
    for address, end in ends.items():
        _set_up(end, ifname, address)


def _set_up(end: Namespace, ifname: str, address: str) -> None:
    with end.netlink() as ip:
        index = ip.link_lookup(ifname=ifname)[0]
        host, _, length = address.partition("/")
        ip.addr("add", index=index, address=host, prefixlen=int(length))
        ip.link("set", index=index, state="up")
