/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arp.h - ARP (RFC 826) as the programs read and answer it.
 */
#ifndef MIZAR_ARP_H
#define MIZAR_ARP_H

#include "parse.h"

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

#endif
