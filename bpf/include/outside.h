/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * outside.h - what arrives at a gateway host from outside, for an address that it answers for.
 *
 * What holds:
 *  - Without an outside address on this host nothing here runs.
 *  - Nothing that is for the host itself is touched: at an address that is the host's own too, only
 *    packets of our sessions and port forwards are taken.
 *  - Into a VPC comes nothing that claims to be from inside it.
 */
#ifndef MIZAR_OUTSIDE_H
#define MIZAR_OUTSIDE_H

#include "arp.h"
#include "icmp.h"
#include "nat.h"
#include "router.h"
#include "scaled.h"

#define MZ_INWARD 0xf7u /* translated: MZ_EXIT(MZ_INWARD, VNI), and into that VPC next */
_Static_assert(MZ_VERDICT_MAX <= MZ_INWARD, "a verdict and MZ_INWARD fit one byte");

static __always_inline const struct mz_outside4 *mz_outside4_get(__be32 addr)
{
	return bpf_map_lookup_elem(&mz_outside4, &addr);
}

/* Probes (RFC 5227) are answered too: the address is taken. Global: see mz_next_replica(). */
__noinline mz_exit mz_outside_arp(struct __sk_buff *skb)
{
	const struct mz_config *config = mz_config_get();
	struct mz_eth *eth = (void *)(long)skb->data;
	struct mz_arp *arp = (void *)(eth + 1);
	const struct mz_outside4 *outside;
	__be32 target;

	if (!config || (void *)(arp + 1) > (void *)(long)skb->data_end)
		return MZ_V_PASS;
	target = mz_halves(arp->target);
	if (!mz_arp_is_sound(arp) || arp->op != bpf_htons(MZ_ARP_REQUEST) ||
	    mz_halves(arp->sender) == target)
		return MZ_V_PASS;
	outside = mz_outside4_get(target);
	if (!outside || outside->flags & MZ_OUTSIDE_F_HOST)
		return MZ_V_PASS;
	mz_arp_answer(eth, arp, config->underlay_mac);
	return MZ_EXIT(MZ_V_OUTSIDE_ARP, bpf_redirect(skb->ifindex, 0));
}

/* From the address that the packet was sent to. Global: see mz_next_replica(). */
__noinline mz_exit mz_icmp_outside(struct __sk_buff *skb, __u32 head, __u32 rest, __u32 from,
				   __u32 total)
{
	struct mz_icmp error = {.type = head >> 8, .code = head, .rest = bpf_htonl(rest)};

	if (!mz_icmp_turn(skb, &error, from, total))
		return MZ_DROP_HELPER;
	return MZ_EXIT(MZ_V_ICMP_OUTSIDE, bpf_redirect_neigh(skb->ifindex, NULL, 0, 0));
}

/* The most that the tunnel can carry, bytes of an IP packet; 0: the kernel will not say. */
static __always_inline __u32 mz_outside_mtu(struct __sk_buff *skb)
{
	__u32 mtu = 0;

	/* The answer is in @mtu, whatever the helper thinks of this packet. */
	bpf_check_mtu(skb, 0, &mtu, 0, 0);
	return mtu > MZ_ENVELOPE ? mtu - MZ_ENVELOPE : 0;
}

/* One router away: it must fit, and have time left. */
static __always_inline mz_exit mz_outside_hop(struct __sk_buff *skb, const struct mz_packet4 *p)
{
	__u32 mtu = mz_outside_mtu(skb);

	if (mz_is_too_big(skb, p, mtu)) {
		if (!(p->frag & MZ_IP_DF) || !mz_icmp_is_due(p))
			return MZ_DROP_OUTSIDE_TOO_BIG;
		return mz_icmp_outside(skb, MZ_ICMP_UNREACHABLE << 8 | MZ_ICMP_FRAG_NEEDED, mtu,
				       p->dst, p->total);
	}
	if (p->ttl <= 1) {
		if (!mz_icmp_is_due(p))
			return MZ_DROP_TTL;
		return mz_icmp_outside(skb, MZ_ICMP_TIME_EXCEEDED << 8, 0, p->dst, p->total);
	}
	return mz_decrement_ttl(skb) ? MZ_GO_ON : MZ_DROP_HELPER;
}

/* Are answers of what @key becomes given its address and port by the port forward alone? */
static __always_inline bool mz_leads_back(const struct mz_flow_key4 *key, const struct mz_flow4 *to)
{
	const struct mz_forward4 *back = mz_forward4_get(to->vni, to->dst, to->dport, key->proto);

	return back && back->addr == key->dst && back->port == key->dport;
}

/* They are not, as another one leads to the same port inside. */
static __always_inline mz_exit mz_nat_remember(const struct mz_tuple4 *t, struct mz_flow4 *to)
{
	mz_exit exit;

	if (t->quoted)
		return MZ_DROP_UNTRANSLATABLE;
	to->kind = MZ_FLOW_NAT;
	exit = mz_flow_make(&t->key, to, MZ_FLOW_NEW_OR_DEAD);
	return exit == MZ_FLOW_TAKEN ? MZ_DROP_NAT_EXHAUSTED : exit;
}

/* What a packet to address @outside becomes inside. @exit is what mz_tuple_read() said of it. */
static __always_inline mz_exit mz_nat_inward(struct mz_tuple4 *t, const struct mz_outside4 *outside,
					     struct mz_flow4 *to, mz_exit exit)
{
	const struct mz_forward4 *forward;

	if (outside->endpoint) {
		mz_nat_keep(t, outside->vni, to);
		to->dst = outside->endpoint;
		return mz_nat_addresses(t, exit);
	}
	if (exit != MZ_GO_ON || mz_nat_session(t, MZ_FLOW_NAT, to))
		return exit;
	forward = mz_forward4_get(0, t->key.dst, t->key.dport, t->key.proto);
	if (!forward)
		return MZ_DROP_NAT_UNKNOWN;
	mz_nat_keep(t, forward->vni, to);
	to->dst = forward->addr;
	to->dport = forward->port;
	return mz_leads_back(&t->key, to) ? MZ_GO_ON : mz_nat_remember(t, to);
}

/* An address of the VPC, or of a peer: nobody outside has it. */
static __always_inline bool mz_is_inside(__u32 vni, __be32 addr)
{
	const struct mz_route *route = mz_route4_seek(vni, addr);

	return route && (route->kind == MZ_ROUTE_DIVIDER || route->kind == MZ_ROUTE_NETWORK ||
			 route->kind == MZ_ROUTE_NONE);
}

/* MZ_GO_ON: the packet has a place inside, @to, and may come in. Global: see mz_next_replica(). */
__noinline mz_exit mz_nat_find_inside(struct __sk_buff *skb, struct mz_tuple4 *t,
				      struct mz_flow4 *to)
{
	const struct mz_outside4 *outside;
	mz_exit exit;

	if (!t || !to)
		return MZ_DROP_HELPER;
	exit = mz_tuple_read(skb, 0, t);
	outside = mz_outside4_get(t->key.dst);
	if (!outside)
		return MZ_V_PASS;
	exit = mz_nat_inward(t, outside, to, exit);
	/* The host's own, who can tell. */
	if (exit != MZ_GO_ON)
		return outside->flags & MZ_OUTSIDE_F_HOST ? MZ_V_PASS : exit;
	return mz_is_inside(to->vni, t->from) ? MZ_DROP_SPOOFED_IP : MZ_GO_ON;
}

/* Global: see mz_next_replica(). */
__noinline mz_exit mz_outside_ip(struct __sk_buff *skb)
{
	struct mz_tuple4 t = {};
	struct mz_flow4 to = {};
	struct mz_packet4 p = {};
	mz_exit exit;

	mz_linear4(skb);
	exit = mz_nat_find_inside(skb, &t, &to);
	if (exit != MZ_GO_ON)
		return exit;
	exit = mz_read_packet4((void *)(long)skb->data, (void *)(long)skb->data_end, skb->len, &p);
	if (exit == MZ_GO_ON)
		exit = mz_trim(skb, &p);
	if (exit == MZ_GO_ON)
		exit = mz_outside_hop(skb, &p);
	if (exit == MZ_GO_ON)
		exit = mz_translate(skb, &t, &to);
	return exit == MZ_GO_ON ? MZ_EXIT(MZ_INWARD, to.vni) : exit;
}

/* @out, on its way into VPC @vni. Global: see mz_next_replica(). */
__noinline mz_exit mz_describe(struct __sk_buff *skb, __u32 vni, struct mz_outgoing *out)
{
	const struct mz_config *config = mz_config_get();
	struct mz_packet4 p = {};
	mz_exit exit;

	if (!config || !out)
		return MZ_DROP_NO_CONFIG;
	exit = mz_read_packet4((void *)(long)skb->data, (void *)(long)skb->data_end, skb->len, &p);
	if (exit != MZ_GO_ON)
		return exit;
	__builtin_memset(out, 0, sizeof(*out));
	out->q.key.vni = vni;
	out->q.key.addr = p.dst;
	out->q.self = config->underlay_addr;
	out->q.sport = mz_sport_of(mz_flow_of(&p));
	out->bytes = skb->len;
	out->tos = p.tos;
	mz_mac_set_router(out->dst);
	mz_mac_set_kind(out->src, MZ_MAC_GATEWAY, 0);
	return exit;
}

/* A plain packet, translated, goes into VPC @vni like one of an endpoint here. */
static __always_inline mz_exit mz_enter(struct __sk_buff *skb, __u32 vni)
{
	struct mz_outgoing *out = mz_scratch_get();
	mz_exit exit = out ? mz_describe(skb, vni, out) : MZ_DROP_HELPER;

	if (exit != MZ_GO_ON || !out)
		return exit;
	exit = mz_onward(skb, out);
	if (exit == MZ_ASK)
		exit = mz_ask_network(skb, out);
	exit = mz_route_scaled(skb, out, exit);
	return exit == MZ_DROP_NO_BACKEND ? mz_refuse_outside(skb, vni) : exit;
}

static __always_inline void mz_count_in(__u32 vni, __u32 bytes)
{
	const struct mz_gateway4 *gateway = bpf_map_lookup_elem(&mz_gateways4, &vni);

	if (gateway)
		mz_count_rx(gateway->slot, bytes);
}

static __always_inline mz_exit mz_from_outside_ip(struct __sk_buff *skb)
{
	mz_exit exit = mz_outside_ip(skb);
	__u32 vni = exit >> 8, bytes = skb->len;

	if ((exit & 0xff) != MZ_INWARD)
		return exit;
	exit = mz_enter(skb, vni);
	if (mz_is_drop(exit) || (exit & 0xff) == MZ_V_REFUSED)
		return exit;
	mz_count_in(vni, bytes);
	return MZ_EXIT(MZ_V_NAT_IN, exit >> 8);
}

/* Not a tunnel packet for us: is it for an address outside that is ours? */
static __always_inline mz_exit mz_from_outside(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return mz_outside_arp(skb);
	return skb->protocol == bpf_htons(ETH_P_IP) ? mz_from_outside_ip(skb) : MZ_V_PASS;
}

#endif
