/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * first_hop.h - a packet of an endpoint: is it allowed, where to, and off.
 */
#ifndef MIZAR_FIRST_HOP_H
#define MIZAR_FIRST_HOP_H

#include "first_hop_arp.h"
#include "first_hop_icmp.h"
#include "leave.h"
#include "refuse.h"
#include "router.h"
#include "scaled.h"

/* Who sends, and what. */
struct mz_sender {
	const struct mz_config *config;
	const struct mz_port *port;
	struct mz_packet4 packet;
	__u32 bytes;   /* of the frame, as it came */
	bool forwards; /* the packet is not from an address of the port */
};

/*
 * What a table of the network's own says, before anything that is known of the destination. Global:
 * see mz_next_replica().
 */
__noinline mz_exit mz_follow_route(struct __sk_buff *skb, struct mz_outgoing *out)
{
	const struct mz_port *port = mz_port_seek(skb->ifindex);
	const struct mz_route *route;

	if (!port || !out)
		return MZ_DROP_UNKNOWN_PORT;
	route = mz_route4_get(mz_port_table(port), out->q.key.addr);
	if (!route || route->kind != MZ_ROUTE_APPLIANCE)
		return mz_check_route(route, false);
	if (mz_port_has(port, skb->ifindex, route->target))
		return MZ_DROP_ROUTE_LOOP;
	out->q.key.addr = route->target;
	out->on_link = mz_port_on_link(port, route->target);
	mz_mac_set_kind(out->dst, MZ_MAC_VIA, route->target);
	return MZ_GO_ON;
}

/* Who it says that it is from: what is passed on for another tells where the port is, no more. */
static __always_inline void mz_set_source(struct mz_outgoing *out, const struct mz_sender *s)
{
	if (likely(!s->forwards))
		mz_mac_set(out->src, s->port->mac);
	else
		mz_mac_set_kind(out->src, MZ_MAC_VIA, s->port->addr);
}

static __always_inline void mz_describe_sender(struct mz_outgoing *out, const struct mz_sender *s)
{
	mz_set_source(out, s);
	out->q.sport = mz_sport_of(mz_flow_of(&s->packet));
}

/* By a table of the network's own. MZ_GO_ON: as without. */
static __always_inline mz_exit mz_route_first(struct __sk_buff *skb, const struct mz_sender *s,
					      struct mz_outgoing *out)
{
	mz_exit exit = mz_follow_route(skb, out);

	if (exit != MZ_DROP_NO_GATEWAY)
		return exit;
	mz_describe_sender(out, s);
	return mz_leave_vpc(skb, out);
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
	const struct mz_endpoint *endpoint;
	mz_exit exit = MZ_GO_ON;

	mz_mac_set_router(out.dst);
	if (unlikely(!on_link && s->port->flags & MZ_PORT_F_ROUTES))
		exit = mz_route_first(skb, s, &out);
	if (exit != MZ_GO_ON)
		return exit;
	endpoint = mz_endpoint4_get(&out.q.key);
	if (endpoint)
		return mz_deliver_local(skb, &out, endpoint, out.q.key.vni, s->packet.src);
	mz_describe_sender(&out, s);
	exit = mz_direct_path(skb, s->config, &out);
	if (exit == MZ_GO_ON)
		exit = mz_ask_network(skb, &out);
	if (unlikely(exit == MZ_DROP_NO_GATEWAY))
		return mz_leave_vpc(skb, &out);
	exit = mz_route_scaled(skb, &out, exit);
	return exit == MZ_DROP_NO_BACKEND ? mz_refuse(skb, out.q.key.vni, s->port->addr) : exit;
}

/* Off-link is one router away, and we are the router. */
static __always_inline mz_exit mz_router_hop(struct __sk_buff *skb, const struct mz_sender *s)
{
	if (s->packet.ttl <= 1)
		return mz_icmp_ttl(skb, &s->packet);
	return mz_decrement_ttl(skb) ? MZ_GO_ON : MZ_DROP_HELPER;
}

/* Sources that are not its own are for those who forward: also our own, of errors about what they forward. */
static __always_inline bool mz_may_be_from(const struct mz_port *port, __be32 src)
{
	return port->flags & MZ_PORT_F_FORWARDS && !mz_ip_is_nobody(src);
}

static __always_inline mz_exit mz_may_send(struct __sk_buff *skb, struct mz_sender *s)
{
	const struct mz_packet4 *p = &s->packet;

	if (mz_ip_is_nobody(p->dst))
		return MZ_DROP_MULTICAST;
	if (!mz_port_has(s->port, skb->ifindex, p->src)) {
		if (!mz_may_be_from(s->port, p->src))
			return MZ_DROP_SPOOFED_IP;
		s->forwards = true;
	}
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
	if (exit == MZ_GO_ON)
		exit = mz_route(skb, s, on_link);
	return mz_unless_in_peer(skb, exit, s->port->slot, s->bytes);
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
	mz_linear4(skb);
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
