/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * packet4.h - an endpoint's IPv4 packet, read once.
 */
#ifndef MIZAR_PACKET4_H
#define MIZAR_PACKET4_H

#include <linux/tcp.h>

#include "hash.h"
#include "parse.h"
#include "verdict.h"

/* RFC 792; the kernel's icmp.h needs a C library. */
enum mz_icmp_type {
	MZ_ICMP_ECHO_REPLY = 0,
	MZ_ICMP_UNREACHABLE = 3,
	MZ_ICMP_SOURCE_QUENCH = 4,
	MZ_ICMP_REDIRECT = 5,
	MZ_ICMP_ECHO_REQUEST = 8,
	MZ_ICMP_TIME_EXCEEDED = 11,
	MZ_ICMP_PARAMETER_PROBLEM = 12,
};

#define MZ_ICMP_FRAG_NEEDED 4 /* code of UNREACHABLE */
#define MZ_ICMP_LEN 8

struct mz_icmp {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be32 rest; /* UNREACHABLE, FRAG_NEEDED: the MTU, RFC 1191 s4 */
};

MZ_ASSERT_SIZE(mz_icmp, MZ_ICMP_LEN);

struct mz_packet4 {
	__u32 total; /* bytes of the IP packet */
	__u32 head;  /* of its header */
	__u32 l4;    /* TCP: of its header; UDP: 8; else or unknown: 0 */
	__u32 ports; /* source << 16 | destination, host order; unfragmented TCP, UDP, SCTP */
	__be32 src;
	__be32 dst;
	__u16 frag; /* flags and offset, host order */
	__u8 proto;
	__u8 tos;
	__u8 ttl;
	__u8 icmp_type; /* of an unfragmented ICMP message or first fragment, else 0 */
	__u8 icmp_code;
};

static __always_inline bool mz_is_fragment(const struct mz_packet4 *p)
{
	return p->frag & (MZ_IP_OFFSET | MZ_IP_MF);
}

static __always_inline __u32 mz_flow_of(const struct mz_packet4 *p)
{
	return mz_flow_hash(bpf_ntohl(p->src), bpf_ntohl(p->dst), p->proto, p->ports);
}

/* What is behind the IP header, where it is there at all. */
static __always_inline void mz_read_l4(void *l4, void *end, struct mz_packet4 *p)
{
	const struct mz_icmp *icmp = l4;
	const struct tcphdr *tcp = l4;
	const struct udphdr *udp = l4;

	if ((void *)(udp + 1) > end || p->frag & MZ_IP_OFFSET)
		return;
	if (p->proto == IPPROTO_ICMP) {
		p->icmp_type = icmp->type;
		p->icmp_code = icmp->code;
		return;
	}
	if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP && p->proto != IPPROTO_SCTP)
		return;
	if (!(p->frag & MZ_IP_MF))
		p->ports = (__u32)bpf_ntohs(udp->source) << 16 | bpf_ntohs(udp->dest);
	if (p->proto == IPPROTO_UDP)
		p->l4 = MZ_UDP_LEN;
	else if (p->proto == IPPROTO_TCP && (void *)(tcp + 1) <= end)
		p->l4 = (((const __u8 *)tcp)[12] >> 4) * 4;
}

/* @len: bytes of the whole frame. */
static __always_inline mz_exit mz_read_packet4(void *data, void *end, __u32 len,
					       struct mz_packet4 *p)
{
	const struct iphdr *ip = data + MZ_ETH_LEN;

	if ((void *)(ip + 1) > end || !mz_ip_is_sound(ip, len - MZ_ETH_LEN))
		return MZ_DROP_MALFORMED_IP;
	p->total = bpf_ntohs(ip->tot_len);
	p->head = mz_ip_header_len(ip);
	p->frag = bpf_ntohs(ip->frag_off);
	p->proto = ip->protocol;
	p->src = ip->saddr;
	p->dst = ip->daddr;
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	mz_read_l4((void *)ip + p->head, end, p);
	return MZ_GO_ON;
}

#endif
