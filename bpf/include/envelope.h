/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * envelope.h - the outer headers, written from nothing.
 *
 * Layout: Ethernet, IPv4, UDP, Geneve, at most one option of ours, inner Ethernet.
 * Outer MACs are whoever's sends it.
 */
#ifndef MIZAR_ENVELOPE_H
#define MIZAR_ENVELOPE_H

#include "geneve.h"

/* What is put between the outer Ethernet header and the inner IP packet. */
#define MZ_ROOM (MZ_IP_LEN + MZ_UDP_LEN + (int)sizeof(struct mz_geneve) + MZ_ETH_LEN)
#define MZ_ROOM_OPT (MZ_ROOM + MZ_OPT_LEN)

#define MZ_TTL 64

struct mz_envelope {
	__u32 vni;
	__be32 from;
	__be32 to;
	__be16 sport;
	__u8 tos;
	__u8 flags;    /* MZ_GENEVE_F_* */
	__u32 opt_len; /* 0 or MZ_OPT_LEN */
};

/* DF, id 0 (RFC 6864 s4.1); UDP checksum 0 (RFC 8926 s3.3). @total: bytes of the IP packet. */
static __always_inline void mz_write_ip_udp(struct iphdr *ip, const struct mz_envelope *e,
					    __u32 total)
{
	struct udphdr *udp = (void *)(ip + 1);

	*(__be16 *)ip = bpf_htons(0x4500 | e->tos);
	ip->tot_len = bpf_htons(total);
	ip->id = 0;
	ip->frag_off = bpf_htons(MZ_IP_DF);
	ip->ttl = MZ_TTL;
	ip->protocol = IPPROTO_UDP;
	ip->check = 0;
	ip->saddr = e->from;
	ip->daddr = e->to;
	ip->check = mz_csum_fold(mz_ip_sum(ip));
	udp->source = e->sport;
	udp->dest = bpf_htons(MZ_GENEVE_PORT);
	udp->len = bpf_htons(total - MZ_IP_LEN);
	udp->check = 0;
}

static __always_inline void mz_write_geneve(struct mz_geneve *geneve, const struct mz_envelope *e)
{
	geneve->ver_optlen = e->opt_len / 4;
	geneve->flags = e->flags;
	geneve->protocol = bpf_htons(MZ_GENEVE_ETH);
	geneve->vni_rsvd = bpf_htonl(e->vni << 8);
}

static __always_inline void mz_write_opt_head(struct mz_geneve_opt *head, enum mz_opt_type type)
{
	head->opt_class = bpf_htons(MZ_OPT_CLASS);
	head->type = type;
	head->length = MZ_OPT_LEN / 4 - 1;
}

static __always_inline void mz_write_rts(struct mz_opt_rts *rts, __be32 host, __u8 hop)
{
	mz_write_opt_head(&rts->head, MZ_OPT_RTS);
	rts->host = host;
	*(__be32 *)&rts->hop = bpf_htonl((__u32)hop << 24);
}

#endif
