# SPDX-License-Identifier: Apache-2.0
"""The plots of the services suite are those of the packet path."""

from bench.path.drawing import draw

__all__ = ["draw"]
