/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/frags4.h - ports of fragmented packets, from the first fragment. */
#ifndef MIZAR_MAPS_FRAGS4_H
#define MIZAR_MAPS_FRAGS4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MZ_FRAGS4_MAX);
	__type(key, struct mz_frag_key4);
	__type(value, struct mz_frag4);
} mz_frags4 SEC(".maps");

#endif
