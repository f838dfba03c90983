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
	__u32 hop : 8;  /* enum mz_hop */
	__u32 vni : 24; /* of the peer VPC into which the packet crosses; 0: it stays */
	/* Roles that this host has played; 0: not played. */
	__u32 divider_slot;
	__u32 bouncer_slot;
};

/* What is asked: where to with packets for @key from this outer port. */
struct mz_question {
	struct mz_addr_key4 key;
	__be32 self; /* our underlay address */
	__be16 sport;
	__u8 peered; /* it has come from a peer VPC already */
	__u8 pad;
};

/*
 * In place of a verdict: the destination is a scaled endpoint, and this host is its bouncer. With the VPC
 * that it is in: MZ_EXIT(MZ_SCALED, VNI).
 */
#define MZ_SCALED 0xfcu
_Static_assert(MZ_VERDICT_MAX <= MZ_SCALED, "a verdict and MZ_SCALED fit one byte");

static __always_inline bool mz_is_scaled(mz_exit exit)
{
	return (exit & 0xff) == MZ_SCALED;
}

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
	const struct mz_shard *shard = mz_shard_seek(&key);
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
	struct mz_addr_key4 key = {.vni = next->vni ? next->vni : q->key.vni, .addr = q->key.addr};
	const struct mz_location *location = mz_location4_get(&key);

	if (!location)
		return MZ_DROP_NO_ENDPOINT;
	if (location->host == q->self)
		return MZ_DROP_NOT_HERE;
	mz_next_host(next, location->host);
	next->bouncer_slot = location->slot;
	if (unlikely(!next->via))
		return location->host ? MZ_DROP_UNKNOWN_HOST : MZ_EXIT(MZ_SCALED, key.vni);
	next->hop = MZ_HOP_ENDPOINT;
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
	const struct mz_shard *shard = mz_shard_get(&key);
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

/*
 * The first divider of the VPC, from the picked one on, whose state has all of @wanted, or 0.
 * Other than @self: who asks here does not divide.
 */
__noinline __u32 mz_seek_divider(__u32 vni, __u32 self, __u32 sport, __u32 wanted)
{
	const struct mz_vpc *vpc = mz_vpc_get(vni);
	__u32 n = vpc ? MZ_MIN(vpc->n_dividers, MZ_MAX_DIVIDERS) : 0;
	__u32 pick = mz_pick_divider(sport, n);

	if (!vpc)
		return 0;
	for (__u32 i = 0; i < MZ_MAX_DIVIDERS && i < n; i++) {
		__u32 at = pick + i < n ? pick + i : pick + i - n;

		if (at >= MZ_MAX_DIVIDERS || vpc->dividers[at] == self)
			continue;
		if ((mz_host_state(vpc->dividers[at]) & wanted) == wanted)
			return vpc->dividers[at];
	}
	return 0;
}

/* If none is up one that is listed will do, since health is an opinion. */
static __always_inline mz_exit mz_choose_divider(const struct mz_question *q, struct mz_next *next)
{
	next->hop = MZ_HOP_DIVIDER;
	next->host = mz_seek_divider(q->key.vni, q->self, q->sport, MZ_HOST_UP);
	if (unlikely(!next->host))
		next->host = mz_seek_divider(q->key.vni, q->self, q->sport, MZ_HOST_LISTED);
	next->via = mz_host_seek(next->host);
	if (likely(next->via))
		return MZ_V_TO_DIVIDER;
	return mz_seek_divider(q->key.vni, q->self, q->sport, 0) ? MZ_DROP_UNKNOWN_HOST
								 : MZ_DROP_NO_DIVIDER;
}

/* Does a route lead to a divider or bouncer? MZ_GO_ON: it does. @peered: peering is not transitive. */
static __always_inline mz_exit mz_check_route(const struct mz_route *route, bool peered)
{
	if (!route)
		return MZ_DROP_NO_ROUTE;
	if (likely(route->kind <= MZ_ROUTE_NETWORK))
		return peered && route->target ? MZ_DROP_NO_ROUTE : MZ_GO_ON;
	if (route->kind == MZ_ROUTE_NONE)
		return MZ_DROP_NO_NETWORK;
	if (route->kind == MZ_ROUTE_GATEWAY)
		return MZ_DROP_NO_GATEWAY;
	return route->kind == MZ_ROUTE_BLACKHOLE ? MZ_DROP_BLACKHOLE : MZ_DROP_NO_ROUTE;
}

/* The divider's question: which network is it in, of this VPC or a peer, and so which bouncer? */
static __always_inline mz_exit mz_choose_as_divider(const struct mz_question *q,
						    const struct mz_vpc *vpc, struct mz_next *next)
{
	const struct mz_route *route = mz_route4_get(q->key.vni, q->key.addr);
	mz_exit exit = mz_check_route(route, q->peered);

	if (exit != MZ_GO_ON)
		return exit;
	/* Just made a divider, and not told all networks yet. */
	if (route->kind != MZ_ROUTE_NETWORK)
		return MZ_DROP_NO_DIVIDER;
	next->vni = route->target;
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
	mz_exit exit;

	if (vpc && vpc->flags & MZ_VPC_F_DIVIDER) {
		exit = mz_choose_as_divider(q, vpc, next);
		return exit == MZ_DROP_NO_DIVIDER ? mz_choose_divider(q, next) : exit;
	}
	route = mz_route4_get(q->key.vni, q->key.addr);
	exit = mz_check_route(route, q->peered);
	if (exit != MZ_GO_ON)
		return exit;
	if (own && route->kind == MZ_ROUTE_NETWORK && !route->target) {
		exit = mz_choose_bouncer(q, route->network, route->shards, next);
		if (exit != MZ_DROP_NO_BOUNCER)
			return exit;
	}
	return mz_choose_divider(q, next);
}

#endif
