/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * wire.h - what a tunnel packet is, read from the outside in.
 *
 * Both hooks parse with these functions: they take the packet's linear part, and
 * judge lengths by mz_wire.len, the whole frame. A header that the frame has but
 * the linear part has not is the hook's fault, not the packet's: MZ_DROP_HELPER.
 */
#ifndef MIZAR_WIRE_H
#define MIZAR_WIRE_H

#include "csum.h"
#include "verdict.h"
#include "maps/config.h"
#include "maps/hosts.h"

/* Offsets of our own headers: the outer IPv4 header has no options. */
#define MZ_OFF_IP MZ_ETH_LEN
#define MZ_OFF_UDP (MZ_OFF_IP + MZ_IP_LEN)
#define MZ_OFF_GENEVE (MZ_OFF_UDP + MZ_UDP_LEN)
#define MZ_OFF_OPTIONS (MZ_OFF_GENEVE + (int)sizeof(struct mz_geneve))

#define MZ_GENEVE_ETH 0x6558 /* RFC 8926 s3.4: transparent Ethernet bridging */

/* Linear bytes that the inner headers need. */
#define MZ_NEED_INNER (MZ_ETH_LEN + MZ_IP_LEN)

#define MZ_HOP_NONE 0xff /* no RTS option */

struct mz_wire {
	__u32 len;   /* of the frame */
	__u32 total; /* of the outer IP packet */
	__u32 vni;
	__u32 opts;  /* bytes of all options */
	__u64 found; /* our options: see mz_wire_opt() */
	__u32 hop;   /* enum mz_hop or MZ_HOP_NONE */
	__be32 src;  /* outer source */
	__be32 rts;  /* underlay address in the RTS option */
	__be32 ip_src;
	__be32 ip_dst;
	/* The endpoints meant, by MAC if one is named there, else by IP. 0: none. */
	__be32 inner_src;
	__be32 inner_dst;
	__be32 prefer;  /* destination MAC: of all backends rather this one; or 0 */
	__u32 peer_vni; /* source MAC: VPC of the source, if it is another one; or 0 */
	__be16 sport;   /* outer source port */
	__u8 tos;       /* outer */
	__u8 inner_tos;
	__u8 flags;        /* MZ_GENEVE_F_* */
	__u8 from_gateway; /* source MAC: came in through a gateway */
	__u8 to_gateway;   /* destination MAC: out of the VPC; no endpoint is meant */
};

/* Bytes of the inner frame, the unit of mz_stats. */
static __always_inline __u32 mz_wire_inner_len(const struct mz_wire *w)
{
	return w->len - MZ_OFF_OPTIONS - w->opts;
}

/* Ethernet, IPv4 and UDP: is it Geneve for us? Anything else is the host's own. */
static __always_inline mz_exit mz_wire_outer(void *data, void *end, const struct mz_config *config,
					     struct mz_wire *w)
{
	const struct mz_eth *eth = data;
	const struct iphdr *ip = data + MZ_OFF_IP;
	const struct udphdr *udp;

	if ((void *)(ip + 1) > end || eth->proto != bpf_htons(ETH_P_IP))
		return MZ_V_PASS;
	if (ip->daddr != config->underlay_addr || ip->protocol != IPPROTO_UDP ||
	    ip->frag_off & bpf_htons(MZ_IP_OFFSET))
		return MZ_V_PASS;
	udp = (void *)ip + mz_ip_header_len(ip);
	if ((void *)(udp + 1) > end || udp->dest != bpf_htons(MZ_GENEVE_PORT))
		return MZ_V_PASS;

	w->total = bpf_ntohs(ip->tot_len);
	w->src = ip->saddr;
	w->sport = udp->source;
	w->tos = ip->tos;
	if (*(const __u8 *)ip != 0x45 || mz_csum_fold(mz_ip_sum(ip)) ||
	    w->total < MZ_IP_LEN + MZ_UDP_LEN || MZ_ETH_LEN + w->total > w->len)
		return MZ_DROP_OUTER_MALFORMED;
	if (ip->frag_off & bpf_htons(MZ_IP_MF))
		return MZ_DROP_OUTER_FRAGMENT;
	if (bpf_ntohs(udp->len) != w->total - MZ_IP_LEN)
		return MZ_DROP_OUTER_MALFORMED;
	return mz_is_other(mz_host_get(w->src)) ? MZ_GO_ON : MZ_DROP_FOREIGN_PEER;
}

/* A destination MAC that names an endpoint, or a gateway. */
static __always_inline void mz_wire_to(const __u16 *mac, struct mz_wire *w)
{
	if (mz_mac_is_kind(mac, MZ_MAC_VIA)) {
		w->inner_dst = mz_mac_argument(mac);
	} else if (mz_mac_is_kind(mac, MZ_MAC_PREFER)) {
		w->prefer = mz_mac_argument(mac);
	} else if (mz_mac_is_kind(mac, MZ_MAC_GATEWAY)) {
		w->to_gateway = true;
		w->inner_dst = 0;
	}
}

/* A source MAC that names an endpoint, a VPC or a gateway. */
static __always_inline void mz_wire_from(const __u16 *mac, struct mz_wire *w)
{
	__u32 argument = bpf_ntohl(mz_mac_argument(mac));

	if (mz_mac_is_kind(mac, MZ_MAC_VIA)) {
		w->inner_src = mz_mac_argument(mac);
	} else if (mz_mac_is_kind(mac, MZ_MAC_PEER)) {
		w->peer_vni = argument >> 8 == w->vni ? 0 : argument >> 8;
		w->inner_src = argument & 0xff ? 0 : w->ip_src;
	} else if (mz_mac_is_kind(mac, MZ_MAC_GATEWAY)) {
		w->from_gateway = true;
		w->inner_src = 0;
	}
}

/* As a receiver in peer VPC @vni sees the packet. */
static __always_inline void mz_wire_cross(struct mz_wire *w, __u32 vni)
{
	w->peer_vni = w->vni;
	w->vni = vni;
	if (w->inner_src != w->ip_src)
		w->inner_src = 0;
}

/* VPC in which the sender knows the destination, and hears of it. */
static __always_inline __u32 mz_wire_sender_vni(const struct mz_wire *w)
{
	return w->peer_vni ? w->peer_vni : w->vni;
}

/*
 * Inner Ethernet and IPv4, as far as forwarding needs them: who is meant, TOS.
 * Lengths must add up, or a decapsulated packet could claim more than it has.
 */
static __always_inline mz_exit mz_wire_inner(void *data, void *end, struct mz_wire *w)
{
	__u32 room = w->total - MZ_IP_LEN - MZ_UDP_LEN - sizeof(struct mz_geneve) - w->opts;
	const struct mz_eth *eth = data + MZ_OFF_OPTIONS + (w->opts & 0xfc);
	const struct iphdr *ip = (void *)(eth + 1);

	if (room < MZ_ETH_LEN)
		return MZ_DROP_INNER_MALFORMED;
	if ((void *)(eth + 1) > end)
		return MZ_DROP_HELPER;
	if (eth->proto != bpf_htons(ETH_P_IP))
		return MZ_DROP_INNER_NOT_IPV4;
	if (room < MZ_ETH_LEN + MZ_IP_LEN)
		return MZ_DROP_INNER_MALFORMED;
	if ((void *)(ip + 1) > end)
		return MZ_DROP_HELPER;
	if (!mz_ip_is_sound(ip, room - MZ_ETH_LEN))
		return MZ_DROP_INNER_MALFORMED;
	w->ip_src = w->inner_src = ip->saddr;
	w->ip_dst = w->inner_dst = ip->daddr;
	w->inner_tos = ip->tos;
	if (unlikely(mz_mac_names(eth->dst)))
		mz_wire_to(eth->dst, w);
	if (unlikely(mz_mac_names(eth->src)))
		mz_wire_from(eth->src, w);
	return MZ_GO_ON;
}

#endif
