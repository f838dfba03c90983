/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps/flows4.h - flows that are translated, one entry a direction; preallocated, as packets make entries.
 *
 * An entry whose time is over is absent to everybody; the agent takes it away later.
 */
#ifndef MIZAR_MAPS_FLOWS4_H
#define MIZAR_MAPS_FLOWS4_H

#include "base.h"
#include "maps/clock.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MZ_FLOWS4_MAX);
	__type(key, struct mz_flow_key4);
	__type(value, struct mz_flow4);
} mz_flows4 SEC(".maps");

/* Seconds, as mz_flow4 has them. */
static __always_inline __u32 mz_now_s(void)
{
	return mz_now_ms64() / MZ_MS_PER_S;
}

/* Seconds since @then; 0 if another CPU's clock was ahead when it wrote that. */
static __always_inline __u32 mz_flow_age(__u32 then)
{
	__s32 age = mz_now_s() - then;

	return age < 0 ? 0 : age;
}

static __always_inline bool mz_flow_is_dead(const struct mz_flow_key4 *key,
					    const struct mz_flow4 *flow)
{
	__u32 lasts = flow->kind == MZ_FLOW_AFFINITY ? flow->asked
						     : mz_flow_timeout(key->proto, flow->state);

	return mz_flow_age(flow->seen) > lasts;
}

static __noinline struct mz_flow4 *mz_flow_find(const struct mz_flow_key4 *key)
{
	struct mz_flow4 *flow = bpf_map_lookup_elem(&mz_flows4, key);

	return flow && !mz_flow_is_dead(key, flow) ? flow : NULL;
}

#endif
