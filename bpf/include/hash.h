/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hash.h - one hash per flow, from which its path follows.
 *
 * The low 15 bits travel in the outer source port, so whoever forwards the packet
 * picks from the port and parses nothing. Dividers and replicas are picked from
 * different bits, or every divider would always use the same bouncer.
 */
#ifndef MIZAR_HASH_H
#define MIZAR_HASH_H

#include "base.h"

#define MZ_SPORT_BASE 32768
#define MZ_SPORT_MASK 0x7fff

/* Addresses and @ports (source << 16 | destination; 0 where there are none) in host byte order. */
static __always_inline __u32 mz_flow_hash(__u32 src, __u32 dst, __u8 proto, __u32 ports)
{
	__u64 h = ((__u64)src << 32 | dst) ^ ((__u64)proto << 32 | ports) * 0x9e3779b97f4a7c15ull;

	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	h ^= h >> 32;
	return h;
}

static __always_inline __be16 mz_sport_of(__u32 hash)
{
	return bpf_htons(MZ_SPORT_BASE | (hash & MZ_SPORT_MASK));
}

/* Which of @n replicas, or dividers, the packets with this outer source port use. */
static __always_inline __u32 mz_pick_replica(__be16 sport, __u32 n)
{
	return ((bpf_ntohs(sport) & MZ_SPORT_MASK) * n) >> 15;
}

static __always_inline __u32 mz_pick_divider(__be16 sport, __u32 n)
{
	return ((mz_mix32(bpf_ntohs(sport)) & MZ_SPORT_MASK) * n) >> 15;
}

#endif
