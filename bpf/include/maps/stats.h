/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/stats.h - packets and bytes of endpoints and roles, by slot. */
#ifndef MIZAR_MAPS_STATS_H
#define MIZAR_MAPS_STATS_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MZ_STATS_MAX);
	__type(key, __u32);
	__type(value, struct mz_stats);
} mz_stats SEC(".maps");

/* Slot 0 is nobody's and is not counted. */
static __always_inline void mz_count_tx(__u32 slot, __u32 bytes)
{
	struct mz_stats *stats = slot ? bpf_map_lookup_elem(&mz_stats, &slot) : NULL;

	if (stats) {
		stats->tx_packets++;
		stats->tx_bytes += bytes;
	}
}

static __always_inline void mz_count_rx(__u32 slot, __u32 bytes)
{
	struct mz_stats *stats = slot ? bpf_map_lookup_elem(&mz_stats, &slot) : NULL;

	if (stats) {
		stats->rx_packets++;
		stats->rx_bytes += bytes;
	}
}

#endif
