/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/ports.h - who speaks on an endpoint's interface. */
#ifndef MIZAR_MAPS_PORTS_H
#define MIZAR_MAPS_PORTS_H

#include "buckets.h"

MZ_BUCKETS(mz_ports, struct mz_port, MZ_PORTS_MAX, MZ_BUCKET_FACTOR)

/* Where every packet passes. */
static __always_inline const struct mz_port *mz_port_get(__u32 ifindex)
{
	return mz_ports_find(ifindex);
}

/* Where few do: a call, for a smaller program. */
static __noinline const struct mz_port *mz_port_seek(__u32 ifindex)
{
	return mz_ports_find(ifindex);
}

#endif
