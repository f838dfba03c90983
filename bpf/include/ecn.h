/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ecn.h - explicit congestion notification across the tunnel, RFC 6040.
 *
 * Going in is normal mode (s4.1): the outer header has the inner one's field.
 * Coming out is figure 4 of s4.2.
 */
#ifndef MIZAR_ECN_H
#define MIZAR_ECN_H

#include "wire.h"

#define MZ_ECN_MASK 3
#define MZ_ECN_NOT_ECT 0
#define MZ_ECN_ECT1 1
#define MZ_ECN_ECT0 2
#define MZ_ECN_CE 3

#define MZ_ECN_DROP 4

/* What the inner field becomes, or MZ_ECN_DROP. */
static __always_inline __u8 mz_ecn_out(__u8 outer, __u8 inner)
{
	outer &= MZ_ECN_MASK;
	inner &= MZ_ECN_MASK;
	if (outer == MZ_ECN_CE)
		return inner == MZ_ECN_NOT_ECT ? MZ_ECN_DROP : MZ_ECN_CE;
	if (outer == MZ_ECN_ECT1 && inner == MZ_ECN_ECT0)
		return MZ_ECN_ECT1;
	return inner;
}

static __always_inline void mz_ecn_set(struct iphdr *ip, __u8 ecn)
{
	__be16 *word = (__be16 *)ip; /* version, header length, TOS */
	__be16 old = *word;

	*word = (old & bpf_htons(0xfffc)) | bpf_htons(ecn);
	ip->check = mz_csum_fold(mz_csum_unfold(ip->check) + mz_csum_swap16(old, *word));
}

/* Into the inner header, while the outer one is still in front of it. */
static __always_inline bool mz_ecn_unwrap(struct __sk_buff *skb, const struct mz_wire *w)
{
	struct iphdr *ip = (void *)(long)skb->data + MZ_OFF_OPTIONS + (w->opts & 0xfc) + MZ_ETH_LEN;
	__u8 ecn = mz_ecn_out(w->tos, w->inner_tos);

	if (ecn == (w->inner_tos & MZ_ECN_MASK))
		return true;
	if (ecn == MZ_ECN_DROP || (void *)(ip + 1) > (void *)(long)skb->data_end)
		return false;
	mz_ecn_set(ip, ecn);
	return true;
}

#endif
