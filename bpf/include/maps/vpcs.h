/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/vpcs.h - what this host is for a VPC, and the VPC's dividers. */
#ifndef MIZAR_MAPS_VPCS_H
#define MIZAR_MAPS_VPCS_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_VPCS_MAX);
	__type(key, __u32);
	__type(value, struct mz_vpc);
} mz_vpcs SEC(".maps");

static __always_inline const struct mz_vpc *mz_vpc_get(__u32 vni)
{
	return bpf_map_lookup_elem(&mz_vpcs, &vni);
}

#endif
