/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cable.bpf.c - the far end of a host's cable in a lab whose hosts bounce in XDP.
 *
 * It lets everything pass. That it is there matters: a veth that transmits by
 * XDP_TX wakes its peer only if the peer runs XDP itself (drivers/net/veth.c,
 * veth_xdp_flush), otherwise a bounced packet waits for the next one to arrive.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int mz_cable(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
