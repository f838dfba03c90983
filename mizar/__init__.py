# SPDX-License-Identifier: Apache-2.0
"""Mizar: a cloud network for containers, virtual machines and pods of many tenants."""

import os

__version__ = "0.1.0"

# Here, because gRPC reads it when it is first imported. By default its core hands a message through threads
# of its own before ours learns of it: a third of a round trip on a unix socket, and as much processor time.
# Without, the thread that waits for messages reads them itself. Who sets the variable has the last word.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
