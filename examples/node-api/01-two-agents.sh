#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Two agents, no controller: driven by hand until a ping is through. Needs root and `make build`.
#
#    n1  agent, divider, bouncer                  n2  agent
#    byhand/web-1  10.0.1.5           byhand/web-2  10.0.1.6
set -euo pipefail
source "$(dirname "$0")/hosts.sh"

"$python" examples/node-api/01-two-agents.py "$first" "$second"
nsenter --net=/run/netns/mizar.byhand.web-1 ping -c 3 -i 0.2 10.0.1.6
