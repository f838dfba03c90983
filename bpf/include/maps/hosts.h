/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/hosts.h - every host of the cluster by underlay address; who is not here is foreign. */
#ifndef MIZAR_MAPS_HOSTS_H
#define MIZAR_MAPS_HOSTS_H

#include "buckets.h"

MZ_BUCKETS(mz_hosts, struct mz_host, MZ_HOSTS_MAX, MZ_BUCKET_FACTOR)

/* Where every packet passes. */
static __always_inline const struct mz_host *mz_host_get(__be32 addr)
{
	return mz_hosts_find(addr);
}

/* Where few do: a call, for a smaller program. */
static __noinline const struct mz_host *mz_host_seek(__be32 addr)
{
	return mz_hosts_find(addr);
}

/* Does a packet that is sent to it arrive, as far as is known? */
static __always_inline bool mz_is_up(const struct mz_host *host)
{
	return host && !(host->flags & MZ_HOST_F_DOWN);
}

#define MZ_HOST_LISTED 1
#define MZ_HOST_UP 2

/* Bits of the above. For loops: a global function, which the verifier looks at once by itself. */
__noinline __u32 mz_host_state(__u32 addr)
{
	const struct mz_host *host = mz_hosts_find(addr);

	return (host ? MZ_HOST_LISTED : 0) | (mz_is_up(host) ? MZ_HOST_UP : 0);
}

/* Another host, the only kind that a tunnel packet may come from or name. */
static __always_inline bool mz_is_other(const struct mz_host *host)
{
	return host && !(host->flags & MZ_HOST_F_SELF);
}

#endif
