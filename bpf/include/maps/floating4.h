/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/floating4.h - endpoints with an address of their own outside. */
#ifndef MIZAR_MAPS_FLOATING4_H
#define MIZAR_MAPS_FLOATING4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_FLOATING4_MAX);
	__type(key, struct mz_addr_key4);
	__type(value, struct mz_floating4);
} mz_floating4 SEC(".maps");

#endif
