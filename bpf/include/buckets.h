/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * buckets.h - hash tables that a program reads without calling the kernel.
 *
 * A look-up in a map of type HASH is a call, and costs some 20 ns; one in an ARRAY is
 * compiled into the program. So tables that every packet needs are ARRAYs of buckets, and
 * user space (mizar/dataplane/buckets.py), their only writer, decides where a row goes.
 *
 * What holds:
 *  - A key lives in its home bucket, or in the next ones up to MZ_BUCKET_REACH in all.
 *  - The last row of a bucket, once used, is never free again: as long as it is free, no
 *    key of this bucket is in the next.
 *  - 0 and MZ_BUCKET_GONE are no keys: a free row, and one whose key has been deleted.
 *  - No hash seed, so not for keys that a tenant can choose.
 */
#ifndef MIZAR_BUCKETS_H
#define MIZAR_BUCKETS_H

#include "base.h"

/* How the kernel sees a map; the agent sizes tables when it loads us. */
struct bpf_map {
	__u32 max_entries;
} __attribute__((preserve_access_index));

static __always_inline __u32 mz_map_entries(const void *map)
{
	return ((const struct bpf_map *)map)->max_entries;
}

/* 1 if @a equals @b, else 0. For the verifier: what branches is looked at once for every way. */
static __always_inline __u64 mz_is_equal(__u64 a, __u64 b)
{
	__u64 differs = a ^ b, negative = -differs;

	asm volatile("" : "+r"(negative)); /* lest clang makes a branch of it */
	return (differs | negative) >> 63 ^ 1;
}

#define MZ_NO_ROW MZ_BUCKET_ROWS

/* The row that has @key, or MZ_NO_ROW. */
static __always_inline __u64 mz_bucket_row(const __u64 *keys, __u64 key)
{
	__u64 row = MZ_NO_ROW;

	for (int i = 0; i < MZ_BUCKET_ROWS; i++)
		row -= (MZ_NO_ROW - i) * mz_is_equal(keys[i], key);
	return row;
}

#define MZ_NOWHERE 0xffffffffu
#define MZ_AT(index, row) ((index)*MZ_BUCKET_ROWS + (row))

/*
 * NAME_find(key) is the value of a key, or NULL. NAME_further() is a global function: the
 * verifier looks at it once by itself, not with every state that led here.
 */
#define MZ_BUCKETS(name, value_type, buckets)                                              \
	struct name##_bucket {                                                             \
		__u64 keys[MZ_BUCKET_ROWS];                                                \
		value_type values[MZ_BUCKET_ROWS];                                         \
	};                                                                                 \
	struct {                                                                           \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                          \
		__uint(max_entries, buckets);                                              \
		__type(key, __u32);                                                        \
		__type(value, struct name##_bucket);                                       \
	} name SEC(".maps");                                                               \
                                                                                           \
	/* Beyond the home bucket: MZ_AT(), or MZ_NOWHERE. */                              \
	__noinline __u32 name##_further(__u64 key)                                         \
	{                                                                                  \
		__u32 entries = mz_map_entries(&name), index = mz_bucket_of(key, entries); \
                                                                                           \
		for (int i = 1; i < MZ_BUCKET_REACH; i++) {                                \
			const struct name##_bucket *bucket;                                \
			__u64 row;                                                         \
                                                                                           \
			index = index + 1 < entries ? index + 1 : 0;                       \
			bucket = bpf_map_lookup_elem(&name, &index);                       \
			if (!bucket)                                                       \
				break;                                                     \
			row = mz_bucket_row(bucket->keys, key);                            \
			if (row != MZ_NO_ROW)                                              \
				return MZ_AT(index, row);                                  \
			if (!bucket->keys[MZ_BUCKET_ROWS - 1])                             \
				break;                                                     \
		}                                                                          \
		return MZ_NOWHERE;                                                         \
	}                                                                                  \
                                                                                           \
	static __always_inline const value_type *name##_find(__u64 key)                    \
	{                                                                                  \
		__u32 index = mz_bucket_of(key, mz_map_entries(&name));                    \
		const struct name##_bucket *bucket = bpf_map_lookup_elem(&name, &index);   \
		__u64 row;                                                                 \
                                                                                           \
		/* Keys may come from the wire. */                                         \
		if (!bucket || !key || key == MZ_BUCKET_GONE)                              \
			return NULL;                                                       \
		if (likely(bucket->keys[0] == key))                                        \
			return &bucket->values[0];                                         \
		row = mz_bucket_row(bucket->keys, key);                                    \
		if (row == MZ_NO_ROW) {                                                    \
			__u32 at = MZ_NOWHERE;                                             \
                                                                                           \
			if (bucket->keys[MZ_BUCKET_ROWS - 1])                              \
				at = name##_further(key);                                  \
			if (at == MZ_NOWHERE)                                              \
				return NULL;                                               \
			index = at / MZ_BUCKET_ROWS;                                       \
			row = at;                                                          \
			bucket = bpf_map_lookup_elem(&name, &index);                       \
			if (!bucket)                                                       \
				return NULL;                                               \
		}                                                                          \
		return &bucket->values[row & (MZ_BUCKET_ROWS - 1)];                        \
	}

#endif
