/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * outgoing.h - a plain packet goes into the VPC: into an envelope and off to the next host.
 *
 * Who sends it does not matter here: an endpoint of this host at its first hop, or this host itself,
 * which has a packet from elsewhere to send on.
 */
#ifndef MIZAR_OUTGOING_H
#define MIZAR_OUTGOING_H

#include "deliver.h"
#include "port.h"
#include "maps/direct4.h"
#include "maps/scratch.h"

#define MZ_ENCAP_FLAGS                                                                           \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | \
	 BPF_F_ADJ_ROOM_ENCAP_L2(MZ_ETH_LEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)

/* A packet on its way. No pointers, as global functions take none. */
struct mz_outgoing {
	struct mz_question q;
	__u32 bytes;   /* of the frame, as it came */
	__u32 slot;    /* mz_stats slot of who sends it; 0: it is counted already */
	__u32 ifindex; /* of the endpoint that sends it; 0: none of this host */
	__be32 prefer; /* backend that a scaled endpoint is asked for, as @dst says too; or 0 */
	__u16 dst[3];  /* inner MACs */
	__u16 src[3];
	__u8 on_link;
	__u8 tos;
	__u16 pad;
};

_Static_assert(sizeof(struct mz_outgoing) <= sizeof(struct mz_scratch), "fits the scratch room");

/* In place of a verdict: the packet is to go through the network, mz_ask_network(). */
#define MZ_ASK 0xfau
_Static_assert(MZ_VERDICT_MAX <= MZ_ASK, "a verdict and MZ_ASK fit one byte");

/*
 * Room for the outer headers. Refused where the packet already is a tunnel's, because the endpoint
 * has one of its own, or forwards what another tunnel brought: then without telling the kernel.
 */
static __always_inline bool mz_make_room(struct __sk_buff *skb, __s32 room)
{
	if (likely(!bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, MZ_ENCAP_FLAGS)))
		return true;
	return !bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* @vni: of the peer VPC into which the packet crosses, or 0. */
static __always_inline void mz_write_inner_eth(struct mz_eth *eth, const struct mz_outgoing *out,
					       __u32 vni)
{
	bool forwarded;

	mz_mac_set(eth->dst, out->dst);
	mz_mac_set(eth->src, out->src);
	eth->proto = bpf_htons(ETH_P_IP);
	if (likely(!vni))
		return;
	forwarded =
		mz_mac_is_kind(out->src, MZ_MAC_VIA) || mz_mac_is_kind(out->src, MZ_MAC_GATEWAY);
	mz_mac_set_kind(eth->src, MZ_MAC_PEER, mz_mac_peer(out->q.key.vni, forwarded));
}

/* @opt_len, 0 or MZ_OPT_LEN, is a constant wherever this is called. */
static __always_inline bool mz_encap(struct __sk_buff *skb, const struct mz_outgoing *out,
				     const struct mz_next *next, __u32 opt_len)
{
	struct mz_envelope envelope = {
		.vni = next->vni ? next->vni : out->q.key.vni,
		.from = out->q.self,
		.to = next->host,
		.sport = out->q.sport,
		.tos = out->tos,
		.opt_len = opt_len,
	};
	__u32 total = skb->len - MZ_ETH_LEN + MZ_ROOM + opt_len;
	void *data;

	if (total > 0xffff || !mz_make_room(skb, MZ_ROOM + opt_len))
		return false;
	data = (void *)(long)skb->data;
	if (data + MZ_ETH_LEN + MZ_ROOM + opt_len > (void *)(long)skb->data_end)
		return false;
	mz_write_ip_udp(data + MZ_OFF_IP, &envelope, total);
	mz_write_geneve(data + MZ_OFF_GENEVE, &envelope);
	if (opt_len)
		mz_write_rts(data + MZ_OFF_OPTIONS, out->q.self, next->hop);
	mz_write_inner_eth(data + MZ_OFF_OPTIONS + opt_len, out, next->vni);
	mz_count_tx(out->slot, out->bytes);
	return true;
}

/* Into an endpoint of this host, in VPC @vni. */
static __always_inline mz_exit mz_deliver_local(struct __sk_buff *skb,
						const struct mz_outgoing *out,
						const struct mz_endpoint *endpoint, __u32 vni,
						__be32 source)
{
	mz_exit exit = mz_as_it_knows(skb, endpoint, vni, source);

	if (unlikely(exit != MZ_GO_ON))
		return exit;
	if (!mz_address_to(skb, endpoint))
		return MZ_DROP_HELPER;
	mz_count_tx(out->slot, out->bytes);
	mz_count_rx(endpoint->slot, out->bytes);
	return MZ_EXIT(MZ_V_LOCAL, mz_deliver(endpoint));
}

/*
 * In place of a verdict: the destination is on this very host, in the peer VPC whose VNI follows. The
 * program ends with mz_deliver_peer(), where stacks are small.
 */
#define MZ_IN_PEER 0xf8u
_Static_assert(MZ_VERDICT_MAX <= MZ_IN_PEER, "a verdict and MZ_IN_PEER fit one byte");

/* Global: see mz_next_replica(). */
__noinline mz_exit mz_seek_peer(__u32 vni, __u32 addr, __u32 otherwise)
{
	struct mz_addr_key4 key = {.vni = vni, .addr = addr};

	return vni && mz_endpoint4_get(&key) ? MZ_EXIT(MZ_IN_PEER, vni) : otherwise;
}

/* The way of a plain packet has ended with @exit; @slot and @bytes as in mz_outgoing. Global: see
 * mz_next_replica(). */
__noinline mz_exit mz_deliver_peer(struct __sk_buff *skb, mz_exit exit, __u32 slot, __u32 bytes)
{
	struct mz_addr_key4 key = {.vni = exit >> 8, .addr = mz_destination_of(skb)};
	const struct mz_endpoint *endpoint = mz_endpoint4_get(&key);
	struct mz_outgoing out = {.slot = slot, .bytes = bytes};

	if (!endpoint)
		return MZ_DROP_NOT_HERE;
	return mz_deliver_local(skb, &out, endpoint, key.vni, mz_source_of(skb));
}

static __always_inline mz_exit mz_unless_in_peer(struct __sk_buff *skb, mz_exit exit, __u32 slot,
						 __u32 bytes)
{
	if (likely((exit & 0xff) != MZ_IN_PEER))
		return exit;
	return mz_deliver_peer(skb, exit, slot, bytes);
}

static __always_inline mz_exit mz_ask_own_network(const struct mz_outgoing *out,
						  struct mz_next *next)
{
	const struct mz_port *port = mz_port_seek(out->ifindex);

	return port ? mz_choose_bouncer(&out->q, port->network, port->shards, next)
		    : MZ_DROP_UNKNOWN_PORT;
}

/* Not known to be anywhere: through the network. Global: see mz_next_replica(). */
__noinline mz_exit mz_ask_network(struct __sk_buff *skb, const struct mz_outgoing *out)
{
	const struct mz_config *config = mz_config_get();
	struct mz_next next = {};
	mz_exit exit;

	if (!config || !out)
		return MZ_DROP_NO_CONFIG;
	if (out->on_link)
		exit = mz_ask_own_network(out, &next);
	else
		exit = mz_choose_in_vpc(&out->q, mz_vpc_get(out->q.key.vni), false, &next);
	if (unlikely(mz_is_scaled(exit)))
		mz_count_roles(&next, out->bytes);
	if (exit >= MZ_DROP_FIRST || !next.via)
		return mz_seek_peer(next.vni, out->q.key.addr, exit);
	if (!mz_encap(skb, out, &next, MZ_OPT_LEN))
		return MZ_DROP_HELPER;
	mz_count_roles(&next, out->bytes);
	return MZ_EXIT(exit, mz_send(config, next.via));
}

/* The first route of those that whoever sends it has to follow. */
static __always_inline const struct mz_route *mz_route_of(const struct mz_outgoing *out)
{
	const struct mz_port *port = out->ifindex ? mz_port_seek(out->ifindex) : NULL;

	return mz_route4_get(port ? mz_port_table(port) : out->q.key.vni, out->q.key.addr);
}

/* Is the destination still in peer VPC @vni, as was learnt? It is no longer if the peering has ended. */
__noinline bool mz_is_in_peer(const struct mz_outgoing *out, __u32 vni)
{
	const struct mz_route *route;

	if (!out)
		return false;
	route = mz_route_of(out);
	return route && route->kind <= MZ_ROUTE_NONE && route->target == vni;
}

/* In place of a verdict: the destination is a scaled endpoint, and mz_to_backend() may know the way. */
#define MZ_TO_BACKEND 0xfbu
_Static_assert(MZ_VERDICT_MAX <= MZ_TO_BACKEND, "a verdict and MZ_TO_BACKEND fit one byte");

/* The direct path, if it is known, not too old, and its host is not down. */
static __always_inline mz_exit mz_direct_path(struct __sk_buff *skb, const struct mz_config *config,
					      const struct mz_outgoing *out)
{
	struct mz_next next = {.hop = MZ_HOP_PROBE};
	struct mz_direct direct;
	__u32 age;

	if (!mz_direct4_get(&out->q.key, &direct))
		return MZ_GO_ON;
	if (unlikely(!direct.host)) {
		/* No answer does: those are of the backends. */
		mz_direct4_renew(&out->q.key);
		return MZ_TO_BACKEND;
	}
	age = mz_direct4_age(&direct);
	if (age >= config->hard_ms)
		return MZ_GO_ON;
	mz_next_host(&next, direct.host);
	if (!mz_is_up(next.via))
		return MZ_GO_ON;
	if (unlikely(direct.vni != out->q.key.vni)) {
		next.vni = direct.vni;
		if (!mz_is_in_peer(out, next.vni))
			return MZ_GO_ON;
		if (next.via->flags & MZ_HOST_F_SELF)
			return mz_seek_peer(next.vni, out->q.key.addr, MZ_GO_ON);
	}
	if (age < config->soft_ms) {
		if (!mz_encap(skb, out, &next, 0))
			return MZ_DROP_HELPER;
		return MZ_EXIT(MZ_V_DIRECT, mz_send(config, next.via));
	}
	if (!mz_encap(skb, out, &next, MZ_OPT_LEN))
		return MZ_DROP_HELPER;
	return MZ_EXIT(MZ_V_DIRECT_PROBE, mz_send(config, next.via));
}

#endif
