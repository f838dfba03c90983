/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/vpcs.h - what this host is for a VPC, and the VPC's dividers. */
#ifndef MIZAR_MAPS_VPCS_H
#define MIZAR_MAPS_VPCS_H

#include "buckets.h"

MZ_BUCKETS(mz_vpcs, struct mz_vpc, MZ_VPCS_MAX, MZ_BUCKET_FACTOR)

static __always_inline const struct mz_vpc *mz_vpc_get(__u32 vni)
{
	return mz_vpcs_find(vni);
}

#endif
