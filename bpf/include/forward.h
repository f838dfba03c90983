/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * forward.h - a tunnel packet goes on to the next host, in place, on both hooks.
 */
#ifndef MIZAR_FORWARD_H
#define MIZAR_FORWARD_H

#include "choose.h"
#include "envelope.h"

/* New outer addresses and TTL; what else is in the header stays, so its checksum is updated. */
static __always_inline void mz_readdress(struct iphdr *ip, __be32 from, __be32 to)
{
	__be16 *ttl = (__be16 *)&ip->ttl; /* and protocol */
	__be16 fresh = bpf_htons(MZ_TTL << 8 | IPPROTO_UDP);
	__u64 sum = mz_csum_unfold(ip->check);

	sum += mz_csum_swap16(*ttl, fresh);
	sum += mz_csum_swap(ip->saddr, from);
	sum += mz_csum_swap(ip->daddr, to);
	*ttl = fresh;
	ip->saddr = from;
	ip->daddr = to;
	ip->check = mz_csum_fold(sum);
}

/* The packet has an RTS option. */
static __always_inline bool mz_forward(void *data, void *end, const struct mz_wire *w, __be32 self,
				       const struct mz_next *next)
{
	struct iphdr *ip = data + MZ_OFF_IP;
	struct udphdr *udp = data + MZ_OFF_UDP;
	struct mz_opt_rts *rts = mz_wire_opt(data, w, MZ_OPT_RTS);

	if ((void *)(udp + 1) > end || (void *)(rts + 1) > end)
		return false;
	mz_readdress(ip, self, next->host);
	udp->check = 0;
	rts->hop = next->hop;
	return true;
}

static __always_inline struct mz_question mz_ask_about(const struct mz_wire *w, __be32 self)
{
	return (struct mz_question){
		.key = {.vni = w->vni, .addr = w->inner_dst},
		.self = self,
		.sport = w->sport,
	};
}

/* Steps 7 and 8 of a packet in transit: divide, bounce. */
static __always_inline mz_exit mz_pass_on(const struct mz_wire *w, __be32 self,
					  struct mz_next *next)
{
	struct mz_question q = mz_ask_about(w, self);
	const struct mz_vpc *vpc;
	mz_exit exit;

	if (w->hop == MZ_HOP_DIVIDER) {
		vpc = mz_vpc_get(w->vni);
		if (vpc && vpc->flags & MZ_VPC_F_DIVIDER) {
			exit = mz_choose_as_divider(&q, vpc, next);
			if (exit == MZ_V_TO_BOUNCER)
				return MZ_V_DIVIDED;
			return exit == MZ_V_TO_ENDPOINT_HOST ? MZ_V_BOUNCED : exit;
		}
	}
	exit = mz_choose_host(&q, next);
	if (exit == MZ_V_TO_ENDPOINT_HOST)
		return MZ_V_BOUNCED;
	if (exit == MZ_DROP_NO_ENDPOINT && !mz_vpc_get(w->vni))
		return MZ_DROP_UNKNOWN_VNI;
	return exit;
}

#endif
