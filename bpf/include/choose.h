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

static __always_inline bool mz_is_up(const struct mz_host *host)
{
	return host && !(host->flags & MZ_HOST_F_DOWN);
}

/*
 * The picked replica is down: the next one that is up. If none is, the picked one
 * stays, since health is an opinion.
 */
static __noinline void mz_next_replica(const struct mz_shard *shard, __u32 pick,
				       struct mz_next *next)
{
	for (__u32 i = 1; i < MZ_MAX_REPLICAS && i < shard->n; i++) {
		__u32 at = pick + i < shard->n ? pick + i : pick + i - shard->n;
		const struct mz_host *via;

		if (at >= MZ_MAX_REPLICAS)
			return;
		via = mz_host_get(shard->hosts[at]);
		if (mz_is_up(via)) {
			next->via = via;
			next->host = shard->hosts[at];
			return;
		}
	}
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

/* The network is known: a bouncer, or if that is us, what it would do. */
static __always_inline mz_exit mz_choose_bouncer(const struct mz_question *q, __u32 network,
						 __u32 shards, struct mz_next *next)
{
	const struct mz_shard *shard = mz_shard_get(network, shards, q->key.addr);
	__u32 pick;

	if (!shard || !shard->n)
		return MZ_DROP_NO_BOUNCER;
	pick = mz_pick_replica(q->sport, MZ_MIN(shard->n, MZ_MAX_REPLICAS));
	mz_next_host(next, shard->hosts[pick]);
	if (unlikely(!mz_is_up(next->via)))
		mz_next_replica(shard, pick, next);
	if (next->host == q->self)
		return mz_choose_host(q, next);
	if (!next->via)
		return MZ_DROP_UNKNOWN_HOST;
	next->hop = MZ_HOP_BOUNCER;
	return MZ_V_TO_BOUNCER;
}

/*
 * A divider other than ourselves: who asks here does not divide. The first that
 * is up from the picked one on, else the first that is listed at all.
 */
static __noinline mz_exit mz_choose_divider(const struct mz_question *q, const struct mz_vpc *vpc,
					    struct mz_next *next)
{
	__u32 n = vpc ? MZ_MIN(vpc->n_dividers, MZ_MAX_DIVIDERS) : 0;
	__u32 pick = mz_pick_divider(q->sport, n);
	mz_exit why = MZ_DROP_NO_DIVIDER;

	next->via = NULL;
	for (__u32 i = 0; i < MZ_MAX_DIVIDERS && i < n; i++) {
		__u32 at = pick + i < n ? pick + i : pick + i - n;
		const struct mz_host *via;

		if (at >= MZ_MAX_DIVIDERS || vpc->dividers[at] == q->self)
			continue;
		via = mz_host_get(vpc->dividers[at]);
		if (!via) {
			why = MZ_DROP_UNKNOWN_HOST;
			continue;
		}
		if (mz_is_up(via) || !next->via) {
			next->via = via;
			next->host = vpc->dividers[at];
		}
		if (mz_is_up(via))
			break;
	}
	if (!next->via)
		return why;
	next->hop = MZ_HOP_DIVIDER;
	return MZ_V_TO_DIVIDER;
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
		return exit == MZ_DROP_NO_DIVIDER ? mz_choose_divider(q, vpc, next) : exit;
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
	return mz_choose_divider(q, vpc, next);
}

#endif
