/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * router.h - what a router does to any packet that comes to it from beyond: size, padding, TTL.
 */
#ifndef MIZAR_ROUTER_H
#define MIZAR_ROUTER_H

#include "csum.h"
#include "packet4.h"

/* What each packet on the wire will carry, above the MTU? */
static __always_inline bool mz_is_too_big(const struct __sk_buff *skb, const struct mz_packet4 *p,
					  __u32 mtu)
{
	if (skb->gso_size)
		return p->head + p->l4 + skb->gso_size > mtu;
	return p->total > mtu;
}

static __always_inline bool mz_decrement_ttl(struct __sk_buff *skb)
{
	struct iphdr *ip = (void *)(long)skb->data + MZ_ETH_LEN;
	__be16 *ttl = (__be16 *)&ip->ttl, old;

	if ((void *)(ip + 1) > (void *)(long)skb->data_end)
		return false;
	old = *ttl;
	*ttl = old - bpf_htons(0x100);
	ip->check = mz_csum_fold(mz_csum_unfold(ip->check) + mz_csum_swap16(old, *ttl));
	return true;
}

/* Bytes behind the packet: padding, or worse. They must not make the tunnel's packets too long. */
static __always_inline mz_exit mz_trim(struct __sk_buff *skb, const struct mz_packet4 *p)
{
	__u32 len = MZ_ETH_LEN + p->total;

	if (likely(skb->len == len))
		return MZ_GO_ON;
	if (skb->gso_size)
		return MZ_DROP_MALFORMED_IP;
	return bpf_skb_change_tail(skb, len, 0) ? MZ_DROP_HELPER : MZ_GO_ON;
}

#endif
