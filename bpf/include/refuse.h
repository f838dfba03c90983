/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * refuse.h - nobody answers for a scaled endpoint: its client is told at once, in its name.
 *
 * The answer takes the place of the packet. That is not cut at its end, which the kernel does not allow
 * where it came over a tunnel, but behind its Ethernet header: nothing of it is needed after it is read.
 */
#ifndef MIZAR_REFUSE_H
#define MIZAR_REFUSE_H

#include "icmp.h"
#include "tc.h"
#include "tuple4.h"

#define MZ_ICMP_PORT 3 /* code of UNREACHABLE */
#define MZ_TCP_LEN 20  /* without options */

struct mz_reset {
	struct iphdr ip;
	struct tcphdr tcp;
};

/* With as much as RFC 792 asks for, the first eight bytes behind the header. */
struct mz_unreachable {
	struct iphdr ip;
	struct mz_icmp icmp;
	struct iphdr quoted;
	__u8 l4[8];
};

/* Of the IP packet that the skb is to be, whatever it was. */
static __always_inline bool mz_resize(struct __sk_buff *skb, __u32 total)
{
	__s32 room;

	/* One answer, not one a segment; cutting ends GSO. */
	if (skb->gso_size &&
	    bpf_skb_change_tail(skb, MZ_ETH_LEN + MZ_IP_MAX_LEN + MZ_IP_MAX_LEN, 0))
		return false;
	room = MZ_ETH_LEN + total - skb->len;
	return !room || !bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, 0);
}

static __always_inline __u64 mz_sum_of(const void *from, __u32 len)
{
	const __u16 *word = from;
	__u64 sum = 0;

#pragma unroll
	for (__u32 i = 0; i < len / 2; i++)
		sum += word[i];
	return sum;
}

static __always_inline void mz_answer_ip(struct iphdr *ip, const struct iphdr *asked, __u8 proto,
					 __u32 total)
{
	*(__be16 *)ip = bpf_htons(0x4500);
	ip->tot_len = bpf_htons(total);
	ip->id = 0;
	ip->frag_off = bpf_htons(MZ_IP_DF);
	ip->ttl = MZ_TTL;
	ip->protocol = proto;
	ip->check = 0;
	ip->saddr = asked->daddr;
	ip->daddr = asked->saddr;
	ip->check = mz_csum_fold(mz_ip_sum(ip));
}

/* Of the segment, in sequence numbers: RFC 9293 s3.4. */
static __always_inline __u32 mz_segment_len(const struct iphdr *ip, const struct tcphdr *tcp)
{
	return bpf_ntohs(ip->tot_len) - mz_ip_header_len(ip) - tcp->doff * 4 + tcp->syn + tcp->fin;
}

/* RFC 9293 s3.10.7.1: as if there were no connection. */
static __always_inline bool mz_reset(struct __sk_buff *skb, const struct iphdr *ip, __u32 l4)
{
	struct tcphdr tcp;
	struct mz_reset reset = {};
	__u64 sum;

	if (bpf_skb_load_bytes(skb, l4, &tcp, sizeof(tcp)))
		return false;
	mz_answer_ip(&reset.ip, ip, IPPROTO_TCP, sizeof(reset));
	reset.tcp.source = tcp.dest;
	reset.tcp.dest = tcp.source;
	reset.tcp.doff = MZ_TCP_LEN / 4;
	reset.tcp.rst = 1;
	if (tcp.ack) {
		reset.tcp.seq = tcp.ack_seq;
	} else {
		reset.tcp.ack = 1;
		reset.tcp.ack_seq = bpf_htonl(bpf_ntohl(tcp.seq) + mz_segment_len(ip, &tcp));
	}
	sum = mz_sum_of(&reset.ip.saddr, 8) + bpf_htons(IPPROTO_TCP) + bpf_htons(MZ_TCP_LEN);
	reset.tcp.check = mz_csum_fold(sum + mz_sum_of(&reset.tcp, sizeof(reset.tcp)));
	return mz_resize(skb, sizeof(reset)) &&
	       !bpf_skb_store_bytes(skb, MZ_ETH_LEN, &reset, sizeof(reset), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline bool mz_unreachable(struct __sk_buff *skb, const struct iphdr *ip, __u32 l4)
{
	struct mz_unreachable error = {
		.icmp = {.type = MZ_ICMP_UNREACHABLE, .code = MZ_ICMP_PORT},
		.quoted = *ip,
	};

	if (bpf_skb_load_bytes(skb, l4, error.l4, sizeof(error.l4)))
		return false;
	/* Options are not quoted, so that the size is always the same. */
	if (mz_ip_header_len(ip) != MZ_IP_LEN) {
		*(__u8 *)&error.quoted = 0x45;
		error.quoted.check = 0;
		error.quoted.check = mz_csum_fold(mz_ip_sum(&error.quoted));
	}
	mz_answer_ip(&error.ip, ip, IPPROTO_ICMP, sizeof(error));
	error.icmp.check = mz_csum_fold(mz_sum_of(&error.icmp, sizeof(error) - sizeof(error.ip)));
	return mz_resize(skb, sizeof(error)) &&
	       !bpf_skb_store_bytes(skb, MZ_ETH_LEN, &error, sizeof(error), BPF_F_RECOMPUTE_CSUM);
}

/*
 * A plain packet, Ethernet and IPv4, turns into its refusal; MACs stay. MZ_GO_ON; MZ_DROP_NO_BACKEND: none
 * is due, RFC 1122 s3.2.2. Global: see mz_next_replica().
 */
__noinline mz_exit mz_turn_into_refusal(struct __sk_buff *skb, __u32 vni)
{
	struct mz_tuple4 t = {};
	struct iphdr ip;
	bool done;

	if (mz_tuple_read(skb, vni, &t) != MZ_GO_ON || t.quoted || t.event & MZ_EVENT_CLOSE ||
	    t.is_fragment == MZ_FRAGMENT_LATER)
		return MZ_DROP_NO_BACKEND;
	if (bpf_skb_load_bytes(skb, MZ_ETH_LEN, &ip, sizeof(ip)))
		return MZ_DROP_NO_BACKEND;
	if (t.key.proto == IPPROTO_TCP)
		done = mz_reset(skb, &ip, t.l4);
	else
		done = mz_unreachable(skb, &ip, t.l4);
	return done ? MZ_GO_ON : MZ_DROP_NO_BACKEND;
}

/* The client is an endpoint of this host. Global: see mz_next_replica(). */
__noinline mz_exit mz_refuse(struct __sk_buff *skb, __u32 vni, __u32 client)
{
	struct mz_addr_key4 key = {.vni = vni, .addr = client};
	const struct mz_endpoint *endpoint = mz_endpoint4_get(&key);
	mz_exit exit = endpoint ? mz_turn_into_refusal(skb, vni) : MZ_DROP_NOT_CLIENT;

	if (exit != MZ_GO_ON || !endpoint)
		return exit;
	if (!mz_address_to(skb, endpoint))
		return MZ_DROP_HELPER;
	return MZ_EXIT(MZ_V_REFUSED, mz_deliver(endpoint));
}

#endif
