# SPDX-License-Identifier: Apache-2.0
"""All networks under test, one file each, in the order of tables and plots."""

from __future__ import annotations

from bench.path.networks import bare, base, ovs, routed, vxlan

ALL: tuple[base.Network, ...] = (bare.Bare(), routed.Routed(), vxlan.Vxlan(), ovs.OpenVSwitch())
