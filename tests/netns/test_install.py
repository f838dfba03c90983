# SPDX-License-Identifier: Apache-2.0
"""docs/install.md, step by step: certificates, agents and a controller on machines of their own.

TCP between them is mutual TLS.

+-- h1 ----------+      +-- fabric --+      +-- h2 ----------+
| agent :7601    |      |   bridge   |      | agent :7601    |
| 172.31.9.11    +------+            +------+ 172.31.9.12    |
+----------------+      +-----+------+      +----------------+
                        +-----+------+
                        | controller |  172.31.9.2, API on a unix socket
                        +------------+
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

from mizar.dataplane import kernel
from tests.support import netns

_ROOT: Final = pathlib.Path(__file__).parents[2]
_MIZAR: Final = (sys.executable, "-m", "mizar")
_HOSTS: Final = {"h1": "172.31.9.11", "h2": "172.31.9.12"}
_PORT: Final = 7601


class Site:
    """The three machines, with their daemons running."""

    def __init__(self, machines: dict[str, netns.Namespace], home: pathlib.Path) -> None:
        self.machines = machines
        self.home = home
        self.api = f"unix://{home}/api.sock"
        self.tls = home / "tls"

    def certificate(self, name: str, *addresses: str) -> None:
        subprocess.run([_ROOT / "deploy/certificates", self.tls, name, *addresses], check=True, timeout=20)

    def start_agent(self, name: str) -> None:
        address = _HOSTS[name]
        self.machines[name].start(
            *(*_MIZAR, "agent", "--name", name, "--address", address),
            *("--state-dir", str(self.home / name), "--pin-root", str(self.pins(name))),
            *("--listen", f"{address}:{_PORT}", "--tls-ca", str(self.tls / "ca.pem")),
            *("--tls-cert", str(self.tls / f"{name}.pem"), "--tls-key", str(self.tls / f"{name}.key")),
            output=self.home / f"{name}.log",
        )

    def start_controller(self, certificate: str) -> subprocess.Popen[str]:
        return self.machines["controller"].start(
            *(*_MIZAR, "controller", "--state-dir", str(self.home / "state"), "--listen", self.api),
            *("--agent-ca", str(self.tls / "ca.pem"), "--agent-cert", str(self.tls / f"{certificate}.pem")),
            *("--agent-key", str(self.tls / f"{certificate}.key")),
            output=self.home / "controller.log",
        )

    def mizar(self, *words: str, given: str = "") -> str:
        done = subprocess.run(
            [*_MIZAR, "--api", self.api, *words],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def host(self, name: str) -> Any:
        return json.loads(self.mizar("get", "host", name, "-o", "json"))

    def pins(self, name: str) -> pathlib.Path:
        return pathlib.Path("/sys/fs/bpf/mizar-tests") / self.machines[name].name


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        names = ("h1", "h2", "controller", "fabric")
        machines = {name: stack.enter_context(netns.namespace(name)) for name in names}
        ends = {f"{address}/24": machines[name] for name, address in _HOSTS.items()}
        netns.switch(machines["fabric"], ends | {"172.31.9.2/24": machines["controller"]})
        made = Site(machines, tmp_path)
        for name, address in _HOSTS.items():
            made.certificate(name, address)
            made.start_agent(name)
            stack.callback(_remove_data_plane, made, name)
        made.certificate("controller")
        yield made


def _remove_data_plane(site: Site, name: str) -> None:
    with site.machines[name].entered():
        kernel.KernelDataPlane(site.pins(name)).destroy()


def _hosts() -> str:
    return "---\n".join(
        f"apiVersion: mizar.io/v1\nkind: Host\nmetadata: {{name: {name}}}\n"
        f'spec: {{addresses: [{address}], agent: "{address}:{_PORT}"}}\n'
        for name, address in _HOSTS.items()
    )


_TENANT: Final = """
apiVersion: mizar.io/v1
kind: VPC
metadata: {name: install}
spec: {cidrs: [10.0.0.0/16]}
---
apiVersion: mizar.io/v1
kind: Network
metadata: {name: web, vpc: install}
spec: {cidrs: [10.0.1.0/24], bouncers: 2}
---
apiVersion: mizar.io/v1
kind: Endpoint
metadata: {name: a, vpc: install}
spec: {network: web, host: h1, addresses: [10.0.1.5]}
---
apiVersion: mizar.io/v1
kind: Endpoint
metadata: {name: b, vpc: install}
spec: {network: web, host: h2, addresses: [10.0.1.6]}
"""


def test_controller_drives_agents_on_other_machines_over_mutual_tls(site: Site) -> None:
    site.start_controller("controller")
    netns.until(lambda: (site.home / "api.sock").exists(), "the API listens", timeout=20)
    site.mizar("apply", "-f", "-", given=_hosts())
    for name in _HOSTS:
        site.mizar("wait", "host", name, "--for", "ready", "--timeout", "30s")
    site.mizar("apply", "-f", "-", given=_TENANT)
    try:
        for name in ("install/a", "install/b"):
            site.mizar("wait", "endpoint", name, "--for", "ready", "--timeout", "30s")
        ping = ("nsenter", "--net=/run/netns/mizar.install.a", "ping", "-c3", "-i0.2", "-W2", "10.0.1.6")
        assert (
            ", 0% packet loss"
            in subprocess.run(ping, capture_output=True, text=True, timeout=20, check=False).stdout
        )
    finally:
        site.mizar("delete", "-f", "-", given=_TENANT)


def test_agents_refuse_a_controller_whose_certificate_another_ca_has_signed(site: Site) -> None:
    trusted, site.tls = site.tls, site.home / "other"
    site.certificate("stranger")
    (site.tls / "ca.pem").write_bytes((trusted / "ca.pem").read_bytes())
    site.start_controller("stranger")
    netns.until(lambda: (site.home / "api.sock").exists(), "the API listens", timeout=20)
    site.mizar("apply", "-f", "-", given=_hosts())
    where = f"{_HOSTS['h1']}:{_PORT}"
    netns.until(lambda: where in _why(site, "h1"), "the host says that its agent closes the connection")
    assert site.host("h1")["status"]["agent"] == "away"


def _why(site: Site, name: str) -> str:
    return str(site.host(name)["status"]["conditions"][0]["message"])
