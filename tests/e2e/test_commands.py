# SPDX-License-Identifier: Apache-2.0
"""The command line on a real lab: the contract that scripts of others rely on."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest

from mizar.lab import config, network, processes, state
from mizar.lab import lab as lab_module
from tests.support.labs import EXAMPLES, Declare, Labs, Mizar, reaches


def test_status_names_every_host_and_process(lab: lab_module.Lab, mizar: Mizar) -> None:
    found = json.loads(mizar("lab", "status", "-o", "json").stdout)
    assert [host["name"] for host in found["hosts"]] == ["h1", "h2", "h3", "h4"]
    for host in [*found["hosts"], found["controller"]]:
        agent = host.get("agent", host)
        assert agent["state"] == "running"
        assert pathlib.Path(f"/proc/{agent['pid']}").is_dir()
    for host in found["hosts"]:
        shown = mizar("lab", "host", host["name"], "--", "ip", "-4", "-br", "addr", "show", host["interface"])
        assert host["address"] in shown.stdout


def test_exit_code_of_exec_is_the_commands(lab: lab_module.Lab, mizar: Mizar) -> None:
    assert mizar("lab", "exec", "blue/web-1", "--", "sh", "-c", "exit 42", check=False).returncode == 42
    assert mizar("lab", "host", "h1", "--", "sh", "-c", "exit 43", check=False).returncode == 43
    assert mizar("lab", "outside", "--", "sh", "-c", "exit 44", check=False).returncode == 44
    assert mizar("lab", "exec", "blue/web-1", "--", "no-such-program", check=False).returncode == 127


def test_exec_keeps_directory_and_standard_input(lab: lab_module.Lab, mizar: Mizar) -> None:
    assert mizar("lab", "exec", "blue/web-1", "--", "pwd").stdout.strip() == os.getcwd()  # noqa: PTH109
    assert mizar("lab", "exec", "blue/web-1", "--", "cat", stdin="through").stdout == "through"


def test_exec_gives_the_command_a_terminal(lab: lab_module.Lab) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "mizar", "lab", "exec", "blue/web-1", "--", "tty"]
    try:
        done = subprocess.run(argv, stdin=theirs, stdout=theirs, stderr=theirs, timeout=30, check=False)
        assert (done.returncode, os.read(ours, 100).decode().strip()) == (0, os.ttyname(theirs))
    finally:
        os.close(ours)
        os.close(theirs)


def test_endpoint_namespace_has_what_plain_tools_need(lab: lab_module.Lab, mizar: Mizar) -> None:
    def inside(*argv: str) -> str:
        return mizar("lab", "exec", "blue/web-1", "--", *argv).stdout

    assert "10.0.1.5/24" in inside("ip", "-4", "-br", "addr", "show", "eth0")
    assert f"mtu {config.LabConfig().mtu - config.ENVELOPE} " in inside("ip", "link", "show", "eth0")
    assert "LOOPBACK,UP" in inside("ip", "link", "show", "lo")
    assert "default" in inside("ip", "route")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lab", "exec", "blue/nobody", "--", "true"], "nobody"),
        (["lab", "host", "h9", "--", "true"], "h1 to h4"),
        (["lab", "up"], "is up"),
        (["lab", "agent", "h1", "start"], "runs already"),
        (["get", "vpc", "ghost"], "ghost"),
        (["tables", "h1", "nonsense"], "nonsense"),
        (["tables", "h9"], "h9"),
        (["delete", "vpc", "blue"], "blue"),
    ],
)
def test_refusal_is_one_line_with_exit_code_1(
    lab: lab_module.Lab, mizar: Mizar, arguments: list[str], said: str
) -> None:
    done = mizar(*arguments, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_object_is_applied_waited_for_and_deleted(lab: lab_module.Lab, mizar: Mizar) -> None:
    manifest = (EXAMPLES / "02-group-network.yaml").read_text()
    assert "endpoint green/paris created" in mizar("apply", "-f", "-", "--wait", stdin=manifest).stdout
    assert "unchanged" in mizar("apply", "-f", "-", stdin=manifest).stdout
    assert reaches(lab, "green/paris", "192.168.77.2")
    assert reaches(lab, "green/tokyo", "10.20.1.10")
    done = mizar("delete", "vpc", "green", check=False)
    assert done.returncode == 1
    mizar("delete", "-f", str(EXAMPLES / "02-group-network.yaml"))
    assert (
        json.loads(mizar("get", "endpoints", "-n", "green", "-o", "json", check=False).stdout or "[]") == []
    )
    assert not pathlib.Path("/run/netns/mizar.green.paris").exists()


def test_killed_agent_is_not_missed_by_packets(lab: lab_module.Lab, mizar: Mizar) -> None:
    mizar("lab", "agent", "h2", "kill")
    try:
        assert reaches(lab, "blue/web-1", "10.0.1.6", count=5)
        agents = {host["name"]: host["agent"]["state"] for host in _status(mizar)["hosts"]}
        assert agents == {"h1": "running", "h2": "stopped", "h3": "running", "h4": "running"}
    finally:
        mizar("lab", "agent", "h2", "start")
    mizar("wait", "host", "h2", "--for", "ready")
    assert reaches(lab, "blue/web-1", "10.0.1.6", count=5)


def test_killed_controller_is_not_missed_and_forgets_nothing(lab: lab_module.Lab, mizar: Mizar) -> None:
    before = {obj["metadata"]["uid"] for obj in json.loads(mizar("get", "endpoints", "-o", "json").stdout)}
    mizar("lab", "controller", "kill")
    try:
        assert mizar("lab", "exec", "blue/web-1", "--", "ping", "-c", "1", "10.0.1.6").returncode == 0
        done = mizar("get", "hosts", check=False)
        assert done.returncode == 1
        assert "mizar lab controller start" in done.stderr
    finally:
        mizar("lab", "controller", "start")
    after = {obj["metadata"]["uid"] for obj in json.loads(mizar("get", "endpoints", "-o", "json").stdout)}
    assert after == before
    mizar("wait", "endpoint", "blue/web-1", "--for", "ready")


def test_watch_shows_an_endpoint_come_and_go(lab: lab_module.Lab, declare: Declare) -> None:
    watcher = subprocess.Popen(
        [sys.executable, "-m", "mizar", "get", "vpcs", "--watch", "-o", "json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watcher.stdout is not None
        declare("{apiVersion: mizar.io/v1, kind: VPC, metadata: {name: brief}, spec: {cidrs: [10.8.0.0/16]}}")
        for line in watcher.stdout:
            event = json.loads(line)
            if event["object"]["metadata"]["name"] == "brief":
                break
        assert event["type"] == "ADDED"
    finally:
        watcher.kill()
        watcher.communicate()


def test_failed_up_leaves_nothing(labs: Labs, mizar: Mizar, tmp_path: pathlib.Path) -> None:
    labs.none()
    manifest = tmp_path / "wrong.yaml"
    manifest.write_text(
        "{apiVersion: mizar.io/v1, kind: Endpoint, metadata: {name: x, vpc: nowhere},"
        " spec: {network: n, host: h1, addresses: [10.0.0.1]}}"
    )
    done = mizar("lab", "up", "--hosts", "1", "--file", str(manifest), check=False)
    assert done.returncode == 1
    assert "nowhere" in done.stderr.splitlines()[-1]
    _assert_nothing_left()


def test_interrupted_up_leaves_nothing(labs: Labs) -> None:
    labs.none()
    coming = subprocess.Popen(
        [sys.executable, "-m", "mizar", "lab", "up", "--hosts", "2"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert coming.stderr is not None
        for line in coming.stderr:
            if "waiting for the hosts" in line:  # namespaces, daemons and programs are there
                break
        coming.send_signal(signal.SIGINT)
        _, said = coming.communicate(timeout=30)
    finally:
        coming.kill()
    assert (coming.returncode, said.strip()) == (130, "mizar: interrupted")
    _assert_nothing_left()


def test_mtu_too_small_for_the_tunnel_is_refused(labs: Labs, mizar: Mizar) -> None:
    labs.none()
    done = mizar("lab", "up", "--mtu", "600", check=False)
    assert done.returncode == 1
    assert "640" in done.stderr
    _assert_nothing_left()


def test_five_hosts_come_up_and_down_leaves_nothing(labs: Labs, mizar: Mizar) -> None:
    labs.none()
    mizar("lab", "up", "--hosts", "5", "--file", str(EXAMPLES / "01-two-tenants.yaml"))
    mizar("lab", "down")
    _assert_nothing_left()
    assert mizar("lab", "down").stdout == "no lab was up\n"


def test_down_removes_what_a_crash_left(labs: Labs, mizar: Mizar) -> None:
    """Every daemon killed, their records lost, a program still at work in an endpoint."""
    labs.none()
    mizar("lab", "up", "--hosts", "4", "--file", str(EXAMPLES / "01-two-tenants.yaml"))
    still = subprocess.Popen(["nsenter", "--net=/run/netns/mizar.blue.web-1", "sleep", "1000"])
    for host in ("h1", "h2", "h3"):
        mizar("lab", "agent", host, "kill")
    (config.STATE_DIR / "state.json").write_text("{")
    mizar("lab", "down")
    assert still.wait(10) != 0
    _assert_nothing_left()


def _status(mizar: Mizar) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(mizar("lab", "status", "-o", "json").stdout)
    return found


def _assert_nothing_left() -> None:
    assert network.existing() == []
    for tenant in ("blue", "red"):
        assert list(pathlib.Path("/run/netns").glob(f"mizar.{tenant}.*")) == []
    assert not pathlib.Path("/sys/fs/bpf/mizar-lab").exists()
    assert not config.STATE_DIR.exists()
    assert processes.with_argument(f"--state-dir={state.directory('controller')}") == []
