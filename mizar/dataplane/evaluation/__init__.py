# SPDX-License-Identifier: Apache-2.0
"""The decisions of docs/design/data-plane.md, a second time: pure, in Python, for the fake data plane.

    tables.py     what the tables say, as values
    packet.py     bytes of packets: headers, checksums, envelopes
    inside.py     the inner frame of a tunnel packet: which endpoints are meant
    outcome.py    what a program run leads to
    choose.py     to which host next
    answers.py    ARP and ICMP, said by the network itself
    first_hop.py  the endpoint program
    transit.py    the transit program, at tc and at XDP

What does not belong here is what remembers flows: scaled endpoints and gateways. Their tables are kept like
all others, and packets that would need them are dropped.

Nothing here does I/O, keeps state or looks at a clock. What a run changes comes back as effects.
"""
