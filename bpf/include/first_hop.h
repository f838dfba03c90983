/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * first_hop.h - a packet of an endpoint: is it allowed, where to, and off.
 */
#ifndef MIZAR_FIRST_HOP_H
#define MIZAR_FIRST_HOP_H

#include "first_hop_arp.h"
#include "first_hop_icmp.h"
#include "refuse.h"
#include "router.h"
#include "scaled.h"
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
	mz_exit exit = mz_as_it_knows(skb, endpoint, s->port->vni, s->packet.src);

	if (unlikely(exit != MZ_GO_ON))
		return exit;
	if (!mz_address_to(skb, endpoint))
		return MZ_DROP_HELPER;
	mz_count_tx(s->port->slot, s->bytes);
	mz_count_rx(endpoint->slot, s->bytes);
	return MZ_EXIT(MZ_V_LOCAL, mz_deliver(endpoint));
}

/* Global: see mz_next_replica(). */
__noinline mz_exit mz_first_hop_onward(struct __sk_buff *skb, struct mz_outgoing *out)
{
	return out ? mz_onward(skb, out) : MZ_DROP_HELPER;
}

/* @found: MZ_TO_BACKEND or MZ_SCALED. */
static __always_inline mz_exit mz_route_scaled(struct __sk_buff *skb, const struct mz_sender *s,
					       struct mz_outgoing *out, mz_exit found)
{
	struct mz_choice choice = {};
	mz_exit exit = found == MZ_TO_BACKEND ? mz_to_backend(skb, out) : found;

	if (exit == MZ_ASK)
		exit = mz_ask_network(skb, out);
	if (exit == MZ_SCALED) {
		exit = mz_choose_here(skb, out, &choice);
		if (exit == MZ_GO_ON)
			exit = mz_follow_choice(skb, out->q.key.vni, out->prefer, out->slot,
						&choice);
		if (exit == MZ_DROP_NO_BACKEND)
			return mz_refuse(skb, out->q.key.vni, s->port->addr);
	}
	return exit == MZ_GO_ON ? mz_first_hop_onward(skb, out) : exit;
}

static __always_inline mz_exit mz_route(struct __sk_buff *skb, const struct mz_sender *s,
					bool on_link)
{
	struct mz_outgoing out = {
		.q.key = {.vni = s->port->vni, .addr = s->packet.dst},
		.q.self = s->config->underlay_addr,
		.bytes = s->bytes,
		.slot = s->port->slot,
		.ifindex = skb->ifindex,
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
	if (exit == MZ_GO_ON)
		exit = mz_ask_network(skb, &out);
	if (unlikely(exit == MZ_TO_BACKEND || exit == MZ_SCALED))
		return mz_route_scaled(skb, s, &out, exit);
	return exit;
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
