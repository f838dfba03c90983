# SPDX-License-Identifier: Apache-2.0
"""Objects to table rows per host: pure, deterministic, incremental.

    rows        the rows of every table, their keys, and the stages in which they change
    placement   which hosts bounce and divide: rendezvous hashing
    state       what the planner knows: facts and the indexes that deltas need
    cells       the rows that one host has for one VPC or network
    delta       rows that change, by stage and host
    edit        the delta of one change in the making
    hosts, networks, spaces, endpoints    what each kind of change does to the state
    settle      the last touch to a delta
    planner     apply(state, change) -> Delta; snapshot(state, host) -> all rows of a host

Property that everything rests on: the rows of every host after any sequence of deltas are those of the
snapshot of the final state. Nothing here does I/O, takes the time or draws random numbers.
"""
