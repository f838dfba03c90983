/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/shards.h - the bouncers that hold a shard of a network. */
#ifndef MIZAR_MAPS_SHARDS_H
#define MIZAR_MAPS_SHARDS_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_SHARDS_MAX);
	__type(key, struct mz_shard_key);
	__type(value, struct mz_shard);
} mz_shards SEC(".maps");

/* @shards is a power of two; 0, a network without shards, leads to no row. */
static __always_inline struct mz_shard_key mz_shard_key_of(__u32 network, __u32 shards, __be32 addr)
{
	return (struct mz_shard_key){
		.network = network,
		.shard = mz_shard_of(bpf_ntohl(addr), shards),
	};
}

#endif
