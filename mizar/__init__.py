# SPDX-License-Identifier: Apache-2.0
"""Mizar: a cloud network for containers, virtual machines and pods of many tenants."""

__version__ = "0.1.0"
