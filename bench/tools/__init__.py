# SPDX-License-Identifier: Apache-2.0
"""Small C programs of the bench, compiled when first needed.

They exist where the usual tools would measure themselves; each says why at its head.
"""

from __future__ import annotations

import functools
import pathlib

from bench.core import command

_SOURCES = pathlib.Path(__file__).parent
_OUTPUT = pathlib.Path("build/bench/tools")


@functools.cache
def path(name: str) -> str:
    """Path of the compiled program. Raises ToolError with the compiler's first complaint."""
    source = _SOURCES / f"{name}.c"
    binary = (_OUTPUT / name).resolve()
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        binary.parent.mkdir(parents=True, exist_ok=True)
        command.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(binary), str(source)])
    return str(binary)
