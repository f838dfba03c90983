# SPDX-License-Identifier: Apache-2.0
"""Provisioning: what a new endpoint costs the management plane, from a VPC of ten to one of a million.

    fleet      many simulated hosts in one process: the node API over the in-memory data plane
    plane      a controller in this process, over a store on disk
    mesh       the usual model for comparison: every host is told of every endpoint
    bulk, one, grow, load, restart, ping    one figure or two each
    suite      all of them

What holds: the same planner, store, pusher and messages as in production. Simulated hosts leave out what a
real host does beside its tables (interfaces, journal), because here a thousand of them share one processor
that in a cluster is a thousand; hosts with real agents and kernel tables are among them where it matters.
"""
