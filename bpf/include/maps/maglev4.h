/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/maglev4.h - Maglev tables, in rows of MZ_MAGLEV_ROW places. */
#ifndef MIZAR_MAPS_MAGLEV4_H
#define MIZAR_MAPS_MAGLEV4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_MAGLEV4_MAX);
	__type(key, struct mz_maglev_key4);
	__type(value, struct mz_maglev4);
} mz_maglev4 SEC(".maps");

/* The backend at a place of a service's table, or 0. */
static __always_inline __be32 mz_maglev4_at(__u32 service, __u32 place)
{
	struct mz_maglev_key4 key = {.service = service, .row = place / MZ_MAGLEV_ROW};
	const struct mz_maglev4 *row = bpf_map_lookup_elem(&mz_maglev4, &key);

	return row ? row->backends[place % MZ_MAGLEV_ROW] : 0;
}

#endif
