# SPDX-License-Identifier: Apache-2.0
"""The packet path: the same two hosts and the same tools, with another network between the pods each time.

A peer or a variant is one file below `networks`; it is listed in `networks/__init__.py` and nowhere else.
"""
