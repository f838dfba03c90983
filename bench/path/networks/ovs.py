# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch with its userspace data path and Geneve: the conventional virtual switch.

The kernel here has no openvswitch module, so the switch forwards in its own process. Each host has a private
pair of ovsdb-server and ovs-vswitchd with its database and sockets in the run's directory; an Open vSwitch
of the machine itself is neither needed nor touched.

    pod0 -- br-int -- geneve0 ~ ~ (route by br-phy's address) ~ ~ br-phy -- eth0
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import shutil
import socket

from bench.core import command, world
from bench.path import topology

_CLIENT = "10.77.0.1"
_SERVER = "10.77.0.2"
_SCHEMA = pathlib.Path("/usr/share/openvswitch/vswitch.ovsschema")
_PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-appctl")


@dataclasses.dataclass(frozen=True, slots=True)
class OpenVSwitch:
    name: str = "ovs"
    title: str = "Open vSwitch, userspace Geneve"

    def missing(self) -> str | None:
        absent = [program for program in _PROGRAMS if shutil.which(program) is None]
        if absent:
            return f"{absent[0]} is not installed (Debian package openvswitch-switch)"
        if not pathlib.Path("/dev/net/tun").exists():
            return "the kernel has no TUN device, which userspace bridges need"
        return None

    def build(self, owner: world.World, label: str, wire: topology.Wire) -> topology.Ends:
        hosts = topology.two_hosts(owner, label, wire)
        client = _pod(owner, hosts.left, peer=hosts.right, address=_CLIENT)
        server = _pod(owner, hosts.right, peer=hosts.left, address=_SERVER)
        return topology.Ends(client=client, server=server, address=_SERVER)


def _pod(owner: world.World, host: topology.Host, *, peer: topology.Host, address: str) -> str:
    name, outside = topology.pod(owner, host, address=f"{address}/24")
    # The userspace data path sends what it receives and completes no partial checksums.
    for netns, interface in ((name, "eth0"), (host.netns, topology.WIRE_INTERFACE)):
        command.run(["ethtool", "-K", interface, "tx", "off"], place=command.Place(netns=netns))
    switch = _Switch(owner, host)
    switch.vsctl("add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev")
    switch.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev")
    switch.vsctl("add-port", "br-int", outside)
    switch.vsctl(
        *("add-port", "br-int", "geneve0", "--", "set", "interface", "geneve0", "type=geneve"),
        *("options:key=77", f"options:remote_ip={peer.address}"),
    )
    switch.vsctl("add-port", "br-phy", topology.WIRE_INTERFACE)
    place = command.Place(netns=host.netns)
    command.run(["ip", "address", "flush", "dev", topology.WIRE_INTERFACE], place=place)
    topology.address_up(
        host.netns, "br-phy", f"{host.address}/{topology.UNDERLAY_PREFIX}", mtu=topology.WIRE_MTU
    )
    return name


class _Switch:
    """One host's private Open vSwitch."""

    def __init__(self, owner: world.World, host: topology.Host) -> None:
        self._place = command.Place(netns=host.netns)
        self._directory = owner.directory / f"ovs-{host.label}"
        self._directory.mkdir()
        self._env = {
            name: str(self._directory) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        }
        self._socket = f"unix:{self._directory}/db.sock"
        self._start(owner)

    def vsctl(self, *words: str) -> None:
        argv = ["ovs-vsctl", f"--db={self._socket}", "--timeout=30", *words]
        command.run(argv, place=self._place, env=self._env, timeout=40)

    def _start(self, owner: world.World) -> None:
        database = str(self._directory / "conf.db")
        command.run(["ovsdb-tool", "create", database, str(_SCHEMA)])
        server = owner.start(
            ["ovsdb-server", database, f"--remote=p{self._socket}", f"--unixctl={self._directory}/ovsdb.ctl"],
            place=self._place,
            env=self._env,
        )
        server.wait_until(functools.partial(_accepts, self._directory / "db.sock"), what="listening")
        self.vsctl("--no-wait", "init")
        daemon = owner.start(
            ["ovs-vswitchd", self._socket, f"--unixctl={self._directory}/vswitchd.ctl"],
            place=self._place,
            env=self._env,
        )
        daemon.wait_until((self._directory / "vswitchd.ctl").exists, what="listening")


def _accepts(path: pathlib.Path) -> bool:
    """Whether a server listens; the socket's file comes a moment earlier."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
