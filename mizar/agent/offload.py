# SPDX-License-Identifier: Apache-2.0
"""Checksum offload of the NIC, for XDP on a veth underlay.

A veth passes on packets whose checksum is still to be computed, and XDP_TX at the other end
does not carry that note along: a bounced packet would leave with a wrong checksum. So where our hosts
are joined by veths and bounce in XDP, every host computes its checksums before the wire.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import Final

from mizar.agent import netlink

_SIOCETHTOOL: Final = 0x8946
_GET_TX_CSUM: Final = 0x16
_SET_TX_CSUM: Final = 0x17


def disable_tx_checksum(interface: str) -> bool:
    """Turn it off; False if it was off already. KernelError if the driver refuses."""
    if not _ethtool(interface, _GET_TX_CSUM, 0):
        return False
    _ethtool(interface, _SET_TX_CSUM, 0)
    return True


def _ethtool(interface: str, command: int, data: int) -> int:
    """One ETHTOOL_* call that takes a struct ethtool_value (linux/ethtool.h); its data afterwards."""
    value = array.array("B", struct.pack("=II", command, data))
    address, _ = value.buffer_info()
    request = struct.pack("16sP16x", interface.encode(), address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError as failure:
            raise netlink.kernel_error(
                f"set checksum offload of {interface}", failure.errno or 0
            ) from failure
    return int(struct.unpack("=II", value.tobytes())[1])
