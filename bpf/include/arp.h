/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arp.h - ARP (RFC 826) is answered by the first hop; none leaves the host.
 *
 * Every address that can be reached has the router's MAC. Probes (RFC 5227) and
 * questions for the asker's own address stay unanswered, so that nobody finds a
 * duplicate of himself.
 */
#ifndef MIZAR_ARP_H
#define MIZAR_ARP_H

#include "parse.h"
#include "port.h"
#include "verdict.h"
#include "maps/routes4.h"

#define MZ_ARP_LEN 28
#define MZ_ARP_REQUEST 1
#define MZ_ARP_REPLY 2

/* Words of 16 bits, as addresses are not aligned in it. */
struct mz_arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 op;
	__u16 sender_mac[3];
	__u16 sender[2];
	__u16 target_mac[3];
	__u16 target[2];
};

MZ_ASSERT_SIZE(mz_arp, MZ_ARP_LEN);

/* Ethernet and IPv4, and the lengths that follow. */
static __always_inline bool mz_arp_is_sound(const struct mz_arp *arp)
{
	return arp->hardware == bpf_htons(1) && arp->protocol == bpf_htons(ETH_P_IP) &&
	       arp->hardware_len == 6 && arp->protocol_len == 4;
}

/* In place: whom it asks for has @mac. */
static __always_inline void mz_arp_answer(struct mz_eth *eth, struct mz_arp *arp, const void *mac)
{
	__u16 sender[2] = {arp->sender[0], arp->sender[1]};

	mz_mac_set(eth->dst, arp->sender_mac);
	mz_mac_set(eth->src, mac);
	arp->op = bpf_htons(MZ_ARP_REPLY);
	mz_mac_set(arp->target_mac, arp->sender_mac);
	mz_mac_set(arp->sender_mac, mac);
	arp->sender[0] = arp->target[0];
	arp->sender[1] = arp->target[1];
	arp->target[0] = sender[0];
	arp->target[1] = sender[1];
}

/* May the port ask for @target? The gateway, and all that the VPC can reach but itself. */
static __always_inline bool mz_arp_is_due(const struct mz_port *port, __u32 ifindex, __be32 target)
{
	if (target == bpf_htonl(MZ_GATEWAY4))
		return true;
	return !mz_port_has(port, ifindex, target) && mz_route4_seek(port->vni, target);
}

/* Global: see mz_next_replica(). */
__noinline mz_exit mz_first_hop_arp(struct __sk_buff *skb)
{
	const struct mz_port *port = mz_port_seek(skb->ifindex);
	struct mz_eth *eth = (void *)(long)skb->data;
	struct mz_arp *arp = (void *)(eth + 1);
	__be32 sender, target;
	__u16 router[3];

	if (!port)
		return MZ_DROP_UNKNOWN_PORT;
	if ((void *)(arp + 1) > (void *)(long)skb->data_end)
		return MZ_DROP_MALFORMED_ARP;
	if (!mz_arp_is_sound(arp))
		return MZ_DROP_MALFORMED_ARP;
	sender = mz_halves(arp->sender);
	target = mz_halves(arp->target);
	if (!mz_mac_is(arp->sender_mac, port->mac))
		return MZ_DROP_SPOOFED_ARP;
	if (!sender)
		return MZ_DROP_ARP_UNANSWERED;
	if (!mz_port_has(port, skb->ifindex, sender))
		return MZ_DROP_SPOOFED_ARP;
	if (arp->op != bpf_htons(MZ_ARP_REQUEST) || !mz_arp_is_due(port, skb->ifindex, target))
		return MZ_DROP_ARP_UNANSWERED;
	mz_mac_set_router(router);
	mz_arp_answer(eth, arp, router);
	return MZ_EXIT(MZ_V_ARP_REPLY, bpf_redirect(skb->ifindex, 0));
}

#endif
