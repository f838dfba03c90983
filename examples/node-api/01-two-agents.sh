#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Two hosts made of network namespaces, an agent in each, no controller: driven by hand until a ping is through.
# Needs root and `make build`. Leaves nothing behind.
#
#    n1  192.168.77.1 eth0 ---------- eth0 192.168.77.2  n2
#    agent, divider, bouncer                          agent
#    byhand/web-1  10.0.1.5           byhand/web-2  10.0.1.6
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.venv/bin/python
tag=ex$$                 # so that two runs do not meet
state=$(mktemp -d)
pids=()

clean_up() {
  set +e                 # whatever failed, go on cleaning
  kill "${pids[@]}"
  wait
  ip netns del mizar.byhand.web-1
  ip netns del mizar.byhand.web-2
  ip netns del "$tag-n1"
  ip netns del "$tag-n2"
  rm -r "$state" /sys/fs/bpf/mizar/"$tag"-n[12]
}
trap clean_up EXIT

ip netns add "$tag-n1"
ip netns add "$tag-n2"
ip -n "$tag-n1" link add eth0 type veth peer name eth0 netns "$tag-n2"
for number in 1 2; do
  ip -n "$tag-n$number" address add "192.168.77.$number/24" dev eth0
  ip -n "$tag-n$number" link set eth0 up
  nsenter --net="/run/netns/$tag-n$number" "$python" -m mizar agent --name "$tag-n$number" --interface eth0 \
    --state-dir "$state/n$number" --log-level warning &
  pids+=($!)
done

echo "Waiting for two agents"
for number in 1 2; do
  timeout 60 sh -c "until test -S $state/n$number/agent.sock; do sleep 0.1; done"
done

"$python" examples/node-api/01-two-agents.py "unix://$state/n1/agent.sock" "unix://$state/n2/agent.sock"
nsenter --net=/run/netns/mizar.byhand.web-1 ping -c 3 -i 0.2 10.0.1.6
