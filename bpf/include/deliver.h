/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * deliver.h - before a plain packet goes into an endpoint of this host: answers of backends come from the
 * scaled endpoint that was asked.
 */
#ifndef MIZAR_DELIVER_H
#define MIZAR_DELIVER_H

#include "tc.h"
#include "translate.h"
#include "maps/watched.h"

/* In place, by the flow that is in the table. */
static __noinline mz_exit mz_translate_by(struct __sk_buff *skb, const struct mz_tuple4 *t,
					  const struct mz_flow4 *flow)
{
	struct mz_flow4 to = *flow;

	return mz_translate(skb, t, &to);
}

/* A packet for an endpoint of this host, from a source that it watches. Global: see mz_next_replica(). */
__noinline mz_exit mz_translate_back(struct __sk_buff *skb, __u32 vni)
{
	struct mz_tuple4 t = {};
	struct mz_flow4 *flow;
	mz_exit exit = mz_tuple_read(skb, vni, &t);

	if (exit != MZ_GO_ON)
		return exit == MZ_DROP_UNTRANSLATABLE ? MZ_GO_ON : exit;
	flow = mz_flow_find(&t.key);
	if (!flow || flow->kind != MZ_FLOW_SERVICE)
		return MZ_GO_ON;
	mz_flow_touch(&t, flow);
	return mz_translate_by(skb, &t, flow);
}

/* Before delivery: an array is read, no more, for endpoints that use no scaled ones. */
static __always_inline mz_exit mz_as_it_knows(struct __sk_buff *skb,
					      const struct mz_endpoint *endpoint, __u32 vni,
					      __be32 source)
{
	return likely(!mz_is_watched(&endpoint->slot, source)) ? MZ_GO_ON
							       : mz_translate_back(skb, vni);
}

/* Where a plain packet goes. */
static __always_inline __be32 mz_destination_of(const struct __sk_buff *skb)
{
	const struct iphdr *ip = (void *)(long)skb->data + MZ_ETH_LEN;

	return (void *)(ip + 1) <= (void *)(long)skb->data_end ? ip->daddr : 0;
}

static __always_inline __be32 mz_source_of(const struct __sk_buff *skb)
{
	const struct iphdr *ip = (void *)(long)skb->data + MZ_ETH_LEN;

	return (void *)(ip + 1) <= (void *)(long)skb->data_end ? ip->saddr : 0;
}

#endif
