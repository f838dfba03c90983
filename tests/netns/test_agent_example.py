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


def test_two_agents_driven_by_hand_get_a_ping_through() -> None:
    before = _named()
    done = subprocess.run(
        [_ROOT / "examples/node-api/01-two-agents.sh"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "web-2 is ready in network namespace mizar.byhand.web-2, MTU 1436" in done.stdout
    assert "3 received" in done.stdout
    assert _named() == before
