/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tuple4.h - to which flow does a packet belong, and what does it do to it?
 *
 * What holds:
 *  - An ICMP error belongs to the flow of the packet that it quotes, reversed: who gets the error
 *    has sent that packet. An echo has its identifier as the port of the asking side, the other is 0.
 *  - The ports of a fragmented packet are known from its first fragment on, by mz_frags4.
 *  - Packets are read with the kernel's help, so it does not matter which parts are linear.
 */
#ifndef MIZAR_TUPLE4_H
#define MIZAR_TUPLE4_H

#include "packet4.h"
#include "maps/frags4.h"

/* What a packet does to its flow: bits of mz_tuple4.event. */
#define MZ_EVENT_OPEN 0x1  /* SYN without ACK, INIT */
#define MZ_EVENT_FIN 0x2   /* FIN, SHUTDOWN, SHUTDOWN ACK */
#define MZ_EVENT_CLOSE 0x4 /* RST, ABORT, SHUTDOWN COMPLETE */

struct mz_tuple4 {
	struct mz_flow_key4 key;
	__be32 from;      /* IP source: another one than key.src where a router reports an error */
	__u16 l4;         /* offset of what is behind the IP header */
	__u16 quoted;     /* offset of the IP header in an ICMP error, 0: is none */
	__u16 quoted_l4;  /* offset of what is behind that */
	__u8 event;       /* MZ_EVENT_* */
	__u8 is_fragment; /* 1: the first, 2: another one, which has no ports */
};

MZ_ASSERT_SIZE(mz_tuple4, 32);

#define MZ_FRAGMENT_FIRST 1
#define MZ_FRAGMENT_LATER 2

#define MZ_TCP_FLAGS 13  /* offset of the flags in a TCP header */
#define MZ_TCP_CHECK 16  /* of the checksum */
#define MZ_SCTP_CHUNK 12 /* of the type of the first chunk in an SCTP packet */

#define MZ_TCP_FIN 0x01
#define MZ_TCP_SYN 0x02
#define MZ_TCP_RST 0x04
#define MZ_TCP_ACK 0x10

/* RFC 9260 s3.2. */
enum mz_sctp_chunk {
	MZ_SCTP_INIT = 1,
	MZ_SCTP_ABORT = 6,
	MZ_SCTP_SHUTDOWN = 7,
	MZ_SCTP_SHUTDOWN_ACK = 8,
	MZ_SCTP_SHUTDOWN_COMPLETE = 14,
};

/* @xdp is a constant wherever this is called. */
static __always_inline bool mz_load(void *ctx, bool xdp, __u32 at, void *to, __u32 len)
{
	return !(xdp ? bpf_xdp_load_bytes(ctx, at, to, len) : bpf_skb_load_bytes(ctx, at, to, len));
}

static __always_inline __u8 mz_tcp_event(__u8 flags)
{
	if (flags & MZ_TCP_RST)
		return MZ_EVENT_CLOSE;
	if (flags & MZ_TCP_FIN)
		return MZ_EVENT_FIN;
	return (flags & (MZ_TCP_SYN | MZ_TCP_ACK)) == MZ_TCP_SYN ? MZ_EVENT_OPEN : 0;
}

static __always_inline __u8 mz_sctp_event(__u8 chunk)
{
	if (chunk == MZ_SCTP_INIT)
		return MZ_EVENT_OPEN;
	if (chunk == MZ_SCTP_SHUTDOWN || chunk == MZ_SCTP_SHUTDOWN_ACK)
		return MZ_EVENT_FIN;
	return chunk == MZ_SCTP_ABORT || chunk == MZ_SCTP_SHUTDOWN_COMPLETE ? MZ_EVENT_CLOSE : 0;
}

/* What a cut packet has not, does not happen. */
static __always_inline __u8 mz_event_at(void *ctx, bool xdp, __u8 proto, __u32 l4)
{
	__u8 byte = 0;

	if (proto == IPPROTO_TCP && mz_load(ctx, xdp, l4 + MZ_TCP_FLAGS, &byte, sizeof(byte)))
		return mz_tcp_event(byte);
	if (proto == IPPROTO_SCTP && mz_load(ctx, xdp, l4 + MZ_SCTP_CHUNK, &byte, sizeof(byte)))
		return mz_sctp_event(byte);
	return 0;
}

/* The first eight bytes of any protocol that has flows. */
union mz_l4 {
	struct {
		__be16 source;
		__be16 dest;
	} ports;
	struct mz_icmp icmp;
	__u64 bytes;
};

/* Ports, or what stands for them; @l4 is not an error's. */
static __always_inline bool mz_ports_of(const union mz_l4 *l4, struct mz_flow_key4 *key)
{
	key->sport = 0;
	key->dport = 0;
	if (key->proto == IPPROTO_ICMP) {
		if (l4->icmp.type == MZ_ICMP_ECHO_REQUEST)
			key->sport = *(const __be16 *)&l4->icmp.rest;
		else if (l4->icmp.type == MZ_ICMP_ECHO_REPLY)
			key->dport = *(const __be16 *)&l4->icmp.rest;
		else
			return false;
		return true;
	}
	if (key->proto != IPPROTO_TCP && key->proto != IPPROTO_UDP && key->proto != IPPROTO_SCTP)
		return false;
	key->sport = l4->ports.source;
	key->dport = l4->ports.dest;
	return true;
}

static __always_inline void mz_key_set(struct mz_flow_key4 *key, const struct iphdr *ip)
{
	key->src = ip->saddr;
	key->dst = ip->daddr;
	key->proto = ip->protocol;
}

/* The same flow the other way. */
static __always_inline void mz_key_turn(struct mz_flow_key4 *key)
{
	__be32 addr = key->src;
	__be16 port = key->sport;

	key->src = key->dst;
	key->dst = addr;
	key->sport = key->dport;
	key->dport = port;
}

/* Those that quote a packet and are forwarded as they are (RFC 5508 s4). */
static __always_inline bool mz_icmp_quotes(__u8 type)
{
	return type == MZ_ICMP_UNREACHABLE || type == MZ_ICMP_TIME_EXCEEDED ||
	       type == MZ_ICMP_PARAMETER_PROBLEM;
}

/* Addressed to whom the quoted packet is from, or it is no error of this flow. */
static __always_inline bool mz_quoted_at(void *ctx, bool xdp, struct mz_tuple4 *t)
{
	__be32 to = t->key.dst;
	struct iphdr ip;
	union mz_l4 l4;

	t->quoted = t->l4 + MZ_ICMP_LEN;
	if (!mz_load(ctx, xdp, t->quoted, &ip, sizeof(ip)))
		return false;
	if (*(__u8 *)&ip >> 4 != 4 || mz_ip_header_len(&ip) < MZ_IP_LEN || ip.saddr != to ||
	    ip.frag_off & bpf_htons(MZ_IP_OFFSET))
		return false;
	t->quoted_l4 = t->quoted + mz_ip_header_len(&ip);
	mz_key_set(&t->key, &ip);
	if (!mz_load(ctx, xdp, t->quoted_l4, &l4, sizeof(l4)) || !mz_ports_of(&l4, &t->key))
		return false;
	mz_key_turn(&t->key);
	return true;
}

/*
 * The packet whose IP header is at @at, and sound. Of fragments but the first it is left to the caller to
 * find the ports.
 */
static __always_inline mz_exit mz_tuple_at(void *ctx, bool xdp, __u32 at, struct mz_tuple4 *t,
					   __be16 *id)
{
	struct iphdr ip;
	union mz_l4 l4;

	if (!mz_load(ctx, xdp, at, &ip, sizeof(ip)))
		return MZ_DROP_UNTRANSLATABLE;
	mz_key_set(&t->key, &ip);
	t->from = ip.saddr;
	t->l4 = at + mz_ip_header_len(&ip);
	*id = ip.id;
	if (ip.frag_off & bpf_htons(MZ_IP_OFFSET)) {
		t->is_fragment = MZ_FRAGMENT_LATER;
		return MZ_GO_ON;
	}
	t->is_fragment = ip.frag_off & bpf_htons(MZ_IP_MF) ? MZ_FRAGMENT_FIRST : 0;
	if (!mz_load(ctx, xdp, t->l4, &l4, sizeof(l4)))
		return MZ_DROP_UNTRANSLATABLE;
	if (ip.protocol == IPPROTO_ICMP && mz_icmp_quotes(l4.icmp.type))
		return mz_quoted_at(ctx, xdp, t) ? MZ_GO_ON : MZ_DROP_UNTRANSLATABLE;
	if (!mz_ports_of(&l4, &t->key))
		return MZ_DROP_UNTRANSLATABLE;
	t->event = mz_event_at(ctx, xdp, ip.protocol, t->l4);
	return MZ_GO_ON;
}

static __always_inline mz_exit mz_frag_ports(struct mz_tuple4 *t, __be16 id)
{
	struct mz_frag_key4 key = {
		.vni = t->key.vni,
		.src = t->key.src,
		.dst = t->key.dst,
		.id = id,
		.proto = t->key.proto,
	};
	struct mz_frag4 ports = {.sport = t->key.sport, .dport = t->key.dport};
	const struct mz_frag4 *known;

	if (t->is_fragment == MZ_FRAGMENT_FIRST) {
		bpf_map_update_elem(&mz_frags4, &key, &ports, BPF_ANY);
		return MZ_GO_ON;
	}
	known = bpf_map_lookup_elem(&mz_frags4, &key);
	if (!known)
		return MZ_DROP_FRAGMENT;
	t->key.sport = known->sport;
	t->key.dport = known->dport;
	return MZ_GO_ON;
}

/*
 * A plain packet, Ethernet and IPv4, in VPC @vni (0: outside). MZ_GO_ON; MZ_DROP_FRAGMENT: its first
 * fragment is not known; MZ_DROP_UNTRANSLATABLE: it has no flow. Global: see mz_next_replica().
 */
__noinline mz_exit mz_tuple_read(struct __sk_buff *skb, __u32 vni, struct mz_tuple4 *t)
{
	mz_exit exit;
	__be16 id = 0;

	if (!t)
		return MZ_DROP_HELPER;
	__builtin_memset(t, 0, sizeof(*t));
	t->key.vni = vni;
	exit = mz_tuple_at(skb, false, MZ_ETH_LEN, t, &id);
	if (exit == MZ_GO_ON && unlikely(t->is_fragment) && !t->quoted)
		return mz_frag_ports(t, id);
	return exit;
}

#endif
