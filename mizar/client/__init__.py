# SPDX-License-Identifier: Apache-2.0
"""The HTTP API as seen from outside: what the command line, the lab and scripts talk through.

    target   where an API is: a unix socket or host:port
    http     one request, one answer, failures as mizar.errors
    api      Client: the verbs of the API over objects in their JSON form

Objects stay plain dicts: this package imports the standard library and nothing heavy, so that a command
that only asks and prints is back at once.
"""
