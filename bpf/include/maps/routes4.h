/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/routes4.h - longest prefix match of an address within a VPC. */
#ifndef MIZAR_MAPS_ROUTES4_H
#define MIZAR_MAPS_ROUTES4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_ROUTES4_MAX);
	__type(key, struct mz_route_key4);
	__type(value, struct mz_route);
} mz_routes4 SEC(".maps");

static __always_inline const struct mz_route *mz_route4_get(__u32 vni, __be32 addr)
{
	struct mz_route_key4 key = {.prefixlen = 64, .vni = bpf_htonl(vni), .addr = addr};

	return bpf_map_lookup_elem(&mz_routes4, &key);
}

#endif
