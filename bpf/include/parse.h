/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * parse.h - Ethernet and IPv4 headers as both programs read them.
 *
 * Header structs here are aligned to two bytes at least and never packed: clang
 * reads a packed struct byte by byte.
 */
#ifndef MIZAR_PARSE_H
#define MIZAR_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include "base.h"

#define MZ_ETH_LEN 14
#define MZ_IP_LEN 20     /* without options */
#define MZ_IP_MAX_LEN 60 /* with all of them */
#define MZ_UDP_LEN 8
#define MZ_TCP_LEN 20 /* without options */

struct mz_eth {
	__u16 dst[3];
	__u16 src[3];
	__be16 proto;
};

MZ_ASSERT_SIZE(mz_eth, MZ_ETH_LEN);

#define MZ_IP_DF 0x4000
#define MZ_IP_MF 0x2000
#define MZ_IP_OFFSET 0x1fff

/* MACs are copied and compared as 16-bit words, which their alignment allows. */
static __always_inline void mz_mac_set(__u16 *to, const void *from)
{
	const __u16 *mac = from;

	to[0] = mac[0];
	to[1] = mac[1];
	to[2] = mac[2];
}

static __always_inline bool mz_mac_is(const __u16 *a, const void *other)
{
	const __u16 *b = other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static __always_inline void mz_mac_set_router(__u16 *to)
{
	const __u8 router[] = MZ_ROUTER_MAC;

	to[0] = bpf_htons(router[0] << 8 | router[1]);
	to[1] = bpf_htons(router[2] << 8 | router[3]);
	to[2] = bpf_htons(router[4] << 8 | router[5]);
}

/* A word of the network whose halves are aligned, but not the whole: in MACs and in ARP. */
static __always_inline __be32 mz_halves(const __u16 *half)
{
	union {
		__u16 half[2];
		__be32 word;
	} u = {.half = {half[0], half[1]}};

	return u.word;
}

/* MACs that name somebody (enum mz_inner_mac) have a first byte of their own. */
#define MZ_MAC_NAMES 0x06

static __always_inline bool mz_mac_names(const __u16 *mac)
{
	return *(const __u8 *)mac == MZ_MAC_NAMES;
}

static __always_inline bool mz_mac_is_kind(const __u16 *mac, enum mz_inner_mac kind)
{
	return mac[0] == bpf_htons(kind);
}

/* An address, or mz_mac_peer(). */
static __always_inline __be32 mz_mac_argument(const __u16 *mac)
{
	return mz_halves(mac + 1);
}

static __always_inline void mz_mac_set_kind(__u16 *to, enum mz_inner_mac kind, __be32 argument)
{
	union {
		__be32 word;
		__u16 half[2];
	} u = {.word = argument};

	to[0] = bpf_htons(kind);
	to[1] = u.half[0];
	to[2] = u.half[1];
}

/* Argument of MZ_MAC_PEER. @forwarded: the endpoint that sends is not the one with the IP source. */
static __always_inline __be32 mz_mac_peer(__u32 vni, bool forwarded)
{
	return bpf_htonl(vni << 8 | forwarded);
}

/* The individual/group bit, first on the wire (IEEE 802.3 s3.2.3). */
static __always_inline bool mz_mac_is_group(const __u16 *mac)
{
	return *(const __u8 *)mac & 1;
}

static __always_inline __u32 mz_ip_header_len(const struct iphdr *ip)
{
	return (*(const __u8 *)ip & 0xf) * 4;
}

/* Does the header make sense within @room bytes? Only its first 20 bytes are read. */
static __always_inline bool mz_ip_is_sound(const struct iphdr *ip, __u32 room)
{
	__u32 head = mz_ip_header_len(ip);
	__u32 total = bpf_ntohs(ip->tot_len);

	return *(const __u8 *)ip >> 4 == 4 && head >= MZ_IP_LEN && head <= total && total <= room;
}

/* 224/4 and the limited broadcast. */
static __always_inline bool mz_ip_is_group(__be32 addr)
{
	return (addr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || addr == 0xffffffff;
}

/* No address of anybody: groups, "this network" and loopback, RFC 1122 s3.2.1.3. */
static __always_inline bool mz_ip_is_nobody(__be32 addr)
{
	__be32 net = addr & bpf_htonl(0xff000000);

	return mz_ip_is_group(addr) || !net || net == bpf_htonl(0x7f000000);
}

#endif
