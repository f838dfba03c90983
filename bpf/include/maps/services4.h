/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/services4.h - ports of scaled endpoints, on their bouncers. */
#ifndef MIZAR_MAPS_SERVICES4_H
#define MIZAR_MAPS_SERVICES4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_SERVICES4_MAX);
	__type(key, struct mz_service_key4);
	__type(value, struct mz_service4);
} mz_services4 SEC(".maps");

static __always_inline const struct mz_service4 *mz_service4_get(const struct mz_service_key4 *key)
{
	return bpf_map_lookup_elem(&mz_services4, key);
}

#endif
