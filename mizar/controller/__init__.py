# SPDX-License-Identifier: Apache-2.0
"""The management plane's process: objects in, table entries of every host out.

config     what a controller is told when it starts
service    Controller: apply, delete, get, list, watch. All that the API calls
status     who is not ready, and why
roles      bouncers and dividers as objects, with live counters
pusher     what every host is still to be told, in which order. Pure but for a timer
rollout    one change on its way through the stages
hostqueue  the ordered queue of one host
worker     the task that talks to one agent
link       the node API as the worker sees it
wire       planner rows as messages
main       the process
"""
