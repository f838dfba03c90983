/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/ports.h - who speaks on an endpoint's interface. */
#ifndef MIZAR_MAPS_PORTS_H
#define MIZAR_MAPS_PORTS_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_PORTS_MAX);
	__type(key, __u32);
	__type(value, struct mz_port);
} mz_ports SEC(".maps");

static __always_inline const struct mz_port *mz_port_get(__u32 ifindex)
{
	return bpf_map_lookup_elem(&mz_ports, &ifindex);
}

#endif
