/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps/routes4.h - longest prefix match of an address within a VPC.
 *
 * One exact look-up for each length that the VPC uses, longest first. There are few of those,
 * while the kernel's trie takes a cache miss for every bit in which prefixes differ.
 */
#ifndef MIZAR_MAPS_ROUTES4_H
#define MIZAR_MAPS_ROUTES4_H

#include "buckets.h"

#define MZ_LENGTHS4 33

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_ROUTES4_MAX);
	__type(key, struct mz_route_key4);
	__type(value, struct mz_route);
} mz_routes4 SEC(".maps");

/* As many as VPCs: each has a row as soon as it has a route. */
MZ_BUCKETS(mz_lengths4, struct mz_lengths4, MZ_VPCS_MAX, MZ_BUCKET_FACTOR)

static __always_inline const struct mz_route *mz_route4_get(__u32 vni, __be32 addr)
{
	const struct mz_lengths4 *lengths = mz_lengths4_find(vni);
	__u64 left = lengths ? lengths->host_bits : 0;

	for (int i = 0; i < MZ_LENGTHS4 && left; i++) {
		/* The lowest bit is the longest prefix, and as a negative number its mask. */
		__be32 mask = bpf_htonl(-(left & -left));
		struct mz_route_key4 key = {.vni = vni, .addr = addr & mask, .mask = mask};
		const struct mz_route *route = bpf_map_lookup_elem(&mz_routes4, &key);

		if (route)
			return route;
		left &= left - 1;
	}
	return NULL;
}

/* Where few packets pass: a call, for a smaller program. */
static __noinline const struct mz_route *mz_route4_seek(__u32 vni, __be32 addr)
{
	return mz_route4_get(vni, addr);
}

#endif
