# SPDX-License-Identifier: Apache-2.0
"""A cluster on one machine: hosts are network namespaces with an agent each, joined by an underlay.

    config      what a lab is asked to be
    topology    names and addresses that follow from it                      pure
    network     the namespaces, the bridge and the cables                    netlink
    state       what is up, on disk, so that any later command finds it
    processes   starting, recognising and ending daemons
    daemons     agents and the controller as the lab runs them
    leftovers   namespaces that agents made and nobody will remove
    lifecycle   up: all or nothing; down: everything, after a crash too
    lab         Lab: a lab that is up
    status      Lab as facts for people and scripts
    tools       the one place that runs other programs
    vxlan       the kernel's overlay on the same hosts, to compare with
    demo        `make demo`

What holds: agents, controller, programs and packets are those of production. There is one lab on a machine:
its namespaces have fixed names, so that scripts can rely on them.
"""
