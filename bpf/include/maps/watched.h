/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/watched.h - of which sources an endpoint's packets may need translation. */
#ifndef MIZAR_MAPS_WATCHED_H
#define MIZAR_MAPS_WATCHED_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MZ_WATCHED_MAX);
	__type(key, __u32);
	__type(value, struct mz_watched);
} mz_watched SEC(".maps");

#endif
