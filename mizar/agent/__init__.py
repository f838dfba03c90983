# SPDX-License-Identifier: Apache-2.0
"""The node agent: the one process of a host that touches the kernel, for whoever drives the node API.

    service    calls -> node                 (gRPC)
    node       one host: the parts below, started, adopted and stopped together
    tables     update messages -> rows       rows, writer, snapshot, slots: what they stand on
    roles      rows of VPCs and networks     what this host is for them
    services   rows of scaled endpoints      on their bouncers, with the Maglev tables
    gateways   rows of the ways out          claims: rows that several entries share
    endpoints  life of endpoints             veth, namespaces: netlink
    checks     which checks of backends      health: what they have found, for those who watch
    peers      rows of hosts                 underlay: NIC, routes, neighbours
    machine    the row of this machine
    prober     is that host's data plane alive
    tunnel_port  who owns UDP 6081 here      receive offload
    background an event loop, in which run
      checker    checks of backends          probes: one question to one endpoint
      collector  dead flows                  flows: which are dead
      announcer  addresses outside, by ARP
    journal    what the kernel cannot remember for us
    bell       something has changed

What holds: packets never wait for this process. It may be stopped, killed or replaced at any
instruction; what it leaves is complete enough to go on working and to be adopted.
"""
