/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/forwards4.h - port forwarding, both ways. */
#ifndef MIZAR_MAPS_FORWARDS4_H
#define MIZAR_MAPS_FORWARDS4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_FORWARDS4_MAX);
	__type(key, struct mz_service_key4);
	__type(value, struct mz_forward4);
} mz_forwards4 SEC(".maps");

#endif
