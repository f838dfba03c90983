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

MZ_BUCKETS(mz_routes4, struct mz_route, MZ_ROUTES4_MAX, mz_secret_factor())

/* As many as VPCs: each has a row as soon as it has a route. */
MZ_BUCKETS(mz_lengths4, struct mz_lengths4, MZ_VPCS_MAX, MZ_BUCKET_FACTOR)

/* Longest first: the lowest bit of @left. Global: see buckets.h. */
__noinline __u32 mz_route4_search(__u32 vni, __u32 addr, __u64 left)
{
	for (int i = 0; i < MZ_LENGTHS4 && left; i++, left &= left - 1) {
		__u32 place = mz_routes4_search(mz_route_number(vni, addr, left & -left));

		if (place != MZ_NOWHERE)
			return place;
	}
	return MZ_NOWHERE;
}

static __always_inline const struct mz_route *mz_route4_get(__u32 vni, __be32 addr)
{
	const struct mz_lengths4 *lengths = mz_lengths4_find(vni);
	__u64 left = lengths ? lengths->host_bits : 0;
	const struct mz_route *route;

	if (!left)
		return NULL;
	route = mz_routes4_find(mz_route_number(vni, bpf_ntohl(addr), left & -left));
	left &= left - 1;
	if (likely(route) || !left)
		return route;
	return mz_routes4_at(mz_route4_search(vni, bpf_ntohl(addr), left));
}

/* Where few packets pass: a call, for a smaller program. */
static __noinline const struct mz_route *mz_route4_seek(__u32 vni, __be32 addr)
{
	return mz_route4_get(vni, addr);
}

#endif
