/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * buckets.h - hash tables that a program reads without calling the kernel.
 *
 * A look-up in a map of type HASH is a call, and costs some 20 ns; one in an ARRAY is
 * compiled into the program. So tables that every packet needs are ARRAYs of buckets, and
 * user space (mizar/dataplane/buckets.py), their only writer, decides where a row goes.
 *
 * What holds:
 *  - One part of the array is in use, as large as its rows need, lest few rows be spread over
 *    many pages: mz_parts says which. It has all rows, before and after it becomes another.
 *  - A key lives in its home bucket, or in the next ones up to MZ_BUCKET_REACH in all; after
 *    the last bucket of the part comes its first.
 *  - The last row of a bucket, once used, is never free again: as long as it is free, no
 *    key of this bucket is in the next.
 *  - 0 and MZ_BUCKET_GONE are no keys: a free row, and one whose key has been deleted.
 *  - Tables whose keys a tenant can choose have a secret factor, lest he fills one bucket.
 */
#ifndef MIZAR_BUCKETS_H
#define MIZAR_BUCKETS_H

#include "base.h"

/*
 * Global data, not a map to look up: its address is a constant in the program. Which part of a table is
 * in use changes in one store, so it is read in one load, and once by each function.
 */
struct mz_parts mz_parts SEC(".data.mz_parts");

/* Of the array; layout.MapSpec.entries. */
#define MZ_BUCKET_ENTRIES(rows) \
	((rows) / MZ_BUCKET_SHARE + (rows) / MZ_BUCKET_SHARE / MZ_BUCKET_SPARE)

#define MZ_PART(name) (*(const volatile __u64 *)&mz_parts.name)

static __always_inline __u64 mz_secret_factor(void)
{
	return *(const volatile __u64 *)&mz_parts.factor;
}

static __always_inline bool mz_bucket_is_empty(const __u64 *keys)
{
	__u64 any = 0;

	for (int i = 0; i < MZ_BUCKET_ROWS; i++)
		any |= keys[i];
	return !any;
}

/* An address as a key of buckets. */
static __always_inline __u64 mz_addr_number(const struct mz_addr_key4 *key)
{
	__u64 number;

	__builtin_memcpy(&number, key, sizeof(number));
	return number;
}

#define MZ_NOWHERE 0xffffffffu

/*
 * NAME_find(key) is the value of a key, or NULL. Most keys have their home bucket for themselves,
 * or there is nobody: that is decided in place. NAME_search() knows the rest. It is a global
 * function, so that the verifier looks at it once by itself, not with every state that led here,
 * and so returns a number: that of the bucket, times MZ_BUCKET_ROWS, plus the row; see NAME_at().
 */
#define MZ_BUCKETS(name, value_type, rows, factor)                                               \
	struct name##_bucket {                                                                   \
		__u64 keys[MZ_BUCKET_ROWS];                                                      \
		value_type values[MZ_BUCKET_ROWS];                                               \
	};                                                                                       \
	struct {                                                                                 \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                \
		__uint(map_flags, BPF_F_MMAPABLE);                                               \
		__uint(max_entries, MZ_BUCKET_ENTRIES(rows));                                    \
		__type(key, __u32);                                                              \
		__type(value, struct name##_bucket);                                             \
	} name SEC(".maps");                                                                     \
                                                                                                 \
	__noinline __u32 name##_search(__u64 key)                                                \
	{                                                                                        \
		__u64 part = MZ_PART(name);                                                      \
		__u32 index = mz_bucket_in(part, key, factor);                                   \
                                                                                                 \
		for (int i = 0; i < MZ_BUCKET_REACH; i++) {                                      \
			const struct name##_bucket *bucket = bpf_map_lookup_elem(&name, &index); \
                                                                                                 \
			for (int row = 0; bucket && row < MZ_BUCKET_ROWS; row++)                 \
				if (bucket->keys[row] == key)                                    \
					return index * MZ_BUCKET_ROWS + row;                     \
			if (!bucket || !bucket->keys[MZ_BUCKET_ROWS - 1])                        \
				break;                                                           \
			index = mz_bucket_after(part, index);                                    \
		}                                                                                \
		return MZ_NOWHERE;                                                               \
	}                                                                                        \
                                                                                                 \
	static __always_inline const value_type *name##_at(__u32 place)                          \
	{                                                                                        \
		__u32 index = place / MZ_BUCKET_ROWS;                                            \
		const struct name##_bucket *bucket;                                              \
                                                                                                 \
		if (place == MZ_NOWHERE)                                                         \
			return NULL;                                                             \
		bucket = bpf_map_lookup_elem(&name, &index);                                     \
		if (!bucket)                                                                     \
			return NULL;                                                             \
		return &bucket->values[place % MZ_BUCKET_ROWS];                                  \
	}                                                                                        \
                                                                                                 \
	static __always_inline const value_type *name##_find(__u64 key)                          \
	{                                                                                        \
		__u32 index = mz_bucket_in(MZ_PART(name), key, factor);                          \
		const struct name##_bucket *bucket = bpf_map_lookup_elem(&name, &index);         \
                                                                                                 \
		/* Keys may come from the wire. */                                               \
		if (!bucket || !key || key == MZ_BUCKET_GONE)                                    \
			return NULL;                                                             \
		if (likely(bucket->keys[0] == key))                                              \
			return &bucket->values[0];                                               \
		if (likely(mz_bucket_is_empty(bucket->keys)))                                    \
			return NULL;                                                             \
		return name##_at(name##_search(key));                                            \
	}

#endif
