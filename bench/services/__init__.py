# SPDX-License-Identifier: Apache-2.0
"""Load balancing: what a service address costs beside the server's own, here and with nftables."""
