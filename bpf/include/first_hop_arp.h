/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * first_hop_arp.h - ARP of endpoints is answered by the first hop; none leaves the host.
 *
 * Every address that can be reached has the router's MAC. Probes (RFC 5227) and
 * questions for the asker's own address stay unanswered, so that nobody finds a
 * duplicate of himself.
 */
#ifndef MIZAR_FIRST_HOP_ARP_H
#define MIZAR_FIRST_HOP_ARP_H

#include "arp.h"
#include "port.h"
#include "verdict.h"
#include "maps/routes4.h"

/* May the port ask for @target? The gateway, and all that the VPC can reach but itself. */
static __always_inline bool mz_arp_is_due(const struct mz_port *port, __u32 ifindex, __be32 target)
{
	if (target == bpf_htonl(MZ_GATEWAY4))
		return true;
	return !mz_port_has(port, ifindex, target) && mz_route4_seek(mz_port_table(port), target);
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
	/* Who forwards asks with the source of what he forwards, or with another address of his own. */
	if (!(port->flags & MZ_PORT_F_FORWARDS) && !mz_port_has(port, skb->ifindex, sender))
		return MZ_DROP_SPOOFED_ARP;
	if (arp->op != bpf_htons(MZ_ARP_REQUEST) || !mz_arp_is_due(port, skb->ifindex, target))
		return MZ_DROP_ARP_UNANSWERED;
	mz_mac_set_router(router);
	mz_arp_answer(eth, arp, router);
	return MZ_EXIT(MZ_V_ARP_REPLY, bpf_redirect(skb->ifindex, 0));
}

#endif
