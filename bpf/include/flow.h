/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flow.h - the connection table: entries are made, kept alive and ended by the packets of a flow.
 *
 * What holds:
 *  - A flow has an entry for each direction, of which each follows from the other, and never one alone:
 *    where one has gone, its opposite makes it again. VIA and AFFINITY have no opposite.
 *  - Both entries have the same state and, give or take a second, the same time.
 *  - ICMP errors neither make a flow nor keep it alive.
 */
#ifndef MIZAR_FLOW_H
#define MIZAR_FLOW_H

#include "tuple4.h"
#include "maps/flows4.h"

#define MZ_FLOW_TAKEN 0xfdu
_Static_assert(MZ_VERDICT_MAX <= MZ_FLOW_TAKEN, "a verdict and MZ_FLOW_TAKEN fit one byte");

/* The entry of the other direction. */
static __always_inline void mz_flow_turn(const struct mz_flow_key4 *key,
					 const struct mz_flow4 *flow,
					 struct mz_flow_key4 *other_key, struct mz_flow4 *other)
{
	*other_key = (struct mz_flow_key4){
		.vni = flow->vni,
		.src = flow->dst,
		.dst = flow->src,
		.sport = flow->dport,
		.dport = flow->sport,
		.proto = key->proto,
	};
	*other = (struct mz_flow4){
		.src = key->dst,
		.dst = key->src,
		.sport = key->dport,
		.dport = key->sport,
		.vni = key->vni,
		.seen = flow->seen,
		.asked = flow->asked,
		.state = flow->state ^ MZ_FLOW_S_REVERSE,
		.kind = flow->kind,
	};
}

static __always_inline bool mz_flow_is_alone(const struct mz_flow4 *flow)
{
	return flow->kind == MZ_FLOW_VIA || flow->kind == MZ_FLOW_AFFINITY;
}

/* Do packets become the same? */
static __always_inline bool mz_flow_is_same(const struct mz_flow4 *a, const struct mz_flow4 *b)
{
	return a->src == b->src && a->dst == b->dst && a->sport == b->sport &&
	       a->dport == b->dport && a->vni == b->vni;
}

/* @flags of mz_flow_make(): the backward entry must not be another flow's. */
#define MZ_FLOW_NEW BPF_NOEXIST
/* The same, but a dead one may go. */
#define MZ_FLOW_NEW_OR_DEAD (BPF_NOEXIST | 0x100)

/* May @other, which is in the table already, be overwritten by the entry that is to be made? */
static __always_inline bool mz_flow_gives_way(const struct mz_flow_key4 *key,
					      const struct mz_flow4 *other, __u32 flags)
{
	const struct mz_flow4 *known = bpf_map_lookup_elem(&mz_flows4, key);

	if (!known || mz_flow_is_same(known, other))
		return true;
	return flags == MZ_FLOW_NEW_OR_DEAD && mz_flow_is_dead(key, known);
}

/*
 * Make a flow: @key becomes @flow, and backward; both are given the present time. MZ_GO_ON; MZ_FLOW_TAKEN;
 * MZ_DROP_FLOWS_FULL. Global: see mz_next_replica().
 */
__noinline mz_exit mz_flow_make(const struct mz_flow_key4 *key, struct mz_flow4 *flow, __u32 flags)
{
	struct mz_flow_key4 other_key;
	struct mz_flow4 other;

	if (!key || !flow)
		return MZ_DROP_HELPER;
	flow->seen = mz_now_s();
	mz_flow_turn(key, flow, &other_key, &other);
	if (bpf_map_update_elem(&mz_flows4, &other_key, &other, BPF_NOEXIST)) {
		if (!mz_flow_gives_way(&other_key, &other, flags))
			return MZ_FLOW_TAKEN;
		if (bpf_map_update_elem(&mz_flows4, &other_key, &other, BPF_EXIST))
			return MZ_DROP_FLOWS_FULL;
	}
	if (!bpf_map_update_elem(&mz_flows4, key, flow, BPF_ANY))
		return MZ_GO_ON;
	bpf_map_delete_elem(&mz_flows4, &other_key);
	return MZ_DROP_FLOWS_FULL;
}

/* One entry without an opposite. A full table is no reason to refuse the packet. */
static __always_inline void mz_flow_note(const struct mz_flow_key4 *key, struct mz_flow4 *flow)
{
	flow->seen = mz_now_s();
	bpf_map_update_elem(&mz_flows4, key, flow, BPF_ANY);
}

/* Both entries away; the backward one only if it is this flow's. Global: see mz_next_replica(). */
__noinline int mz_flow_end(const struct mz_flow_key4 *key)
{
	const struct mz_flow4 *flow = key ? bpf_map_lookup_elem(&mz_flows4, key) : NULL;
	struct mz_flow_key4 other_key;
	struct mz_flow4 other;
	const struct mz_flow4 *known;

	if (!flow || !key)
		return 0;
	mz_flow_turn(key, flow, &other_key, &other);
	known = bpf_map_lookup_elem(&mz_flows4, &other_key);
	if (known && mz_flow_is_same(known, &other))
		bpf_map_delete_elem(&mz_flows4, &other_key);
	bpf_map_delete_elem(&mz_flows4, key);
	return 0;
}

/* What becomes of the state by a packet in this entry's direction. */
static __always_inline __u8 mz_flow_news(__u8 state, __u8 event)
{
	const __u8 over = MZ_FLOW_S_FIN_ORIG | MZ_FLOW_S_FIN_REPLY | MZ_FLOW_S_CLOSED;
	bool reverse = state & MZ_FLOW_S_REVERSE;

	/* The same ports again, for another connection. */
	if (event & MZ_EVENT_OPEN && state & over)
		state &= MZ_FLOW_S_REVERSE;
	if (reverse)
		state |= MZ_FLOW_S_REPLIED;
	if (event & MZ_EVENT_FIN)
		state |= reverse ? MZ_FLOW_S_FIN_REPLY : MZ_FLOW_S_FIN_ORIG;
	return event & MZ_EVENT_CLOSE ? state | MZ_FLOW_S_CLOSED : state;
}

static __noinline void mz_flow_touch_other(const struct mz_flow_key4 *key,
					   const struct mz_flow4 *flow)
{
	struct mz_flow_key4 other_key;
	struct mz_flow4 other, *known;

	mz_flow_turn(key, flow, &other_key, &other);
	known = bpf_map_lookup_elem(&mz_flows4, &other_key);
	if (!known) {
		bpf_map_update_elem(&mz_flows4, &other_key, &other, BPF_NOEXIST);
	} else if (mz_flow_is_same(known, &other)) {
		known->state = other.state;
		known->seen = other.seen;
	}
}

/* A packet of tuple @t uses @flow, the entry that mz_flow_find() found. */
static __always_inline void mz_flow_touch(const struct mz_tuple4 *t, struct mz_flow4 *flow)
{
	__u8 state = mz_flow_news(flow->state, t->event);

	if (t->quoted || (state == flow->state && !mz_flow_age(flow->seen)))
		return;
	flow->state = state;
	flow->seen = mz_now_s();
	if (!mz_flow_is_alone(flow))
		mz_flow_touch_other(&t->key, flow);
}

#endif
