/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * outgoing.h - a plain packet goes into the VPC: into an envelope and off to the next host.
 *
 * Who sends it does not matter here: an endpoint of this host at its first hop, or this host itself,
 * which has a packet from elsewhere to send on.
 */
#ifndef MIZAR_OUTGOING_H
#define MIZAR_OUTGOING_H

#include "tc.h"
#include "maps/direct4.h"

#define MZ_ENCAP_FLAGS                                                                           \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | \
	 BPF_F_ADJ_ROOM_ENCAP_L2(MZ_ETH_LEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)

/* A packet on its way. No pointers, as global functions take none. */
struct mz_outgoing {
	struct mz_question q;
	__u32 bytes;   /* of the frame, as it came */
	__u32 slot;    /* mz_stats slot of who sends it; 0: it is counted already */
	__u32 ifindex; /* of the endpoint that sends it; 0: none of this host */
	__u32 network; /* of which an on-link destination is */
	__u32 shards;
	__be32 prefer; /* backend that a scaled endpoint is asked for, as @dst says too; or 0 */
	__u16 dst[3];  /* inner MACs */
	__u16 src[3];
	__u8 on_link;
	__u8 tos;
	__u16 pad;
};

/*
 * Room for the outer headers. Refused where the packet already is a tunnel's, because the endpoint
 * has one of its own, or forwards what another tunnel brought: then without telling the kernel.
 */
static __always_inline bool mz_make_room(struct __sk_buff *skb, __s32 room)
{
	if (likely(!bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, MZ_ENCAP_FLAGS)))
		return true;
	return !bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

static __always_inline void mz_write_inner_eth(struct mz_eth *eth, const struct mz_outgoing *out)
{
	mz_mac_set(eth->dst, out->dst);
	mz_mac_set(eth->src, out->src);
	eth->proto = bpf_htons(ETH_P_IP);
}

/* @opt_len, 0 or MZ_OPT_LEN, is a constant wherever this is called. */
static __always_inline bool mz_encap(struct __sk_buff *skb, const struct mz_outgoing *out,
				     const struct mz_next *next, __u32 opt_len)
{
	struct mz_envelope envelope = {
		.vni = out->q.key.vni,
		.from = out->q.self,
		.to = next->host,
		.sport = out->q.sport,
		.tos = out->tos,
		.opt_len = opt_len,
	};
	__u32 total = skb->len - MZ_ETH_LEN + MZ_ROOM + opt_len;
	void *data;

	if (total > 0xffff || !mz_make_room(skb, MZ_ROOM + opt_len))
		return false;
	data = (void *)(long)skb->data;
	if (data + MZ_ETH_LEN + MZ_ROOM + opt_len > (void *)(long)skb->data_end)
		return false;
	mz_write_ip_udp(data + MZ_OFF_IP, &envelope, total);
	mz_write_geneve(data + MZ_OFF_GENEVE, &envelope);
	if (opt_len)
		mz_write_rts(data + MZ_OFF_OPTIONS, out->q.self, next->hop);
	mz_write_inner_eth(data + MZ_OFF_OPTIONS + opt_len, out);
	mz_count_tx(out->slot, out->bytes);
	return true;
}

/* Not known to be anywhere: through the network. Global: see mz_next_replica(). */
__noinline mz_exit mz_ask_network(struct __sk_buff *skb, const struct mz_outgoing *out)
{
	const struct mz_config *config = mz_config_get();
	struct mz_next next = {};
	mz_exit exit;

	if (!config || !out)
		return MZ_DROP_NO_CONFIG;
	if (out->on_link)
		exit = mz_choose_bouncer(&out->q, out->network, out->shards, &next);
	else
		exit = mz_choose_in_vpc(&out->q, mz_vpc_get(out->q.key.vni), false, &next);
	if (unlikely(exit == MZ_SCALED))
		mz_count_roles(&next, out->bytes);
	if (exit >= MZ_DROP_FIRST || !next.via)
		return exit;
	if (!mz_encap(skb, out, &next, MZ_OPT_LEN))
		return MZ_DROP_HELPER;
	mz_count_roles(&next, out->bytes);
	return MZ_EXIT(exit, mz_send(config, next.via));
}

/* In place of a verdict: the destination is a scaled endpoint, and mz_to_backend() may know the way. */
#define MZ_TO_BACKEND 0xfbu
_Static_assert(MZ_VERDICT_MAX <= MZ_TO_BACKEND, "a verdict and MZ_TO_BACKEND fit one byte");

/* The direct path, if it is known, not too old, and its host is not down. */
static __always_inline mz_exit mz_direct_path(struct __sk_buff *skb, const struct mz_config *config,
					      const struct mz_outgoing *out)
{
	const struct mz_direct *direct = mz_direct4_get(&out->q.key);
	struct mz_next next = {.hop = MZ_HOP_PROBE};
	__u32 age;

	if (!direct)
		return MZ_GO_ON;
	if (unlikely(!direct->host))
		return MZ_TO_BACKEND;
	age = mz_direct4_age(direct);
	if (age >= config->hard_ms)
		return MZ_GO_ON;
	mz_next_host(&next, direct->host);
	if (!mz_is_up(next.via))
		return MZ_GO_ON;
	if (age < config->soft_ms) {
		if (!mz_encap(skb, out, &next, 0))
			return MZ_DROP_HELPER;
		return MZ_EXIT(MZ_V_DIRECT, mz_send(config, next.via));
	}
	if (!mz_encap(skb, out, &next, MZ_OPT_LEN))
		return MZ_DROP_HELPER;
	return MZ_EXIT(MZ_V_DIRECT_PROBE, mz_send(config, next.via));
}

#endif
