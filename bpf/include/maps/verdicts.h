/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/verdicts.h - how packets left the programs. */
#ifndef MIZAR_MAPS_VERDICTS_H
#define MIZAR_MAPS_VERDICTS_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MZ_VERDICT_MAX);
	__type(key, __u32);
	__type(value, struct mz_count);
} mz_verdicts SEC(".maps");

static __always_inline void mz_count_verdict(enum mz_verdict verdict, __u32 bytes)
{
	__u32 index = verdict;
	struct mz_count *count = bpf_map_lookup_elem(&mz_verdicts, &index);

	if (count) {
		count->packets++;
		count->bytes += bytes;
	}
}

#endif
