# SPDX-License-Identifier: Apache-2.0
"""Bytes <-> values of everything that the programs and user space share. Pure: no I/O."""
