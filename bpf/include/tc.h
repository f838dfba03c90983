/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc.h - what only an skb has: parts that are not linear, sending by the kernel's
 * own neighbour tables, and delivery into an endpoint.
 */
#ifndef MIZAR_TC_H
#define MIZAR_TC_H

#include "choose.h"
#include "envelope.h"
#include "maps/endpoints4.h"

#define MZ_PACKET_HOST 0 /* if_packet.h, which has userspace types */

/*
 * Make the first @need bytes (or all, if there are fewer) readable. A failure shows
 * as a header that is out of bounds.
 */
static __always_inline void mz_linear(struct __sk_buff *skb, __u32 need)
{
	__u32 have = skb->data_end - skb->data;

	if (unlikely(have < need && have < skb->len))
		bpf_skb_pull_data(skb, MZ_MIN(need, skb->len));
}

/*
 * The headers up to TCP's or the first eight bytes of another protocol's, and no more. TCP sends its headers
 * in the linear part and the data outside of it: one byte of data pulled in costs a new head, as the socket
 * keeps a clone, and the receiver a copy from two places.
 */
static __always_inline void mz_linear4(struct __sk_buff *skb)
{
	const struct iphdr *ip;
	__u32 behind;

	mz_linear(skb, MZ_ETH_LEN + MZ_IP_LEN);
	ip = (void *)(long)skb->data + MZ_ETH_LEN;
	if ((void *)(ip + 1) > (void *)(long)skb->data_end)
		return;
	behind = ip->protocol == IPPROTO_TCP ? MZ_TCP_LEN : MZ_UDP_LEN;
	mz_linear(skb, MZ_ETH_LEN + mz_ip_header_len(ip) + behind);
}

/* Out of the underlay interface to the next host; neighbour resolution is the kernel's. */
static __always_inline int mz_send(const struct mz_config *config, const struct mz_host *via)
{
	struct bpf_redir_neigh hop;

	if (unlikely(!via->nexthop))
		return bpf_redirect_neigh(config->underlay_ifindex, NULL, 0, 0);
	/* Not an initializer: clang would copy it from .rodata, a map of its own. */
	__builtin_memset(&hop, 0, sizeof(hop));
	hop.nh_family = MZ_AF_INET;
	hop.ipv4_nh = via->nexthop;
	return bpf_redirect_neigh(config->underlay_ifindex, &hop, sizeof(hop), 0);
}

/* The frame as the endpoint shall see it. */
static __always_inline bool mz_address_to(struct __sk_buff *skb, const struct mz_endpoint *endpoint)
{
	struct mz_eth *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return false;
	mz_mac_set(eth->dst, endpoint->mac);
	mz_mac_set_router(eth->src);
	/* Entering the peer directly, nobody looks at the MAC again. */
	if (unlikely(skb->pkt_type != MZ_PACKET_HOST))
		bpf_skb_change_type(skb, MZ_PACKET_HOST);
	return true;
}

static __always_inline int mz_deliver(const struct mz_endpoint *endpoint)
{
	if (endpoint->flags & MZ_ENDPOINT_F_PEER)
		return bpf_redirect_peer(endpoint->ifindex, 0);
	return bpf_redirect(endpoint->ifindex, 0);
}

#endif
