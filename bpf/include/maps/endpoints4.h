/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/endpoints4.h - the endpoints of this host, by every address they have. */
#ifndef MIZAR_MAPS_ENDPOINTS4_H
#define MIZAR_MAPS_ENDPOINTS4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_ENDPOINTS4_MAX);
	__type(key, struct mz_addr_key4);
	__type(value, struct mz_endpoint);
} mz_endpoints4 SEC(".maps");

static __always_inline const struct mz_endpoint *mz_endpoint4_get(const struct mz_addr_key4 *key)
{
	return bpf_map_lookup_elem(&mz_endpoints4, key);
}

#endif
