/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps/clock.h - the time since boot, by the last tick of the kernel's timer: exact enough for
 * ages of seconds.
 *
 * The kernel is asked once a tick, as that is a call; in between the answer is kept by CPU.
 */
#ifndef MIZAR_MAPS_CLOCK_H
#define MIZAR_MAPS_CLOCK_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mz_clock);
} mz_clock SEC(".maps");

static __always_inline __u64 mz_now_ms64(void)
{
	__u64 jiffies = bpf_jiffies64();
	__u32 zero = 0;
	struct mz_clock *clock = bpf_map_lookup_elem(&mz_clock, &zero);

	if (!clock)
		return 0;
	if (unlikely(clock->jiffies != jiffies)) {
		clock->now_ms = bpf_ktime_get_coarse_ns() / MZ_NS_PER_MS;
		clock->jiffies = jiffies;
	}
	return clock->now_ms;
}

/* Modulo 2^32, as tables have it. */
static __always_inline __u32 mz_now_ms(void)
{
	return mz_now_ms64();
}

#endif
