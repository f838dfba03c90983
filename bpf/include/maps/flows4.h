/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/flows4.h - flows that are translated, one entry a direction; preallocated, as packets make entries. */
#ifndef MIZAR_MAPS_FLOWS4_H
#define MIZAR_MAPS_FLOWS4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MZ_FLOWS4_MAX);
	__type(key, struct mz_flow_key4);
	__type(value, struct mz_flow4);
} mz_flows4 SEC(".maps");

#endif
