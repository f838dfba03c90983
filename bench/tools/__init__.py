# SPDX-License-Identifier: Apache-2.0
"""Small C programs of the bench, compiled when first needed.

They exist where the usual tools would measure themselves; each says why at its head.
"""

from __future__ import annotations

import functools
import pathlib
import platform

from bench.core import command

_SOURCES = pathlib.Path(__file__).parent
_OUTPUT = pathlib.Path("build/bench/tools")


@functools.cache
def path(name: str) -> str:
    """Path of the compiled program. Raises ToolError with the compiler's first complaint."""
    source = _SOURCES / f"{name}.c"
    binary = (_OUTPUT / name).resolve()
    newest = max(each.stat().st_mtime for each in (source, *_SOURCES.glob("*.h")))
    if not binary.exists() or binary.stat().st_mtime < newest:
        binary.parent.mkdir(parents=True, exist_ok=True)
        command.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(binary), str(source)])
    return str(binary)


@functools.cache
def bpf_object(source: pathlib.Path) -> pathlib.Path:
    """The compiled BPF object of `NAME.bpf.c`. Raises ToolError with the compiler's first complaint."""
    binary = (_OUTPUT / source.name).with_suffix(".o").resolve()
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        binary.parent.mkdir(parents=True, exist_ok=True)
        headers = f"/usr/include/{platform.machine()}-linux-gnu"
        flags = command.words("-target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror")
        command.run(["clang", *flags, "-isystem", headers, "-c", str(source), "-o", str(binary)])
    return binary
