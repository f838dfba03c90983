/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/watched.h - of which sources an endpoint's packets may need translation. */
#ifndef MIZAR_MAPS_WATCHED_H
#define MIZAR_MAPS_WATCHED_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MZ_WATCHED_MAX);
	__type(key, __u32);
	__type(value, struct mz_watched);
} mz_watched SEC(".maps");

/* Bits are only ever added; who misses one looks again at the next packet of the flow. */
static __always_inline void mz_watch(__u32 slot, __be32 source)
{
	struct mz_watched *watched = bpf_map_lookup_elem(&mz_watched, &slot);
	__u64 bit = 1ull << mz_watched_bit(bpf_ntohl(source));

	if (watched && !(watched->sources & bit))
		__sync_fetch_and_or(&watched->sources, bit);
}

/* May a packet from @source need translation, for the endpoint with this slot? */
static __always_inline bool mz_is_watched(const __u32 *slot, __be32 source)
{
	const struct mz_watched *watched = bpf_map_lookup_elem(&mz_watched, slot);

	if (likely(!watched || !watched->sources))
		return false;
	return watched->sources >> mz_watched_bit(bpf_ntohl(source)) & 1;
}

#endif
