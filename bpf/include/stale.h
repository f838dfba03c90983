/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stale.h - a direct packet for an endpoint that is not on this host (any more).
 *
 * It starts over from here, as if its sender had not known the host, and its sender
 * is told to forget. Both come of one skb: a copy goes on, the original turns into
 * the message.
 */
#ifndef MIZAR_STALE_H
#define MIZAR_STALE_H

#include "forward.h"
#include "neighbour.h"
#include "tell.h"

/* Room for an RTS option in front of all others. Not for the kernel to understand as a tunnel
 * header (no ENCAP): on a GSO packet it already knows one. */
static __always_inline bool mz_insert_rts(struct __sk_buff *skb, struct mz_wire *w)
{
	struct mz_head {
		__u32 words[9]; /* outer IPv4, UDP, Geneve */
	} head;
	void *data, *end;
	struct iphdr *ip;
	struct udphdr *udp;
	struct mz_geneve *geneve;

	if (w->opts > MZ_MAX_GENEVE_OPTIONS * 4 - MZ_OPT_LEN)
		return false;
	if (bpf_skb_adjust_room(skb, MZ_OPT_LEN, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return false;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + MZ_OFF_OPTIONS + MZ_OPT_LEN > end)
		return false;
	head = *(struct mz_head *)(data + MZ_OFF_IP + MZ_OPT_LEN);
	*(struct mz_head *)(data + MZ_OFF_IP) = head;

	ip = data + MZ_OFF_IP;
	udp = data + MZ_OFF_UDP;
	geneve = data + MZ_OFF_GENEVE;
	ip->check = mz_csum_fold(mz_csum_unfold(ip->check) +
				 mz_csum_swap16(ip->tot_len, bpf_htons(w->total + MZ_OPT_LEN)));
	w->total += MZ_OPT_LEN;
	w->opts += MZ_OPT_LEN;
	w->found = mz_found(0, MZ_OPT_RTS, 0);
	ip->tot_len = bpf_htons(w->total);
	udp->len = bpf_htons(w->total - MZ_IP_LEN);
	geneve->ver_optlen = w->opts / 4;
	mz_write_rts(data + MZ_OFF_OPTIONS, w->src, MZ_HOP_DIVIDER);
	return true;
}

static __always_inline mz_exit mz_choose_again(const struct mz_question *q, struct mz_next *next)
{
	const struct mz_vpc *vpc = mz_vpc_get(q->key.vni);

	mz_exit exit = vpc ? mz_choose_in_vpc(q, vpc, true, next) : MZ_DROP_UNKNOWN_VNI;

	/* Its sender takes it for a simple endpoint, and asks as soon as it has forgotten that. */
	return mz_is_scaled(exit) ? MZ_DROP_NOT_HERE : exit;
}

/* The outer headers of a packet that starts over at @next. */
static __always_inline bool mz_start_over(struct __sk_buff *skb, const struct mz_config *config,
					  struct mz_wire *w, const struct mz_next *next)
{
	if (w->hop == MZ_HOP_NONE && !mz_insert_rts(skb, w))
		return false;
	return mz_forward((void *)(long)skb->data, (void *)(long)skb->data_end, w,
			  config->underlay_addr, next);
}

static __always_inline int mz_tell_to_forget(struct __sk_buff *skb, const struct mz_wire *w)
{
	if (!mz_decap(skb, w->opts))
		return 0;
	return mz_tell(skb, w, MZ_OPT_FORGET, w->src);
}

/* The copy that goes on needs its MACs written; without, the packet itself goes on and the
 * sender hears of it the next time. */
static __always_inline mz_exit mz_go_on_and_tell(struct __sk_buff *skb,
						 const struct mz_config *config,
						 const struct mz_wire *w,
						 const struct mz_next *next)
{
	struct mz_macs macs = {};

	if (!mz_macs_of(skb, config, next, &macs))
		return MZ_EXIT(MZ_V_STALE, mz_send(config, next->via));
	if (!mz_write_macs((void *)(long)skb->data, (void *)(long)skb->data_end, &macs))
		return MZ_DROP_HELPER;
	if (bpf_clone_redirect(skb, config->underlay_ifindex, 0))
		return MZ_DROP_HELPER;
	return MZ_EXIT(MZ_V_STALE, mz_tell_to_forget(skb, w));
}

/* Global: see mz_next_replica(). */
__noinline mz_exit mz_stale(struct __sk_buff *skb, struct mz_wire *w)
{
	const struct mz_config *config = mz_config_get();
	struct mz_next next = {};
	struct mz_question q;
	mz_exit exit;

	if (!config || !w)
		return MZ_V_PASS;
	q = mz_ask_about(w, config->underlay_addr);
	exit = mz_choose_again(&q, &next);
	if (exit >= MZ_DROP_FIRST || !next.via)
		return MZ_EXIT(exit, mz_tell_to_forget(skb, w));
	/* Before an option is inserted, which is no part of the inner frame. */
	mz_count_roles(&next, mz_wire_inner_len(w));
	if (!mz_start_over(skb, config, w, &next))
		return MZ_DROP_HELPER;
	return mz_go_on_and_tell(skb, config, w, &next);
}

#endif
