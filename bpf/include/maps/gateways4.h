/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/gateways4.h - VPCs for which this host is a way out. */
#ifndef MIZAR_MAPS_GATEWAYS4_H
#define MIZAR_MAPS_GATEWAYS4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_GATEWAYS4_MAX);
	__type(key, __u32);
	__type(value, struct mz_gateway4);
} mz_gateways4 SEC(".maps");

#endif
