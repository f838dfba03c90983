# SPDX-License-Identifier: Apache-2.0
"""The example of the node API does what its guide says, and leaves nothing behind."""

from __future__ import annotations

import pathlib
import subprocess
from typing import Final

from mizar.agent import namespaces

_ROOT: Final = pathlib.Path(__file__).parents[2]


def _named() -> set[str]:
    """What the example makes, by the names that it uses."""
    pins = pathlib.Path("/sys/fs/bpf/mizar").glob("ex*")
    spaces = [*namespaces.RUN_DIR.glob("ex*-n?"), *namespaces.RUN_DIR.glob("mizar.byhand.*")]
    return {str(path) for path in (*pins, *spaces)}


def _run(name: str) -> str:
    """What the example prints."""
    before = _named()
    done = subprocess.run(
        [_ROOT / "examples/node-api" / name],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert _named() == before
    return done.stdout


def test_two_agents_driven_by_hand_get_a_ping_through() -> None:
    printed = _run("01-two-agents.sh")
    assert "web-2 is ready in network namespace mizar.byhand.web-2, MTU 1436" in printed
    assert "3 received" in printed


def test_service_driven_by_hand_is_spread_and_leaves_out_who_does_not_answer() -> None:
    printed = _run("02-service.sh")
    spread, after = printed.split("web-2 has ended\n")
    assert {line.split()[-1] for line in spread.splitlines()[1:]} == {"web-1", "web-2"}
    assert after.splitlines()[0].split() == ["20", "web-1"]
    assert "web-2: connection refused" in after
