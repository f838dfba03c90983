/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * neighbour.h - MACs of the next host, where the kernel cannot fill them in for us:
 * XDP, and copies of packets.
 */
#ifndef MIZAR_NEIGHBOUR_H
#define MIZAR_NEIGHBOUR_H

#include "choose.h"
#include "parse.h"
#include "maps/clock.h"

struct mz_macs {
	__u16 dst[3];
	__u16 src[3];
};

/* Asks the kernel's tables; they answer only if the interface forwards (ip_forward). */
static __noinline bool mz_macs_lookup(void *ctx, const struct mz_config *config, __be32 host,
				      struct mz_macs *macs)
{
	struct bpf_fib_lookup fib = {
		.family = MZ_AF_INET,
		.ifindex = config->underlay_ifindex,
		.ipv4_src = config->underlay_addr,
		.ipv4_dst = host,
	};

	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT) !=
	    BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	mz_mac_set(macs->dst, fib.dmac);
	mz_mac_set(macs->src, fib.smac);
	return true;
}

/* The agent's own table first: one comparison while it is fresh. */
static __always_inline bool mz_macs_of(void *ctx, const struct mz_config *config,
				       const struct mz_next *next, struct mz_macs *macs)
{
	if (next->via->mac_until * MZ_MS_PER_S <= mz_now_ms64())
		return mz_macs_lookup(ctx, config, next->host, macs);
	mz_mac_set(macs->dst, next->via->mac);
	mz_mac_set(macs->src, config->underlay_mac);
	return true;
}

static __always_inline bool mz_write_macs(void *data, void *end, const struct mz_macs *macs)
{
	struct mz_eth *eth = data;

	if ((void *)(eth + 1) > end)
		return false;
	mz_mac_set(eth->dst, macs->dst);
	mz_mac_set(eth->src, macs->src);
	return true;
}

#endif
