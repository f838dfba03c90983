/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * transit.bpf.c - the programs of the underlay interface: mz_transit_tc always,
 * mz_transit_xdp in front of it where the agent chose XDP.
 */
#include "transit_tc.h"
#include "transit_xdp.h"

SEC("tc")
int mz_transit_tc(struct __sk_buff *skb)
{
	__u32 bytes = skb->len;

	return mz_leave_tc(mz_transit_at_tc(skb), bytes);
}

SEC("xdp")
int mz_transit_xdp(struct xdp_md *ctx)
{
	__u64 bytes = (void *)(long)ctx->data_end - (void *)(long)ctx->data;

	/* For the verifier: subtract here, or clang keeps half a pointer on the stack. */
	asm volatile("" : "+r"(bytes));
	return mz_leave_xdp(mz_transit_at_xdp(ctx), bytes);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
