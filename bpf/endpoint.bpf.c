/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * endpoint.bpf.c - the program of every endpoint's interface: its first hop.
 */
#include "first_hop.h"

SEC("tc")
int mz_endpoint(struct __sk_buff *skb)
{
	__u32 bytes = skb->len;

	return mz_leave_tc(mz_first_hop(skb), bytes);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
