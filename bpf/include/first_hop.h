/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * first_hop.h - a packet of an endpoint: is it allowed, where to, and off.
 */
#ifndef MIZAR_FIRST_HOP_H
#define MIZAR_FIRST_HOP_H

#include "arp.h"
#include "icmp.h"
#include "outgoing.h"
#include "maps/flows4.h"
#include "maps/frags4.h"
#include "maps/watched.h"
#include "maps/services4.h"
#include "maps/maglev4.h"
#include "maps/backends4.h"
#include "maps/gateways4.h"
#include "maps/outside4.h"
#include "maps/floating4.h"
#include "maps/forwards4.h"

/* Who sends, and what. */
struct mz_sender {
	const struct mz_config *config;
	const struct mz_port *port;
	struct mz_packet4 packet;
	__u32 bytes; /* of the frame, as it came */
};

static __always_inline mz_exit mz_deliver_local(struct __sk_buff *skb, const struct mz_sender *s,
						const struct mz_endpoint *endpoint)
{
	if (!mz_address_to(skb, endpoint))
		return MZ_DROP_HELPER;
	mz_count_tx(s->port->slot, s->bytes);
	mz_count_rx(endpoint->slot, s->bytes);
	return MZ_EXIT(MZ_V_LOCAL, mz_deliver(endpoint));
}

static __always_inline mz_exit mz_route(struct __sk_buff *skb, const struct mz_sender *s,
					bool on_link)
{
	struct mz_outgoing out = {
		.q.key = {.vni = s->port->vni, .addr = s->packet.dst},
		.q.self = s->config->underlay_addr,
		.bytes = s->bytes,
		.slot = s->port->slot,
		.on_link = on_link,
		.tos = s->packet.tos,
	};
	const struct mz_endpoint *endpoint = mz_endpoint4_get(&out.q.key);
	mz_exit exit;

	if (endpoint)
		return mz_deliver_local(skb, s, endpoint);
	mz_mac_set_router(out.dst);
	mz_mac_set(out.src, s->port->mac);
	out.network = s->port->network;
	out.shards = s->port->shards;
	out.q.sport = mz_sport_of(mz_flow_of(&s->packet));
	exit = mz_direct_path(skb, s->config, &out);
	return exit == MZ_GO_ON ? mz_ask_network(skb, &out) : exit;
}

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

/* Off-link is one router away, and we are the router. */
static __always_inline mz_exit mz_router_hop(struct __sk_buff *skb, const struct mz_sender *s)
{
	if (s->packet.ttl <= 1)
		return mz_icmp_ttl(skb, &s->packet);
	return mz_decrement_ttl(skb) ? MZ_GO_ON : MZ_DROP_HELPER;
}

static __always_inline mz_exit mz_may_send(struct __sk_buff *skb, const struct mz_sender *s)
{
	const struct mz_packet4 *p = &s->packet;

	/* Nor to "this network" and loopback, RFC 1122 s3.2.1.3. */
	if (mz_ip_is_group(p->dst) || !(p->dst & bpf_htonl(0xff000000)) ||
	    (p->dst & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000))
		return MZ_DROP_MULTICAST;
	if (!mz_port_has(s->port, skb->ifindex, p->src))
		return MZ_DROP_SPOOFED_IP;
	if (p->dst == bpf_htonl(MZ_GATEWAY4))
		return mz_icmp_gateway(skb, s->port, p);
	if (mz_is_too_big(skb, p, s->port->mtu))
		return mz_icmp_too_big(skb, s->port->mtu, p);
	return MZ_GO_ON;
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

static __always_inline mz_exit mz_first_hop_ip(struct __sk_buff *skb, struct mz_sender *s)
{
	bool on_link;
	mz_exit exit;

	exit = mz_read_packet4((void *)(long)skb->data, (void *)(long)skb->data_end, skb->len,
			       &s->packet);
	if (exit == MZ_GO_ON)
		exit = mz_trim(skb, &s->packet);
	if (exit == MZ_GO_ON)
		exit = mz_may_send(skb, s);
	if (exit != MZ_GO_ON)
		return exit;
	on_link = mz_port_on_link(s->port, s->packet.dst);
	if (!on_link)
		exit = mz_router_hop(skb, s);
	return exit == MZ_GO_ON ? mz_route(skb, s, on_link) : exit;
}

static __always_inline mz_exit mz_first_hop(struct __sk_buff *skb)
{
	struct mz_sender s = {.port = mz_port_get(skb->ifindex), .bytes = skb->len};
	const struct mz_eth *eth;

	if (!s.port)
		return MZ_DROP_UNKNOWN_PORT;
	s.config = mz_config_get();
	if (!s.config)
		return MZ_DROP_NO_CONFIG;
	mz_linear(skb, MZ_NEED_PACKET4);
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return MZ_DROP_MALFORMED_ETH;
	if (!mz_mac_is(eth->src, s.port->mac))
		return MZ_DROP_SPOOFED_MAC;
	if (eth->proto == bpf_htons(ETH_P_ARP))
		return mz_first_hop_arp(skb);
	if (mz_mac_is_group(eth->dst))
		return MZ_DROP_MULTICAST;
	if (eth->proto != bpf_htons(ETH_P_IP))
		return MZ_DROP_NOT_IPV4;
	return mz_first_hop_ip(skb, &s);
}

#endif
