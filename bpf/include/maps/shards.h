/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/shards.h - the bouncers that hold a shard of a network. */
#ifndef MIZAR_MAPS_SHARDS_H
#define MIZAR_MAPS_SHARDS_H

#include "buckets.h"

MZ_BUCKETS(mz_shards, struct mz_shard, MZ_SHARDS_MAX, MZ_BUCKET_FACTOR)

/* @shards is a power of two; 0, a network without shards, leads to no row. */
static __always_inline struct mz_shard_key mz_shard_key_of(__u32 network, __u32 shards, __be32 addr)
{
	return (struct mz_shard_key){
		.network = network,
		.shard = mz_shard_of(bpf_ntohl(addr), shards),
	};
}

static __always_inline __u64 mz_shard_number(const struct mz_shard_key *key)
{
	__u64 number;

	__builtin_memcpy(&number, key, sizeof(number));
	return number;
}

/* Where many packets pass. */
static __always_inline const struct mz_shard *mz_shard_get(const struct mz_shard_key *key)
{
	return mz_shards_find(mz_shard_number(key));
}

/* Where few do: a call, for a smaller program. */
static __noinline const struct mz_shard *mz_shard_seek(const struct mz_shard_key *key)
{
	return mz_shards_find(mz_shard_number(key));
}

#endif
