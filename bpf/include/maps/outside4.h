/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/outside4.h - addresses outside that this host answers for. */
#ifndef MIZAR_MAPS_OUTSIDE4_H
#define MIZAR_MAPS_OUTSIDE4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_OUTSIDE4_MAX);
	__type(key, __be32);
	__type(value, struct mz_outside4);
} mz_outside4 SEC(".maps");

#endif
