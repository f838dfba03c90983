/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps/scratch.h - room for what is too large for the stack, where functions are deeply nested.
 *
 * One run at a time uses it: programs of tc run in softirq context, or with it disabled, and none
 * starts another.
 */
#ifndef MIZAR_MAPS_SCRATCH_H
#define MIZAR_MAPS_SCRATCH_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mz_scratch);
} mz_scratch SEC(".maps");

static __always_inline void *mz_scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&mz_scratch, &zero);
}

#endif
