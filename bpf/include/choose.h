/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * choose.h - to which host a packet goes next: a divider, a bouncer, or the
 * endpoint's host. Reads tables, touches no packet: the same for both hooks, for
 * packets of endpoints, packets in transit and stale ones.
 */
#ifndef MIZAR_CHOOSE_H
#define MIZAR_CHOOSE_H

#include "hash.h"
#include "verdict.h"
#include "maps/config.h"
#include "maps/hosts.h"
#include "maps/locations4.h"
#include "maps/routes4.h"
#include "maps/shards.h"
#include "maps/stats.h"
#include "maps/vpcs.h"

struct mz_next {
	const struct mz_host *via;
	__be32 host;
	__u32 hop;          /* enum mz_hop */
	__u32 divider_slot; /* roles that this host has played; 0: not played */
	__u32 bouncer_slot;
};

/* What is asked: where to with packets for @key from this outer port. */
struct mz_question {
	struct mz_addr_key4 key;
	__be32 self; /* our underlay address */
	__be16 sport;
	__u16 pad;
};

/* To be called once the packet is really on its way. */
static __always_inline void mz_count_roles(const struct mz_next *next, __u32 bytes)
{
	mz_count_tx(next->divider_slot, bytes);
	mz_count_tx(next->bouncer_slot, bytes);
}

static __always_inline void mz_next_host(struct mz_next *next, __be32 host)
{
	next->host = host;
	next->via = mz_host_get(host);
}

/*
 * The picked replica is down: the next one that is up, or 0. A global function, as others
 * below: the verifier looks at it once by itself, not with every state that led here.
 */
__noinline __u32 mz_next_replica(__u32 network, __u32 index, __u32 pick)
{
	struct mz_shard_key key = {.network = network, .shard = index};
	const struct mz_shard *shard = bpf_map_lookup_elem(&mz_shards, &key);
	__u32 n = shard ? MZ_MIN(shard->n, MZ_MAX_REPLICAS) : 0;

	if (!shard)
		return 0;
	for (__u32 i = 1; i < MZ_MAX_REPLICAS && i < n; i++) {
		__u32 at = pick + i < n ? pick + i : pick + i - n;

		if (at < MZ_MAX_REPLICAS && mz_host_state(shard->hosts[at]) & MZ_HOST_UP)
			return shard->hosts[at];
	}
	return 0;
}

/* The bouncer's question: on which host is it? */
static __always_inline mz_exit mz_choose_host(const struct mz_question *q, struct mz_next *next)
{
	const struct mz_location *location = mz_location4_get(&q->key);

	if (!location)
		return MZ_DROP_NO_ENDPOINT;
	if (location->host == q->self)
		return MZ_DROP_NOT_HERE;
	mz_next_host(next, location->host);
	if (!next->via)
		return MZ_DROP_UNKNOWN_HOST;
	next->hop = MZ_HOP_ENDPOINT;
	next->bouncer_slot = location->slot;
	return MZ_V_TO_ENDPOINT_HOST;
}

/* If none is up the picked one stays, since health is an opinion. */
static __always_inline void mz_avoid_down(const struct mz_shard_key *key, __u32 pick,
					  struct mz_next *next)
{
	__be32 other = mz_next_replica(key->network, key->shard, pick);

	if (!other)
		return;
	next->host = other;
	next->via = mz_host_seek(other);
}

/* The network is known: a bouncer, or if that is us, what it would do. */
static __always_inline mz_exit mz_choose_bouncer(const struct mz_question *q, __u32 network,
						 __u32 shards, struct mz_next *next)
{
	struct mz_shard_key key = mz_shard_key_of(network, shards, q->key.addr);
	const struct mz_shard *shard = bpf_map_lookup_elem(&mz_shards, &key);
	__u32 pick;

	if (!shard || !shard->n)
		return MZ_DROP_NO_BOUNCER;
	pick = mz_pick_replica(q->sport, MZ_MIN(shard->n, MZ_MAX_REPLICAS));
	mz_next_host(next, shard->hosts[pick]);
	if (unlikely(!mz_is_up(next->via)))
		mz_avoid_down(&key, pick, next);
	if (next->host == q->self)
		return mz_choose_host(q, next);
	if (!next->via)
		return MZ_DROP_UNKNOWN_HOST;
	next->hop = MZ_HOP_BOUNCER;
	return MZ_V_TO_BOUNCER;
}

#define MZ_CHOSEN(exit, host) ((__u64)(exit) << 32 | (host))

/*
 * A divider of the VPC other than @self: who asks here does not divide. The first that is up
 * from the picked one on, else the first that is listed at all.
 */
__noinline __u64 mz_pick_up_divider(__u32 vni, __u32 self, __u32 sport)
{
	const struct mz_vpc *vpc = mz_vpc_get(vni);
	__u32 n = vpc ? MZ_MIN(vpc->n_dividers, MZ_MAX_DIVIDERS) : 0;
	__u32 pick = mz_pick_divider(sport, n), any = 0;
	mz_exit why = MZ_DROP_NO_DIVIDER;

	if (!vpc)
		return MZ_CHOSEN(why, 0);
	for (__u32 i = 0; i < MZ_MAX_DIVIDERS && i < n; i++) {
		__u32 at = pick + i < n ? pick + i : pick + i - n;
		__u32 state;

		if (at >= MZ_MAX_DIVIDERS || vpc->dividers[at] == self)
			continue;
		why = MZ_DROP_UNKNOWN_HOST;
		state = mz_host_state(vpc->dividers[at]);
		if (state & MZ_HOST_UP)
			return MZ_CHOSEN(MZ_V_TO_DIVIDER, vpc->dividers[at]);
		if (state && !any)
			any = vpc->dividers[at];
	}
	return any ? MZ_CHOSEN(MZ_V_TO_DIVIDER, any) : MZ_CHOSEN(why, 0);
}

static __always_inline mz_exit mz_choose_divider(const struct mz_question *q, struct mz_next *next)
{
	__u64 chosen = mz_pick_up_divider(q->key.vni, q->self, q->sport);

	if (chosen >> 32 != MZ_V_TO_DIVIDER)
		return chosen >> 32;
	next->host = chosen;
	next->via = mz_host_seek(chosen);
	next->hop = MZ_HOP_DIVIDER;
	return next->via ? MZ_V_TO_DIVIDER : MZ_DROP_UNKNOWN_HOST;
}

/* The divider's question: which network is it in, and so which bouncer? */
static __always_inline mz_exit mz_choose_as_divider(const struct mz_question *q,
						    const struct mz_vpc *vpc, struct mz_next *next)
{
	const struct mz_route *route = mz_route4_get(q->key.vni, q->key.addr);

	if (!route)
		return MZ_DROP_NO_ROUTE;
	if (route->kind == MZ_ROUTE_NONE)
		return MZ_DROP_NO_NETWORK;
	/* Just made a divider, and not told all networks yet. */
	if (route->kind != MZ_ROUTE_NETWORK)
		return MZ_DROP_NO_DIVIDER;
	next->divider_slot = vpc->slot;
	return mz_choose_bouncer(q, route->network, route->shards, next);
}

/*
 * Somewhere in the VPC, asked by a host that has endpoints there. @own: it may use
 * the shards of its own networks, else crossing networks is the divider's job.
 */
static __always_inline mz_exit mz_choose_in_vpc(const struct mz_question *q,
						const struct mz_vpc *vpc, bool own,
						struct mz_next *next)
{
	const struct mz_route *route;
	mz_exit exit = MZ_DROP_NO_DIVIDER;

	if (vpc && vpc->flags & MZ_VPC_F_DIVIDER) {
		exit = mz_choose_as_divider(q, vpc, next);
		return exit == MZ_DROP_NO_DIVIDER ? mz_choose_divider(q, next) : exit;
	}
	route = mz_route4_get(q->key.vni, q->key.addr);
	if (!route)
		return MZ_DROP_NO_ROUTE;
	if (route->kind == MZ_ROUTE_NONE)
		return MZ_DROP_NO_NETWORK;
	if (own && route->kind == MZ_ROUTE_NETWORK) {
		exit = mz_choose_bouncer(q, route->network, route->shards, next);
		if (exit != MZ_DROP_NO_BOUNCER)
			return exit;
	}
	return mz_choose_divider(q, next);
}

#endif
