/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps/direct4.h - which host an endpoint was last seen on, learnt from traffic.
 *
 * A cache that programs fill: an ARRAY of sets, since a look-up in an LRU_HASH is a call and, with
 * many keys, misses the processor's cache twice. A key is in one set or nowhere, and nearly always
 * in its first line.
 *
 * What holds:
 *  - The version of a set is odd while a program writes it. Who found it odd, or another one after
 *    reading than before, has read nothing.
 *  - Nobody waits: who cannot read asks the network, who cannot write learns from the next packet.
 *  - A new key takes a free place, else that of whom nothing was heard for the longest time.
 *  - A key is taken away by one store, which leaves its value to those who are reading it. Nothing
 *    else may be written without the version, except that @confirmed is renewed in place.
 *  - 0 is no key.
 */
#ifndef MIZAR_MAPS_DIRECT4_H
#define MIZAR_MAPS_DIRECT4_H

#include "buckets.h"
#include "order.h"
#include "maps/clock.h"
#include "maps/hosts.h"

#define MZ_DIRECT4_QUIET_MS 1000
#define MZ_DIRECT4_AHEAD_MS 1000

#define MZ_DIRECT_SET_ROWS (MZ_DIRECT_ROWS * MZ_DIRECT_LINES)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MZ_DIRECT4_MAX / MZ_DIRECT_SET_ROWS);
	__type(key, __u32);
	__type(value, struct mz_direct_set);
} mz_direct4 SEC(".maps");

/* A place in a set. */
struct mz_direct_place {
	__u64 *key;
	struct mz_direct *value;
};

static __always_inline struct mz_direct_set *mz_direct4_set(__u64 number)
{
	__u32 index = mz_bucket_in(MZ_PART(mz_direct4), number, mz_secret_factor());

	/* Keys may come from the wire. */
	return number ? bpf_map_lookup_elem(&mz_direct4, &index) : NULL;
}

static __always_inline struct mz_direct_place mz_direct_place_of(struct mz_direct_set *set,
								 int line, int row)
{
	return (struct mz_direct_place){
		.key = &set->lines[line].keys[row],
		.value = &set->lines[line].values[row],
	};
}

/* Where the key is; no place if it is not in the set. */
static __always_inline struct mz_direct_place mz_direct_find(struct mz_direct_set *set,
							     __u64 number)
{
	for (int line = 0; line < MZ_DIRECT_LINES; line++)
		for (int row = 0; row < MZ_DIRECT_ROWS; row++)
			if (set->lines[line].keys[row] == number)
				return mz_direct_place_of(set, line, row);
	return (struct mz_direct_place){};
}

/* Milliseconds. An entry may be from the future by a tick, where another CPU's clock was read. */
static __always_inline __u32 mz_direct_age_at(const struct mz_direct *direct, __u32 now)
{
	__u32 age = now - direct->confirmed;

	return -age <= MZ_DIRECT4_AHEAD_MS ? 0 : age;
}

static __always_inline __u32 mz_direct4_age(const struct mz_direct *direct)
{
	return mz_direct_age_at(direct, mz_now_ms());
}

/* What is known of @key, copied, so that it is of one piece. */
static __always_inline bool mz_direct4_get(const struct mz_addr_key4 *key, struct mz_direct *found)
{
	__u64 number = mz_addr_number(key);
	struct mz_direct_set *set = mz_direct4_set(number);
	const struct mz_direct *value;
	__u32 version;

	if (!set)
		return false;
	version = MZ_READ_ONCE(set->lines[0].version);
	value = mz_direct_find(mz_after(set, version), number).value;
	if (!value)
		return false;
	*found = *value;
	set = mz_after(set, found->host ^ found->confirmed ^ found->vni);
	return MZ_READ_ONCE(set->lines[0].version) == version && !(version & 1);
}

/* Whose place a new key takes at @now, of a set that the caller writes. */
static __always_inline struct mz_direct_place mz_direct_victim(struct mz_direct_set *set, __u32 now)
{
	struct mz_direct_place victim = {};
	__u64 oldest = 0;

	for (int line = 0; line < MZ_DIRECT_LINES; line++) {
		for (int row = 0; row < MZ_DIRECT_ROWS; row++) {
			struct mz_direct_place place = mz_direct_place_of(set, line, row);
			__u64 age = *place.key ? mz_direct_age_at(place.value, now) + 1ull : ~0ull;

			if (age > oldest) {
				oldest = age;
				victim = place;
			}
		}
	}
	return victim;
}

static __always_inline void mz_direct_write(struct mz_direct_set *set, __u64 number,
					    const struct mz_direct *fresh)
{
	struct mz_direct_place place = mz_direct_find(set, number);

	if (!place.value)
		place = mz_direct_victim(set, fresh->confirmed);
	if (!place.value)
		return;
	*place.value = *fresh;
	*place.key = number;
}

/* What is known of @key is @fresh now. Global: the verifier looks at it once by itself. */
__noinline int mz_direct4_put(const struct mz_addr_key4 *key, const struct mz_direct *fresh)
{
	struct mz_direct_set *set;
	__u32 version;

	if (!key || !fresh)
		return 0;
	set = mz_direct4_set(mz_addr_number(key));
	if (!set)
		return 0;
	version = MZ_READ_ONCE(set->lines[0].version);
	if (version & 1 ||
	    !__sync_bool_compare_and_swap(&set->lines[0].version, version, version + 1))
		return 0;
	mz_direct_write(set, mz_addr_number(key), fresh);
	/* Atomic operations that return a value are full barriers. */
	return __sync_lock_test_and_set(&set->lines[0].version, version + 2);
}

/* It has been heard of again: written once a second at most. */
static __always_inline void mz_direct_renew(struct mz_direct *known)
{
	if (mz_direct4_age(known) > MZ_DIRECT4_QUIET_MS)
		known->confirmed = mz_now_ms();
}

static __noinline void mz_direct4_renew(const struct mz_addr_key4 *key)
{
	struct mz_direct_set *set = mz_direct4_set(mz_addr_number(key));
	struct mz_direct_place place = {};

	if (set)
		place = mz_direct_find(set, mz_addr_number(key));
	if (place.value)
		mz_direct_renew(place.value);
}

/* Endpoints of this host are found without; those of a peer VPC are not. */
static __always_inline bool mz_direct4_may_be(const struct mz_direct *fresh, __u32 vni)
{
	const struct mz_host *host = mz_host_seek(fresh->host);

	return mz_is_other(host) || (host && fresh->vni != vni);
}

/* @key, an endpoint of VPC @vni, is on @host, says the traffic. */
static __always_inline void mz_direct4_learn(const struct mz_addr_key4 *key, __be32 host, __u32 vni)
{
	struct mz_direct_set *set = mz_direct4_set(mz_addr_number(key));
	struct mz_direct fresh = {.host = host, .confirmed = mz_now_ms(), .vni = vni};
	struct mz_direct *known;

	if (!set)
		return;
	known = mz_direct_find(set, mz_addr_number(key)).value;
	/* Torn by a writer, it is renewed at worst: it was written just now. */
	if (likely(known && known->host == host && known->vni == vni))
		mz_direct_renew(known);
	else if (mz_direct4_may_be(&fresh, key->vni))
		mz_direct4_put(key, &fresh);
}

/* Where few packets pass: a call, for a smaller program. */
static __noinline void mz_direct4_note(const struct mz_addr_key4 *key, __be32 host, __u32 vni)
{
	mz_direct4_learn(key, host, vni);
}

/* @key is not on @host; what other hosts said about it stands. */
static __noinline void mz_direct4_forget(const struct mz_addr_key4 *key, __be32 host)
{
	__u64 number = mz_addr_number(key);
	struct mz_direct_set *set = mz_direct4_set(number);
	struct mz_direct_place place = {};

	if (set)
		place = mz_direct_find(set, number);
	if (place.value && place.value->host == host)
		__sync_bool_compare_and_swap(place.key, number, 0);
}

#endif
