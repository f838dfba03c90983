# SPDX-License-Identifier: Apache-2.0
"""The command line is back at once because it loads little."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = ("grpc", "google.protobuf", "numpy", "pydantic", "fastapi", "uvicorn", "pyroute2", "rich", "yaml")

_PROBE = """
import sys
from mizar.cli import main
try:
    main.main(sys.argv[1:])
except SystemExit:
    pass
print("LOADED", *sorted(sys.modules))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["get", "hosts", "--api", "/nonexistent.sock"]])
def test_nothing_heavy_is_loaded(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    loaded = done.stdout.rpartition("LOADED ")[2].split()
    assert "mizar.cli.get" in loaded
    assert [name for name in loaded if name in _HEAVY] == []
