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

/* Into a peer VPC: its VNI, and where the packet comes from. */
static __always_inline bool mz_cross(void *data, void *end, const struct mz_wire *w, __u32 vni)
{
	struct mz_geneve *geneve = data + MZ_OFF_GENEVE;
	struct mz_eth *eth = data + MZ_OFF_OPTIONS + (w->opts & 0xfc);

	if ((void *)(geneve + 1) > end || (void *)(eth + 1) > end)
		return false;
	geneve->vni_rsvd = bpf_htonl(vni << 8);
	mz_mac_set_kind(eth->src, MZ_MAC_PEER, mz_mac_peer(w->vni, w->inner_src != w->ip_src));
	return true;
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
	return likely(!next->vni) || mz_cross(data, end, w, next->vni);
}

static __always_inline struct mz_question mz_ask_about(const struct mz_wire *w, __be32 self)
{
	return (struct mz_question){
		.key = {.vni = w->vni, .addr = w->inner_dst},
		.self = self,
		.sport = w->sport,
		.peered = w->peer_vni != 0,
	};
}

/*
 * Steps 7 and 8 of a packet in transit: divide, bounce. If neither, it may still be for an endpoint
 * of ours, and then @w is as if it had crossed.
 */
static __always_inline mz_exit mz_pass_on(struct mz_wire *w, __be32 self, struct mz_next *next)
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
			if (exit == MZ_V_TO_ENDPOINT_HOST)
				return MZ_V_BOUNCED;
			if (unlikely(next->vni))
				mz_wire_cross(w, next->vni);
			return exit;
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
