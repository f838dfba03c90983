# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Two hosts made of network namespaces, an agent in each, no controller; for the examples, which source this.
# Needs root and `make build`. When the example ends, nothing is left behind.
#
#    n1  192.168.77.1 eth0 ---------- eth0 192.168.77.2  n2
#    agent                                            agent
#
# Gives: $python, $first and $second (where the agents listen), background PID (ended with the example).
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=.venv/bin/python
tag=ex$$                 # so that two runs do not meet
state=$(mktemp -d)
first=unix://$state/n1/agent.sock
second=unix://$state/n2/agent.sock
pids=()

background() {
  pids+=("$1")
}

clean_up() {
  set +e                 # whatever failed, go on cleaning
  kill "${pids[@]}" 2>/dev/null
  wait
  for space in $(ip netns list | grep -o '^mizar\.byhand\.[^ ]*') "$tag-n1" "$tag-n2"; do
    ip netns del "$space"
  done
  rm -r "$state" /sys/fs/bpf/mizar/"$tag"-n[12]
  rmdir --ignore-fail-on-non-empty /sys/fs/bpf/mizar
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
  background $!
done

echo "Waiting for two agents"
for number in 1 2; do
  timeout 60 sh -c "until test -S $state/n$number/agent.sock; do sleep 0.1; done"
done
