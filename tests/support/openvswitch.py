# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch with its userspace data path, in a namespace on the lab's underlay: somebody else's Geneve.

        pod                          switch                         underlay
    eth0, tenant's address --- pod0  br-int  geneve0 ~~ br-phy --- eth0 ---- the lab's bridge

The kernel needs no openvswitch module. Database, sockets and processes are private to the test; an Open
vSwitch of the machine itself is neither needed nor touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Final

import pyroute2

from mizar.agent import namespaces
from mizar.lab import topology
from tests.support import netns, tenants

_SCHEMA: Final = pathlib.Path("/usr/share/openvswitch/vswitch.ovsschema")
_PORT: Final = "ovs"
"""Its cable's end at the lab's bridge."""
_MAC: Final = "02:00:5e:00:00:66"
"""Of eth0 and the bridge, since either may answer ARP; always the same, since hosts remember it."""


@dataclasses.dataclass(frozen=True)
class Pod:
    """A namespace behind the switch that is to be an endpoint of a VPC."""

    where: netns.Namespace
    mac: str


class Switch:
    """One host that runs Open vSwitch where Mizar hosts run Mizar."""

    def __init__(self, where: netns.Namespace, address: str, directory: pathlib.Path) -> None:
        self.where = where
        self.address = address
        self._directory = directory
        self._database = f"unix:{directory}/db.sock"
        self._env = {
            name: str(directory) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        }

    def start(self) -> None:
        """Both daemons, and the bridges without ports."""
        conf = self._directory / "conf.db"
        subprocess.run(["ovsdb-tool", "create", conf, _SCHEMA], check=True, timeout=20)
        self._daemon("ovsdb-server", str(conf), f"--remote=p{self._database}")
        netns.until(lambda: (self._directory / "db.sock").exists(), "ovsdb-server listens")
        self.vsctl("--no-wait", "init")
        self._daemon("ovs-vswitchd", self._database)
        for bridge in ("br-phy", "br-int"):
            self.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")

    def _daemon(self, program: str, *arguments: str) -> None:
        control = f"--unixctl={self._directory}/{program}.ctl"
        self.where.start(
            program, *arguments, control, env=self._env, output=self._directory / f"{program}.log"
        )

    def vsctl(self, *words: str) -> None:
        self._run("ovs-vsctl", f"--db={self._database}", "--timeout=20", *words)

    def _run(self, *argv: str) -> None:
        self.where.run("env", *(f"{name}={value}" for name, value in self._env.items()), *argv, timeout=30)

    def take_underlay(self, prefix: int) -> None:
        """eth0 becomes a port of the bridge that has the address."""
        self.vsctl("set", "bridge", "br-phy", f'other-config:hwaddr="{_MAC}"')
        self.vsctl("add-port", "br-phy", "eth0")
        with self.where.netlink() as ip:
            bridge = ip.link_lookup(ifname="br-phy")[0]
            ip.addr("add", index=bridge, address=self.address, prefixlen=prefix)
            ip.link("set", index=bridge, state="up")

    def connect(self, pod: Pod, *, vni: int, peer: str) -> None:
        """All that the pod sends goes to `peer` in Geneve, what comes from any host goes to the pod.

        Mizar routes: the inner frame is for the router's MAC on its way in, and has to be for the pod's.
        """
        self.vsctl("add-port", "br-int", "pod0")
        self.vsctl(
            *("add-port", "br-int", "geneve0", "--", "set", "interface", "geneve0", "type=geneve"),
            *(f"options:key={vni}", "options:remote_ip=flow"),
        )
        management = f"{self._directory}/br-int.mgmt"
        self._run("ovs-ofctl", "del-flows", management)
        for flow in (
            f"in_port=pod0,actions=set_field:{peer}->tun_dst,output:geneve0",
            f"in_port=geneve0,actions=mod_dl_dst:{pod.mac},output:pod0",
        ):
            self._run("ovs-ofctl", "add-flow", management, flow)


@contextlib.contextmanager
def switch(address: str, prefix: int, directory: pathlib.Path) -> Iterator[Switch]:
    """A running switch on the lab's underlay; everything of it is gone after the block."""
    with netns.namespace("ovs") as where:
        _cable(where)
        made = Switch(where, address, directory)
        made.start()
        made.take_underlay(prefix)
        yield made


def _cable(where: netns.Namespace) -> None:
    underlay = tenants.Place(topology.UNDERLAY, "")
    with namespaces.opened(where.path) as fd, underlay.netlink() as ip:
        ip.link("add", ifname=_PORT, kind="veth", peer={"ifname": "eth0", "net_ns_fd": fd})
        bridge = ip.link_lookup(ifname=topology.BRIDGE)[0]
        ip.link("set", index=ip.link_lookup(ifname=_PORT)[0], master=bridge, state="up")
    for place, ifname in ((where, "eth0"), (netns.Namespace(topology.UNDERLAY), _PORT)):
        _no_offload(place, ifname)
    with where.netlink() as ip:
        ip.link("set", index=ip.link_lookup(ifname="eth0")[0], address=_MAC, state="up")


@contextlib.contextmanager
def pod(behind: Switch, *, address: str, mtu: int, router_mac: str) -> Iterator[Pod]:
    """A namespace whose only neighbour is the router, as a Mizar endpoint sees it."""
    with netns.namespace("pod") as where:
        with namespaces.opened(where.path) as fd, behind.where.netlink() as ip:
            ip.link("add", ifname="pod0", kind="veth", peer={"ifname": "eth0", "net_ns_fd": fd, "mtu": mtu})
            ip.link("set", index=ip.link_lookup(ifname="pod0")[0], state="up")
        with where.netlink() as ip:
            mac = _configure(ip, address, router_mac)
        _no_offload(where, "eth0")
        yield Pod(where, mac)


def _configure(ip: pyroute2.IPRoute, address: str, router_mac: str) -> str:
    index = ip.link_lookup(ifname="eth0")[0]
    ip.addr("add", index=index, address=address, prefixlen=32)
    ip.link("set", index=index, state="up")
    ip.route("add", dst="169.254.1.1/32", oif=index, scope="link")
    ip.route("add", dst="default", gateway="169.254.1.1", oif=index)
    ip.neigh("replace", dst="169.254.1.1", lladdr=router_mac, ifindex=index, state="permanent")
    return str(ip.get_links(index)[0].get("address"))


def _no_offload(where: netns.Namespace, ifname: str) -> None:
    """The userspace data path sends what it receives: it completes no checksums and cuts no packets."""
    where.run("ethtool", "-K", ifname, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
