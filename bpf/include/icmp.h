/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * icmp.h - a packet turns into an ICMP error about itself (RFC 792), by the rules of RFC 1122 s3.2.2
 * on when not to.
 */
#ifndef MIZAR_ICMP_H
#define MIZAR_ICMP_H

#include "envelope.h"
#include "packet4.h"

/* An error is at most 576 bytes long, RFC 1812 s4.3.2.3. */
#define MZ_ICMP_QUOTE (576 - MZ_IP_LEN - MZ_ICMP_LEN)

/* Never about an error, or about what is not the start of a packet. Of messages that we cannot
 * read the type is 0 and the size too small to matter. */
static __always_inline bool mz_icmp_is_due(const struct mz_packet4 *p)
{
	if (p->frag & MZ_IP_OFFSET)
		return false;
	if (p->proto != IPPROTO_ICMP)
		return true;
	return p->total >= p->head + MZ_ICMP_LEN && p->icmp_type != MZ_ICMP_UNREACHABLE &&
	       p->icmp_type != MZ_ICMP_SOURCE_QUENCH && p->icmp_type != MZ_ICMP_REDIRECT &&
	       p->icmp_type != MZ_ICMP_TIME_EXCEEDED && p->icmp_type != MZ_ICMP_PARAMETER_PROBLEM;
}

/* Of the (even) bytes from @icmp to the end of the packet. */
static __always_inline __sum16 mz_icmp_checksum(const struct mz_icmp *icmp, void *end)
{
	const __u16 *word = (const __u16 *)icmp;
	__u64 sum = 0;

	/* For the verifier: a pointer of its own, which may turn out to be past the end. */
	asm volatile("" : "+r"(word));
	for (int i = 0; i < (MZ_ICMP_LEN + MZ_ICMP_QUOTE) / 2; i++, word++) {
		if ((void *)(word + 1) > end)
			break;
		sum += *word;
	}
	return mz_csum_fold(sum);
}

static __always_inline void mz_icmp_ip(struct iphdr *ip, __be32 from, __be32 to, __u32 total)
{
	*(__be16 *)ip = bpf_htons(0x45c0); /* precedence: internetwork control, RFC 1812 s4.3.2.5 */
	ip->tot_len = bpf_htons(total);
	ip->id = 0;
	ip->frag_off = bpf_htons(MZ_IP_DF);
	ip->ttl = MZ_TTL;
	ip->protocol = IPPROTO_ICMP;
	ip->check = 0;
	ip->saddr = from;
	ip->daddr = to;
	ip->check = mz_csum_fold(mz_ip_sum(ip));
}

static __always_inline bool mz_icmp_write(struct __sk_buff *skb, const struct mz_icmp *error,
					  __be32 from)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + MZ_ETH_LEN, *quoted;
	struct mz_icmp *icmp = (void *)(ip + 1);

	quoted = (void *)(icmp + 1);
	if ((void *)(quoted + 1) > end)
		return false;
	mz_icmp_ip(ip, from, quoted->saddr, skb->len - MZ_ETH_LEN);
	*icmp = *error;
	icmp->check = mz_icmp_checksum(icmp, end);
	return true;
}

/*
 * Turn the packet, of @total bytes, into an error about itself, @from to whoever sent it; MACs stay.
 * Cut first: that also ends GSO, which would make the kernel count the new headers as payload. It is refused
 * for what an endpoint forwards that a tunnel has brought, so not tried where there is nothing to cut.
 */
static __always_inline bool mz_icmp_turn(struct __sk_buff *skb, const struct mz_icmp *error,
					 __be32 from, __u32 total)
{
	__u32 quote = MZ_MIN(total, MZ_ICMP_QUOTE) & ~1u;

	return (skb->len == MZ_ETH_LEN + quote ||
		!bpf_skb_change_tail(skb, MZ_ETH_LEN + quote, 0)) &&
	       !bpf_skb_adjust_room(skb, MZ_IP_LEN + MZ_ICMP_LEN, BPF_ADJ_ROOM_MAC, 0) &&
	       !bpf_skb_pull_data(skb, skb->len) && mz_icmp_write(skb, error, from);
}

#endif
