/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/hosts.h - every host of the cluster by underlay address; who is not here is foreign. */
#ifndef MIZAR_MAPS_HOSTS_H
#define MIZAR_MAPS_HOSTS_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_HOSTS_MAX);
	__type(key, __be32);
	__type(value, struct mz_host);
} mz_hosts SEC(".maps");

static __always_inline const struct mz_host *mz_host_get(__be32 addr)
{
	return bpf_map_lookup_elem(&mz_hosts, &addr);
}

/* Another host, the only kind that a tunnel packet may come from or name. */
static __always_inline bool mz_is_peer(__be32 addr)
{
	const struct mz_host *host = mz_host_get(addr);

	return host && !(host->flags & MZ_HOST_F_SELF);
}

#endif
