/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/locations4.h - the bouncer's table: endpoint to host. */
#ifndef MIZAR_MAPS_LOCATIONS4_H
#define MIZAR_MAPS_LOCATIONS4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_LOCATIONS4_MAX);
	__type(key, struct mz_addr_key4);
	__type(value, struct mz_location);
} mz_locations4 SEC(".maps");

static __always_inline const struct mz_location *mz_location4_get(const struct mz_addr_key4 *key)
{
	return bpf_map_lookup_elem(&mz_locations4, key);
}

#endif
