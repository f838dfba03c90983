// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * pass.bpf.c - lets everything through, at XDP.
 *
 * A veth wakes its peer after XDP_TX only if the peer runs an XDP program
 * (drivers/net/veth.c, veth_xdp_flush); with mere GRO there, the frame stays in
 * the ring until the next packet. A NIC's other end needs no such thing.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int pass(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
