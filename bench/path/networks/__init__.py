# SPDX-License-Identifier: Apache-2.0
"""All networks under test, one file each, in the order of tables and plots."""

from __future__ import annotations

from bench.path.networks import bare, base, mizar, mizar_roles, ovs, routed, vxlan

ALL: tuple[base.Network, ...] = (
    bare.Bare(),
    routed.Routed(),
    vxlan.Vxlan(),
    ovs.OpenVSwitch(),
    mizar.Mizar(),
    mizar_roles.MizarRoles(),
)

SERVICES: tuple[base.Network, ...] = (
    routed.Routed(),
    routed.Routed(name="routed.nft", title="routed pods, nftables service", service=True),
    mizar.Mizar(),
    mizar.Mizar(name="mizar.service", title="Mizar, scaled endpoint", service=True),
)
"""A server asked by its own address and by that of a service."""

VARIANTS: tuple[base.Network, ...] = (
    mizar.Mizar(name="mizar.tcx", title="Mizar, transit at tcx", transit="tcx"),
    mizar.Mizar(name="mizar.xdp", title="Mizar, transit at XDP", transit="xdp"),
)
"""Only in the full run."""
