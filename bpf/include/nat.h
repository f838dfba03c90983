/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * nat.h - a gateway host: what leaves a VPC, and what comes back, is translated here.
 *
 * What holds:
 *  - Floating addresses and port forwards are rules, not sessions: any gateway host can apply them, none
 *    has to remember. Only where two port forwards lead to the same port inside there is a session, to
 *    tell the answers of one from those of the other. Sessions come before port forwards, so that those
 *    which are older than it go on.
 *  - Source NAT makes a session. Outside, two flows never have the same addresses, ports and protocol:
 *    the backward entry, whose key they are, is only ever inserted where there is none. So a port is free
 *    again when the agent has taken the dead entry away.
 *  - Ports that are forwarded are given to no session.
 */
#ifndef MIZAR_NAT_H
#define MIZAR_NAT_H

#include "gateway.h"
#include "refuse.h"
#include "translate.h"
#include "maps/floating4.h"
#include "maps/forwards4.h"
#include "maps/gateways4.h"
#include "maps/outside4.h"
#include "maps/stats.h"

#define MZ_NAT_TRIES 128

/* IANA; not in <linux/in.h> for all that can be carried between addresses without a look inside. */
static __always_inline bool mz_has_no_ports(__u8 proto)
{
	return proto == IPPROTO_GRE || proto == IPPROTO_ESP || proto == IPPROTO_IPIP;
}

/*
 * 1:1, so addresses alone will do: for protocols without ports, and for fragments whose first one has
 * not been seen. @exit is what mz_tuple_read() said.
 */
static __always_inline mz_exit mz_nat_addresses(struct mz_tuple4 *t, mz_exit exit)
{
	if (exit == MZ_DROP_FRAGMENT ||
	    (exit == MZ_DROP_UNTRANSLATABLE && mz_has_no_ports(t->key.proto))) {
		t->is_fragment = MZ_FRAGMENT_LATER;
		return MZ_GO_ON;
	}
	return exit;
}

/* Becomes itself, in VPC @vni; the caller changes what changes. */
static __always_inline void mz_nat_keep(const struct mz_tuple4 *t, __u32 vni, struct mz_flow4 *to)
{
	to->src = t->key.src;
	to->dst = t->key.dst;
	to->sport = t->key.sport;
	to->dport = t->key.dport;
	to->vni = vni;
}

static __always_inline const struct mz_forward4 *mz_forward4_get(__u32 vni, __be32 addr,
								 __be16 port, __u8 proto)
{
	struct mz_service_key4 key = {.vni = vni, .addr = addr, .port = port, .proto = proto};

	return bpf_map_lookup_elem(&mz_forwards4, &key);
}

/* ------------------------------------------------------------ source NAT */

/* Not to a session: ports that are forwarded, and that of the tunnel, as the address may be the host's. */
static __always_inline bool mz_nat_is_given(const struct mz_flow_key4 *key,
					    const struct mz_flow4 *to)
{
	if (key->proto == IPPROTO_UDP && to->sport == bpf_htons(MZ_GENEVE_PORT))
		return true;
	return mz_forward4_get(0, to->src, to->sport, key->proto);
}

/* Can the flow of @key have port @port outside? As mz_flow_make(). Global: see mz_next_replica(). */
__noinline mz_exit mz_nat_try(const struct mz_flow_key4 *key, struct mz_flow4 *to, __u32 port)
{
	if (!key || !to)
		return MZ_DROP_HELPER;
	to->sport = bpf_htons(port);
	return mz_nat_is_given(key, to) ? MZ_FLOW_TAKEN : mz_flow_make(key, to, MZ_FLOW_NEW);
}

/* As many flows of a source as can have the same address outside. RFC 4787 REQ-2. */
static __always_inline __be32 mz_nat_address(const struct mz_gateway4 *gateway,
					     const struct mz_flow_key4 *key)
{
	__u32 n = MZ_MIN(gateway->n, MZ_MAX_OUTSIDE);
	__u32 at = (__u64)mz_mix32(bpf_ntohl(key->src) ^ mz_mix32(key->vni)) * n >> 32;

	return at < MZ_MAX_OUTSIDE ? gateway->addrs[at] : 0;
}

/*
 * A new flow of @key gets an address and a port outside: @to, which is a session then. SCTP keeps its
 * port, see translate.h. Global: see mz_next_replica().
 */
__noinline mz_exit mz_nat_bind(const struct mz_flow_key4 *key, struct mz_flow4 *to)
{
	const struct mz_gateway4 *gateway;
	__u32 first, n, at;

	if (!key || !to)
		return MZ_DROP_HELPER;
	gateway = bpf_map_lookup_elem(&mz_gateways4, &key->vni);
	if (!gateway || !gateway->n)
		return MZ_DROP_NO_GATEWAY;
	first = key->proto == IPPROTO_SCTP ? bpf_ntohs(key->sport) : gateway->first_port;
	n = key->proto == IPPROTO_SCTP ? 1 : gateway->last_port + 1 - first;
	if (!n || n > 0x10000)
		return MZ_DROP_NAT_EXHAUSTED;
	at = (__u64)mz_key_hash(key) * n >> 32;
	to->src = mz_nat_address(gateway, key);
	to->kind = MZ_FLOW_NAT;
	for (__u32 i = 0; i < MZ_NAT_TRIES && i < n; i++) {
		mz_exit exit = mz_nat_try(key, to, first + (at + i) % n);

		if (exit != MZ_FLOW_TAKEN)
			return exit;
	}
	return MZ_DROP_NAT_EXHAUSTED;
}

/* ------------------------------------------------------------ out */

/* The session that the packet belongs to, if it has one of @kind. */
static __always_inline bool mz_nat_session(const struct mz_tuple4 *t, __u32 kind,
					   struct mz_flow4 *to)
{
	struct mz_flow4 *flow = mz_flow_find(&t->key);

	if (!flow || flow->kind != kind)
		return false;
	mz_flow_touch(t, flow);
	*to = *flow;
	return true;
}

/* Only what asks begins a session. */
static __always_inline bool mz_nat_begins(const struct mz_tuple4 *t)
{
	return !t->quoted && (t->key.proto != IPPROTO_ICMP || !t->key.dport);
}

/*
 * What a packet of VPC t->key.vni becomes outside. @exit is what mz_tuple_read() said of it. Global: see
 * mz_next_replica().
 */
__noinline mz_exit mz_nat_outward(struct mz_tuple4 *t, struct mz_flow4 *to, mz_exit exit)
{
	const struct mz_floating4 *floating;
	const struct mz_forward4 *forward;
	struct mz_addr_key4 sender;

	if (!t || !to)
		return MZ_DROP_HELPER;
	mz_nat_keep(t, 0, to);
	sender = (struct mz_addr_key4){.vni = t->key.vni, .addr = t->key.src};
	floating = bpf_map_lookup_elem(&mz_floating4, &sender);
	if (floating) {
		to->src = floating->addr;
		return mz_nat_addresses(t, exit);
	}
	if (exit != MZ_GO_ON || mz_nat_session(t, MZ_FLOW_NAT, to))
		return exit;
	forward = mz_forward4_get(t->key.vni, t->key.src, t->key.sport, t->key.proto);
	if (forward) {
		to->src = forward->addr;
		to->sport = forward->port;
		return MZ_GO_ON;
	}
	return mz_nat_begins(t) ? mz_nat_bind(&t->key, to) : MZ_DROP_UNTRANSLATABLE;
}

/* The backend of a scaled endpoint answers a client outside: first it is what it is to its VPC. */
static __always_inline mz_exit mz_nat_from_service(struct __sk_buff *skb, struct mz_tuple4 *t,
						   struct mz_flow4 *to)
{
	mz_exit exit;

	if (!mz_nat_session(t, MZ_FLOW_SERVICE, to))
		return MZ_GO_ON;
	exit = mz_translate(skb, t, to);
	return exit == MZ_GO_ON ? mz_tuple_read(skb, to->vni, t) : exit;
}

/* By the kernel's own routes. To an address that is ours the wire does not lead: in again at once. */
static __always_inline int mz_nat_send(const struct mz_gateway4 *gateway, __be32 dst)
{
	if (unlikely(bpf_map_lookup_elem(&mz_outside4, &dst)))
		return bpf_redirect(gateway->ifindex, BPF_F_INGRESS);
	return bpf_redirect_neigh(gateway->ifindex, NULL, 0, 0);
}

/*
 * A plain packet, Ethernet and IPv4, leaves VPC @vni, of which this host is a gateway. Global: see
 * mz_next_replica().
 */
__noinline mz_exit mz_nat_out(struct __sk_buff *skb, __u32 vni)
{
	const struct mz_gateway4 *gateway = bpf_map_lookup_elem(&mz_gateways4, &vni);
	struct mz_tuple4 t = {};
	struct mz_flow4 to = {};
	mz_exit exit;

	if (!gateway)
		return MZ_DROP_NO_GATEWAY;
	exit = mz_tuple_read(skb, vni, &t);
	if (exit == MZ_GO_ON)
		exit = mz_nat_from_service(skb, &t, &to);
	exit = mz_nat_outward(&t, &to, exit);
	if (exit == MZ_GO_ON)
		exit = mz_translate(skb, &t, &to);
	if (exit != MZ_GO_ON)
		return exit;
	mz_count_tx(gateway->slot, skb->len);
	return MZ_EXIT(MZ_V_NAT_OUT, mz_nat_send(gateway, to.dst));
}

/* No backend for a client outside: it is told like any other. Global: see mz_next_replica(). */
__noinline mz_exit mz_refuse_outside(struct __sk_buff *skb, __u32 vni)
{
	mz_exit exit = mz_turn_into_refusal(skb, vni);

	if (exit == MZ_GO_ON)
		exit = mz_nat_out(skb, vni);
	return mz_is_drop(exit) ? exit : MZ_EXIT(MZ_V_REFUSED, exit >> 8);
}

#endif
