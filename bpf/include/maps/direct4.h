/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/direct4.h - which host an endpoint was last seen on, learnt from traffic. */
#ifndef MIZAR_MAPS_DIRECT4_H
#define MIZAR_MAPS_DIRECT4_H

#include "base.h"
#include "maps/clock.h"
#include "maps/hosts.h"

#define MZ_DIRECT4_QUIET_MS 1000
#define MZ_DIRECT4_AHEAD_MS 1000

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MZ_DIRECT4_MAX);
	__type(key, struct mz_addr_key4);
	__type(value, struct mz_direct);
} mz_direct4 SEC(".maps");

/* Milliseconds. An entry may be from the future by a tick, where another CPU's clock was read. */
static __always_inline __u32 mz_direct4_age(const struct mz_direct *direct)
{
	__u32 age = mz_now_ms() - direct->confirmed;

	return -age <= MZ_DIRECT4_AHEAD_MS ? 0 : age;
}

static __always_inline const struct mz_direct *mz_direct4_get(const struct mz_addr_key4 *key)
{
	return bpf_map_lookup_elem(&mz_direct4, key);
}

/* Endpoints of this host are found without; those of a peer VPC are not. */
static __always_inline bool mz_direct4_may_be(const struct mz_direct *fresh, __u32 vni)
{
	const struct mz_host *host = mz_host_seek(fresh->host);

	return mz_is_other(host) || (host && fresh->vni != vni);
}

/*
 * @key, an endpoint of VPC @vni, is on @host, says the traffic. A confirmed entry is written once a
 * second at most, and in place: neither costs a packet an update of the hash.
 */
static __always_inline void mz_direct4_learn(const struct mz_addr_key4 *key, __be32 host, __u32 vni)
{
	struct mz_direct *known = bpf_map_lookup_elem(&mz_direct4, key);
	struct mz_direct fresh = {.host = host, .confirmed = mz_now_ms(), .vni = vni};

	if (known && known->host == host && known->vni == vni) {
		if (mz_direct4_age(known) > MZ_DIRECT4_QUIET_MS)
			known->confirmed = fresh.confirmed;
		return;
	}
	if (mz_direct4_may_be(&fresh, key->vni))
		bpf_map_update_elem(&mz_direct4, key, &fresh, BPF_ANY);
}

/* @key is not on @host; what other hosts said about it stands. */
static __always_inline void mz_direct4_forget(const struct mz_addr_key4 *key, __be32 host)
{
	const struct mz_direct *known = mz_direct4_get(key);

	if (known && known->host == host)
		bpf_map_delete_elem(&mz_direct4, key);
}

#endif
