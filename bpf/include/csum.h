/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * csum.h - the Internet checksum (RFC 1071) and its incremental update (RFC 1624).
 *
 * Sums are taken in memory order: one's complement addition does not mind.
 */
#ifndef MIZAR_CSUM_H
#define MIZAR_CSUM_H

#include "parse.h"

static __always_inline __sum16 mz_csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Sum of a header without options; folds to 0 if its checksum is right. */
static __always_inline __u64 mz_ip_sum(const struct iphdr *ip)
{
	const __u32 *word = (const __u32 *)ip;

	return (__u64)word[0] + word[1] + word[2] + word[3] + word[4];
}

/* Start and steps of an incremental update; mz_csum_fold() ends it. */
static __always_inline __u64 mz_csum_unfold(__sum16 check)
{
	return (__u16)~check;
}

static __always_inline __u64 mz_csum_swap(__be32 from, __be32 to)
{
	return (__u64)(__u32)~from + to;
}

static __always_inline __u64 mz_csum_swap16(__be16 from, __be16 to)
{
	return (__u32)(__u16)~from + to;
}

#endif
