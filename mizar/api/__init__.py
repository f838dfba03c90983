# SPDX-License-Identifier: Apache-2.0
"""The HTTP/JSON API: parse, call the controller, print. docs/api.md is the guide.

app        the application: what holds for every route
routes     objects: list, get, put, delete, watch, apply
hosts      what hosts really hold: tables, drops, counters
bodies     request bodies, bounded, as objects
problems   failures as answers
openapi    what the OpenAPI document says that the code cannot
server     sockets and uvicorn
main       the controller process: controller and API together
"""
