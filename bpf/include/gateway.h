/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * gateway.h - through which gateway host do the packets of a flow leave their VPC? Asked by the
 * endpoint's host.
 *
 * What holds:
 *  - A flow stays with its gateway host while that is up, as its session is there: mz_flows4 has an
 *    entry of kind VIA for it. Where the table is full the choice is only made anew each time.
 *  - Of the hosts that are up a new flow is given the one with the highest weight, so a host that comes
 *    or goes moves its own share of the flows and no other.
 *  - What came in through a gateway host is answered through it, whatever the route says.
 */
#ifndef MIZAR_GATEWAY_H
#define MIZAR_GATEWAY_H

#include "choose.h"
#include "flow.h"
#include "maps/gateways4.h"

#define MZ_WEIGHT_KNOWN (1ull << 32)
#define MZ_WEIGHT_UP (1ull << 33)

/*
 * Of the gateway hosts that are up the one with the highest weight, but rather @known if it is one of
 * them; 0: there is none. If none is up any will do, since health is an opinion. Global: see
 * mz_next_replica().
 */
__noinline __u32 mz_pick_gateway(__u32 network, __u32 hash, __u32 known)
{
	struct mz_shard_key key = {.network = network};
	const struct mz_shard *shard = mz_shard_seek(&key);
	__u32 n = shard ? MZ_MIN(shard->n, MZ_MAX_REPLICAS) : 0;
	__u64 heaviest = 0;
	__u32 best = 0;

	if (!shard)
		return 0;
	for (__u32 i = 0; i < MZ_MAX_REPLICAS && i < n; i++) {
		__u32 host = shard->hosts[i], state = mz_host_state(host);
		__u64 weight = mz_mix32(hash ^ bpf_ntohl(host));

		if (!(state & MZ_HOST_LISTED))
			continue;
		if (state & MZ_HOST_UP)
			weight |= MZ_WEIGHT_UP;
		if (host == known)
			weight |= MZ_WEIGHT_KNOWN;
		if (!best || weight > heaviest) {
			best = host;
			heaviest = weight;
		}
	}
	return best;
}

static __always_inline __u32 mz_key_hash(const struct mz_flow_key4 *key)
{
	return mz_flow_hash(bpf_ntohl(key->src), bpf_ntohl(key->dst), key->proto,
			    (__u32)bpf_ntohs(key->sport) << 16 | bpf_ntohs(key->dport));
}

static __always_inline void mz_via_note(const struct mz_flow_key4 *key, __be32 host, __u8 state)
{
	struct mz_flow4 flow = {
		.src = key->src,
		.dst = key->dst,
		.sport = key->sport,
		.dport = key->dport,
		.vni = key->vni,
		.via = host,
		.state = state,
		.kind = MZ_FLOW_VIA,
	};

	mz_flow_note(key, &flow);
}

/* Not in the shard any more, but it is where the flow came in, perhaps by another gateway. */
static __always_inline bool mz_via_stands(const struct mz_flow4 *flow)
{
	return flow->state & MZ_FLOW_S_REVERSE && mz_host_state(flow->via) & MZ_HOST_UP;
}

/*
 * The gateway host for the packet, an endpoint's; shard 0 of @network names those that there are. 0: there
 * is none. Global: see mz_next_replica().
 */
__noinline __u32 mz_via(struct __sk_buff *skb, __u32 vni, __u32 network, __u32 self)
{
	struct mz_tuple4 t = {};
	struct mz_flow4 *flow;
	bool has_flow = mz_tuple_read(skb, vni, &t) == MZ_GO_ON;
	__u32 host;

	flow = has_flow ? mz_flow_find(&t.key) : NULL;
	if (flow && flow->kind != MZ_FLOW_VIA) {
		/* The session itself, unless it is left of a gateway that was here. */
		if (bpf_map_lookup_elem(&mz_gateways4, &vni))
			return self;
		flow = NULL;
	}
	if (flow && mz_via_stands(flow))
		host = flow->via;
	else
		host = mz_pick_gateway(network, mz_key_hash(&t.key), flow ? flow->via : 0);
	if (flow && flow->via == host)
		mz_flow_touch(&t, flow);
	else if (host && has_flow && !t.quoted)
		mz_via_note(&t.key, host, 0);
	return host;
}

/* What a packet of the other direction does to the state. */
static __always_inline __u8 mz_via_news(__u8 state, __u8 event)
{
	return mz_flow_news(state ^ MZ_FLOW_S_REVERSE, event) ^ MZ_FLOW_S_REVERSE;
}

/*
 * The packet, Ethernet and IPv4, came in through gateway @host and is delivered on this one: so do
 * answers. Global: see mz_next_replica().
 */
__noinline int mz_via_learn(struct __sk_buff *skb, __u32 vni, __u32 host)
{
	struct mz_tuple4 t = {};
	struct mz_flow4 *flow;
	__u8 state;

	if (mz_tuple_read(skb, vni, &t) != MZ_GO_ON || t.quoted)
		return 0;
	mz_key_turn(&t.key);
	flow = mz_flow_find(&t.key);
	if (!flow || (flow->kind == MZ_FLOW_VIA && flow->via != host)) {
		mz_via_note(&t.key, host, MZ_FLOW_S_REVERSE);
		return 0;
	}
	state = mz_via_news(flow->state, t.event);
	if (flow->kind != MZ_FLOW_VIA || (state == flow->state && !mz_flow_age(flow->seen)))
		return 0;
	flow->state = state;
	flow->seen = mz_now_s();
	return 0;
}

#endif
