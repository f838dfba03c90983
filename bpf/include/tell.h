/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tell.h - turn a packet into a control packet to another host: HERE, FORGET.
 *
 * A program cannot make a packet, only change the one it has, so the message quotes
 * the start of the inner frame. Its ethertype says so (0x88B5, IEEE 802 local
 * experimental), lest decoders take the cut packet for a broken one.
 */
#ifndef MIZAR_TELL_H
#define MIZAR_TELL_H

#include "tc.h"

#define MZ_QUOTE 96
/* The kernel does not cut off a checksum field that is still to be filled in; a tunnel
 * inside the endpoint has it further back. */
#define MZ_QUOTE_MORE 192
#define MZ_ETH_QUOTE 0x88b5

/* Outer headers off; what remains is outer Ethernet, inner IP: the inner frame but for its MACs. */
static __always_inline bool mz_decap(struct __sk_buff *skb, __u32 opts)
{
	__s32 room = MZ_ROOM + opts;

	return !bpf_skb_adjust_room(skb, -room, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

static __always_inline bool mz_cut(struct __sk_buff *skb)
{
	if (skb->len <= MZ_QUOTE || !bpf_skb_change_tail(skb, MZ_QUOTE, 0))
		return true;
	return skb->len > MZ_QUOTE_MORE && !bpf_skb_change_tail(skb, MZ_QUOTE_MORE, 0);
}

static __always_inline bool mz_write_message(struct __sk_buff *skb, enum mz_opt_type type,
					     const struct mz_envelope *envelope, __be32 addr)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct mz_opt_addr4 *opt = data + MZ_OFF_OPTIONS;
	struct mz_eth *inner = (void *)(opt + 1);

	if ((void *)(inner + 1) > end)
		return false;
	mz_write_ip_udp(data + MZ_OFF_IP, envelope, skb->len - MZ_ETH_LEN);
	mz_write_geneve(data + MZ_OFF_GENEVE, envelope);
	mz_write_opt_head(&opt->head, type);
	opt->addr = addr;
	opt->rsvd = 0;
	mz_mac_set_router(inner->dst);
	mz_mac_set_router(inner->src);
	inner->proto = bpf_htons(MZ_ETH_QUOTE);
	return true;
}

/*
 * Tell host @to about endpoint @addr of @vni. @skb is a bare inner frame. Returns the hook's
 * action, or 0 if the message could not be made. Global: see mz_next_replica().
 */
__noinline int mz_tell(struct __sk_buff *skb, __u32 type, __u32 to, __u32 vni, __u32 addr)
{
	const struct mz_config *config = mz_config_get();
	const struct mz_host *via = mz_host_get(to);
	struct mz_envelope envelope = {
		.vni = vni,
		.to = to,
		.sport = bpf_htons(MZ_GENEVE_PORT),
		.flags = MZ_GENEVE_F_CONTROL,
		.opt_len = MZ_OPT_LEN,
	};

	if (!config || !via || !mz_cut(skb))
		return 0;
	if (bpf_skb_adjust_room(skb, MZ_ROOM_OPT, BPF_ADJ_ROOM_MAC, 0))
		return 0;
	envelope.from = config->underlay_addr;
	return mz_write_message(skb, type, &envelope, addr) ? mz_send(config, via) : 0;
}

#endif
