/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * first_hop_icmp.h - what the gateway says to an endpoint: echo replies and errors.
 */
#ifndef MIZAR_FIRST_HOP_ICMP_H
#define MIZAR_FIRST_HOP_ICMP_H

#include "icmp.h"
#include "port.h"

/* From the gateway to the endpoint that has sent the packet. Global: see mz_next_replica(). */
__noinline mz_exit mz_icmp_error(struct __sk_buff *skb, __u32 type, __u32 code, __u32 rest,
				 __u32 total)
{
	struct mz_icmp error = {.type = type, .code = code, .rest = bpf_htonl(rest)};
	const struct mz_port *port = mz_port_seek(skb->ifindex);
	struct mz_eth *eth;

	if (!port)
		return MZ_DROP_UNKNOWN_PORT;
	if (!mz_icmp_turn(skb, &error, bpf_htonl(MZ_GATEWAY4), total))
		return MZ_DROP_HELPER;
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return MZ_DROP_HELPER;
	mz_mac_set(eth->dst, port->mac);
	mz_mac_set_router(eth->src);
	return MZ_EXIT(type == MZ_ICMP_TIME_EXCEEDED ? MZ_V_ICMP_TTL : MZ_V_ICMP_TOO_BIG,
		       bpf_redirect(skb->ifindex, 0));
}

static __always_inline mz_exit mz_icmp_too_big(struct __sk_buff *skb, __u32 mtu,
					       const struct mz_packet4 *p)
{
	if (!(p->frag & MZ_IP_DF) || !mz_icmp_is_due(p))
		return MZ_DROP_TOO_BIG;
	return mz_icmp_error(skb, MZ_ICMP_UNREACHABLE, MZ_ICMP_FRAG_NEEDED, mtu, p->total);
}

static __always_inline mz_exit mz_icmp_ttl(struct __sk_buff *skb, const struct mz_packet4 *p)
{
	return mz_icmp_is_due(p) ? mz_icmp_error(skb, MZ_ICMP_TIME_EXCEEDED, 0, 0, p->total)
				 : MZ_DROP_TTL;
}

/* A packet to the gateway address: an echo request is answered in place. */
static __always_inline mz_exit mz_icmp_gateway(struct __sk_buff *skb, const struct mz_port *port,
					       const struct mz_packet4 *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct mz_eth *eth = data;
	struct iphdr *ip = data + MZ_ETH_LEN;
	struct mz_icmp *icmp = (void *)ip + (p->head & 0x3c);
	__be16 echo = bpf_htons(MZ_ICMP_ECHO_REQUEST << 8), ttl,
	       fresh = bpf_htons(MZ_TTL << 8 | IPPROTO_ICMP);

	if (p->proto != IPPROTO_ICMP || mz_is_fragment(p) || p->icmp_type != MZ_ICMP_ECHO_REQUEST ||
	    p->icmp_code || p->total < p->head + MZ_ICMP_LEN)
		return MZ_DROP_GATEWAY;
	if ((void *)(ip + 1) > end || (void *)(icmp + 1) > end)
		return MZ_DROP_HELPER;
	mz_mac_set(eth->dst, port->mac);
	mz_mac_set_router(eth->src);
	ttl = *(__be16 *)&ip->ttl;
	ip->daddr = p->src;
	ip->saddr = p->dst;
	*(__be16 *)&ip->ttl = fresh;
	ip->check = mz_csum_fold(mz_csum_unfold(ip->check) + mz_csum_swap16(ttl, fresh));
	icmp->type = MZ_ICMP_ECHO_REPLY;
	icmp->check = mz_csum_fold(mz_csum_unfold(icmp->check) + mz_csum_swap16(echo, 0));
	return MZ_EXIT(MZ_V_ICMP_REPLY, bpf_redirect(skb->ifindex, 0));
}

#endif
