# SPDX-License-Identifier: Apache-2.0
"""The C side as the compilers see it: abi.h for the BPF target, and its arithmetic for this machine."""

from __future__ import annotations

import pathlib
import platform
import re
import subprocess

import cffi
import pytest

from mizar.dataplane import btf, libbpf

INCLUDE = pathlib.Path(__file__).parents[2] / "bpf" / "include"
SYSTEM = f"/usr/include/{platform.machine()}-linux-gnu"

# Macros that are no numbers, or say nothing to user space.
NOT_NUMBERS = {"MIZAR_ABI_H", "MZ_ROUTER_MAC", "MZ_ASSERT_SIZE"}


def abi_names(pattern: str) -> list[str]:
    """What a pattern finds in abi.h."""
    return re.findall(pattern, (INCLUDE / "abi.h").read_text(), re.MULTILINE)


def _probe_source() -> str:
    """A C file that makes the compiler describe every struct, enum and macro of abi.h in BTF."""
    structs = abi_names(r"^struct (\w+) \{")
    enums = abi_names(r"^enum (\w+) \{")
    macros = [name for name in abi_names(r"^#define (\w+)") if name not in NOT_NUMBERS]
    lines = ['#include "abi.h"']
    lines += [f"struct {name} probe_{name};" for name in structs]
    lines += [f"enum {name} probe_{name};" for name in enums]
    lines += [f"enum probe_{name} {{ value_{name} = {name} }} probe_{name};" for name in macros]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def header(tmp_path_factory: pytest.TempPathFactory) -> btf.Btf:
    """BTF of everything in abi.h; macros are enums "probe_NAME"."""
    directory = tmp_path_factory.mktemp("abi")
    source, compiled = directory / "probe.c", directory / "probe.o"
    source.write_text(_probe_source())
    argv = ["clang", "-target", "bpf", "-g", "-O2", "-I", str(INCLUDE), "-isystem", SYSTEM]
    subprocess.run([*argv, "-c", str(source), "-o", str(compiled)], check=True, timeout=60)
    return btf.from_elf(compiled)


@pytest.fixture(scope="session")
def arithmetic(tmp_path_factory: pytest.TempPathFactory) -> object:
    """The C arithmetic that Python mirrors, compiled for this machine."""
    directory = tmp_path_factory.mktemp("arithmetic")
    source, library = directory / "arithmetic.c", directory / "arithmetic.so"
    source.write_text(
        """
        #include "hash.h"
        unsigned mix32(unsigned h) { return mz_mix32(h); }
        unsigned shard_of(unsigned addr, unsigned n) { return mz_shard_of(addr, n); }
        unsigned long long route_number(unsigned vni, unsigned addr, unsigned bits) {
            return mz_route_number(vni, addr, 1ull << bits);
        }
        unsigned bucket_of(unsigned long long key, unsigned long long factor, unsigned n) {
            return mz_bucket_of(key, factor, n);
        }
        unsigned flow_hash(unsigned s, unsigned d, unsigned p, unsigned ports) {
            return mz_flow_hash(s, d, p, ports);
        }
        unsigned sport_of(unsigned h) { return bpf_ntohs(mz_sport_of(h)); }
        unsigned pick_replica(unsigned sport, unsigned n) { return mz_pick_replica(bpf_htons(sport), n); }
        unsigned pick_divider(unsigned sport, unsigned n) { return mz_pick_divider(bpf_htons(sport), n); }
        """
    )
    argv = ["gcc", "-shared", "-fPIC", "-O2", "-w", "-I", str(INCLUDE)]
    subprocess.run([*argv, str(source), "-o", str(library)], check=True, timeout=60)
    ffi = cffi.FFI()
    ffi.cdef(
        """
        unsigned mix32(unsigned h);
        unsigned shard_of(unsigned addr, unsigned n);
        unsigned long long route_number(unsigned vni, unsigned addr, unsigned bits);
        unsigned bucket_of(unsigned long long key, unsigned long long factor, unsigned n);
        unsigned flow_hash(unsigned s, unsigned d, unsigned p, unsigned ports);
        unsigned sport_of(unsigned h);
        unsigned pick_replica(unsigned sport, unsigned n);
        unsigned pick_divider(unsigned sport, unsigned n);
        """
    )
    return ffi.dlopen(str(library))


@pytest.fixture(scope="session")
def objects() -> dict[str, pathlib.Path]:
    """The compiled data plane, by name."""
    found = {path.name: path for path in libbpf.OBJECTS.glob("*.bpf.o")}
    assert {"endpoint.bpf.o", "transit.bpf.o"} <= found.keys(), "run `make build`"
    return found
