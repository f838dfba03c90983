# SPDX-License-Identifier: Apache-2.0
"""The node agent: the one process of a host that touches the kernel, for whoever drives the node API.

    service    calls -> node                 (gRPC)
    node       one host: the parts below, started, adopted and stopped together
    tables     update messages -> rows       rows, writer, snapshot, slots: what they stand on
    roles      rows of VPCs and networks     what this host is for them
    endpoints  life of endpoints             veth, namespaces: netlink
    peers      rows of hosts                 underlay: NIC, routes, neighbours
    prober     is that host's data plane alive
    health     what checks of backends have found, for those who watch
    tunnel_port  who owns UDP 6081 here      receive offload
    journal    what the kernel cannot remember for us

What holds: packets never wait for this process. It may be stopped, killed or replaced at any
instruction; what it leaves is complete enough to go on working and to be adopted.
"""
