/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * translate.h - a packet gets the addresses and ports that its flow says.
 *
 * What holds:
 *  - Checksums are updated by what has changed (RFC 1624), by the kernel's helpers: they know whether a
 *    checksum is a full one or left to the device, and leave a UDP checksum of 0 as it is.
 *  - SCTP has a CRC32c over ports but not addresses (RFC 9260 s6.8), which cannot be updated without
 *    reading the whole packet: its ports cannot change.
 *  - An ICMP error is translated with what it quotes (RFC 5508 REQ-4); a router that has sent it stays its
 *    source, but outside. The quoted header's checksum follows, so within the error's own the addresses cancel out.
 */
#ifndef MIZAR_TRANSLATE_H
#define MIZAR_TRANSLATE_H

#include "csum.h"
#include "flow.h"

#define MZ_IP_CHECK ((int)offsetof(struct iphdr, check))
#define MZ_IP_ADDRS ((int)offsetof(struct iphdr, saddr))

struct mz_addrs {
	__be32 src;
	__be32 dst;
};

struct mz_port_pair {
	__be16 source;
	__be16 dest;
};

/* A difference as the kernel's helpers take it. */
static __always_inline __u32 mz_csum_diff(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* The difference that packets' addresses make, from those of @key to those of @flow. */
static __always_inline __u32 mz_addrs_diff(const struct mz_flow_key4 *key,
					   const struct mz_flow4 *flow)
{
	return mz_csum_diff(mz_csum_swap(key->src, flow->src) + mz_csum_swap(key->dst, flow->dst));
}

static __always_inline __u32 mz_ports_diff(const struct mz_flow_key4 *key,
					   const struct mz_flow4 *flow)
{
	return mz_csum_diff(mz_csum_swap16(key->sport, flow->sport) +
			    mz_csum_swap16(key->dport, flow->dport));
}

static __always_inline bool mz_keeps_ports(const struct mz_flow_key4 *key,
					   const struct mz_flow4 *flow)
{
	return key->sport == flow->sport && key->dport == flow->dport;
}

/* Addresses of the IP header at @at. */
static __always_inline bool mz_write_addrs(struct __sk_buff *skb, __u32 at,
					   const struct mz_addrs *addrs, __u32 diff)
{
	return !bpf_skb_store_bytes(skb, at + MZ_IP_ADDRS, addrs, sizeof(*addrs), 0) &&
	       !bpf_l3_csum_replace(skb, at + MZ_IP_CHECK, 0, diff, 0);
}

/* Ports of the header at @l4, or what stands for them; 0 and 0 for an echo's other side. */
static __always_inline bool mz_write_ports(struct __sk_buff *skb, __u32 l4, __u8 proto,
					   __be16 sport, __be16 dport)
{
	struct mz_port_pair ports = {sport, dport};
	__be16 id = sport | dport;

	if (proto == IPPROTO_ICMP)
		return !bpf_skb_store_bytes(skb, l4 + offsetof(struct mz_icmp, rest), &id,
					    sizeof(id), 0);
	return !bpf_skb_store_bytes(skb, l4, &ports, sizeof(ports), 0);
}

/* Where the checksum is in a header of @proto, 0: not one that can be updated. */
static __always_inline __u32 mz_check_offset(__u8 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return MZ_TCP_CHECK;
	case IPPROTO_UDP:
		return offsetof(struct udphdr, check);
	case IPPROTO_ICMP:
		return offsetof(struct mz_icmp, check);
	}
	return 0;
}

static __always_inline bool mz_translate_l4(struct __sk_buff *skb, const struct mz_tuple4 *t,
					    const struct mz_flow4 *to, __u32 addrs)
{
	__u32 check = t->l4 + mz_check_offset(t->key.proto);
	__u64 zero = t->key.proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	if (t->key.proto != IPPROTO_SCTP && t->key.proto != IPPROTO_ICMP &&
	    bpf_l4_csum_replace(skb, check, 0, addrs, BPF_F_PSEUDO_HDR | zero))
		return false;
	if (mz_keeps_ports(&t->key, to))
		return true;
	if (bpf_l4_csum_replace(skb, check, 0, mz_ports_diff(&t->key, to), zero))
		return false;
	return mz_write_ports(skb, t->l4, t->key.proto, to->sport, to->dport);
}

/*
 * The checksum in what is quoted, where it is there at all: an error has only eight bytes for sure.
 * False: there is none to keep right.
 */
static __always_inline bool mz_quoted_check(struct __sk_buff *skb, const struct mz_tuple4 *t,
					    __u32 diff)
{
	__u32 at = t->quoted_l4 + mz_check_offset(t->key.proto);
	__sum16 check = 0;

	if (t->key.proto == IPPROTO_SCTP || bpf_skb_load_bytes(skb, at, &check, sizeof(check)))
		return false;
	if (t->key.proto == IPPROTO_UDP && !check)
		return false;
	return !bpf_l3_csum_replace(skb, at, 0, diff, 0);
}

/* What is quoted is the packet that came the other way: the opposite of @t becomes the opposite of @to. */
static __always_inline bool mz_translate_quoted(struct __sk_buff *skb, const struct mz_tuple4 *t,
						const struct mz_flow4 *to, __u32 addrs)
{
	struct mz_addrs quoted = {to->dst, to->src};
	__u32 ports = mz_ports_diff(&t->key, to);
	bool icmp = t->key.proto == IPPROTO_ICMP;
	__u32 pseudo = icmp ? 0 : addrs, diff;

	/* A header whose checksum is right adds up to the same whatever is in it: what remains is what
	 * the checksum covers beyond it. */
	if (mz_quoted_check(skb, t, mz_csum_diff((__u64)pseudo + ports)))
		diff = ~pseudo;
	else
		diff = ports;
	return mz_write_addrs(skb, t->quoted, &quoted, addrs) &&
	       mz_write_ports(skb, t->quoted_l4, t->key.proto, to->dport, to->sport) &&
	       !bpf_l4_csum_replace(skb, t->l4 + offsetof(struct mz_icmp, check), 0, diff, 0);
}

static __always_inline bool mz_translate_error(struct __sk_buff *skb, const struct mz_tuple4 *t,
					       const struct mz_flow4 *to, __u32 addrs)
{
	/* Outside nobody knows a router of ours inside, RFC 5508 REQ-5. */
	bool stays = t->from != t->key.src && to->vni;
	struct mz_addrs outer = {
		.src = stays ? t->from : to->src,
		.dst = to->dst,
	};
	__u32 diff = mz_csum_diff(mz_csum_swap(t->from, outer.src) +
				  mz_csum_swap(t->key.dst, outer.dst));

	return mz_write_addrs(skb, MZ_ETH_LEN, &outer, diff) &&
	       mz_translate_quoted(skb, t, to, addrs);
}

/*
 * A plain packet, Ethernet and IPv4, of tuple @t. MZ_GO_ON; MZ_DROP_UNTRANSLATABLE; MZ_DROP_HELPER: the
 * kernel refused, and the packet is half done. Global: see mz_next_replica().
 */
__noinline mz_exit mz_translate(struct __sk_buff *skb, const struct mz_tuple4 *t,
				const struct mz_flow4 *to)
{
	struct mz_addrs addrs;
	__u32 diff;

	if (!t || !to)
		return MZ_DROP_HELPER;
	diff = mz_addrs_diff(&t->key, to);
	if (t->key.proto == IPPROTO_SCTP && !mz_keeps_ports(&t->key, to))
		return MZ_DROP_UNTRANSLATABLE;
	if (t->quoted)
		return mz_translate_error(skb, t, to, diff) ? MZ_GO_ON : MZ_DROP_HELPER;
	addrs = (struct mz_addrs){to->src, to->dst};
	if (!mz_write_addrs(skb, MZ_ETH_LEN, &addrs, diff))
		return MZ_DROP_HELPER;
	if (t->is_fragment == MZ_FRAGMENT_LATER)
		return MZ_GO_ON;
	return mz_translate_l4(skb, t, to, diff) ? MZ_GO_ON : MZ_DROP_HELPER;
}

#endif
