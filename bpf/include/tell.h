/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tell.h - turn a packet into a control packet to another host: HERE, FORGET.
 *
 * A program cannot make a packet, only change the one it has, so the message quotes the
 * inner frame: its start, where the kernel lets us cut it. It does not where the packet came
 * over a wire that keeps the sender's skb (a veth), as that still is a tunnel's to the kernel;
 * then all of it is quoted, GSO and all.
 */
#ifndef MIZAR_TELL_H
#define MIZAR_TELL_H

#include "tc.h"

#define MZ_QUOTE 96
/* The kernel does not cut off a checksum field that is still to be filled in; a tunnel
 * inside the endpoint has it further back. */
#define MZ_QUOTE_MORE 192
/* IEEE 802 local experimental, lest decoders take a cut packet for a broken one. */
#define MZ_ETH_QUOTE 0x88b5

/* Outer headers off; what remains is outer Ethernet, inner IP: the inner frame but for its MACs. */
static __always_inline bool mz_decap(struct __sk_buff *skb, __u32 opts)
{
	__s32 room = MZ_ROOM + opts;

	return !bpf_skb_adjust_room(skb, -room, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* Ethertype of what remains to be quoted. */
static __always_inline __u16 mz_cut(struct __sk_buff *skb)
{
	if (skb->len <= MZ_QUOTE)
		return ETH_P_IP;
	if (!bpf_skb_change_tail(skb, MZ_QUOTE, 0))
		return MZ_ETH_QUOTE;
	if (skb->len <= MZ_QUOTE_MORE || bpf_skb_change_tail(skb, MZ_QUOTE_MORE, 0))
		return ETH_P_IP;
	return MZ_ETH_QUOTE;
}

static __always_inline bool mz_write_message(struct __sk_buff *skb, enum mz_opt_type type,
					     const struct mz_envelope *envelope,
					     const struct mz_wire *w, __u16 quoted)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct mz_opt_addr4 *opt = data + MZ_OFF_OPTIONS;
	struct mz_eth *inner = (void *)(opt + 1);

	if ((void *)(inner + 1) > end)
		return false;
	mz_write_ip_udp(data + MZ_OFF_IP, envelope, skb->len - MZ_ETH_LEN);
	mz_write_geneve(data + MZ_OFF_GENEVE, envelope);
	mz_write_opt_head(&opt->head, type);
	opt->addr = w->inner_dst;
	opt->vni = w->peer_vni ? bpf_htonl(w->vni) : 0;
	mz_mac_set_router(inner->dst);
	mz_mac_set_router(inner->src);
	inner->proto = bpf_htons(quoted);
	return true;
}

/*
 * Tell host @to about the endpoint that @w was for, in the VPC in which the sender knows it. @skb is a
 * bare inner frame. Returns the hook's action, or 0 if the message could not be made. Global: see
 * mz_next_replica().
 */
__noinline int mz_tell(struct __sk_buff *skb, const struct mz_wire *w, __u32 type, __u32 to)
{
	const struct mz_config *config = mz_config_get();
	const struct mz_host *via = mz_host_seek(to);
	struct mz_envelope envelope = {
		.to = to,
		.sport = bpf_htons(MZ_GENEVE_PORT),
		.flags = MZ_GENEVE_F_CONTROL,
		.opt_len = MZ_OPT_LEN,
	};
	__u16 quoted;

	if (!config || !via || !w)
		return 0;
	envelope.vni = mz_wire_sender_vni(w);
	quoted = mz_cut(skb);
	if (bpf_skb_adjust_room(skb, MZ_ROOM_OPT, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return 0;
	envelope.from = config->underlay_addr;
	if (!mz_write_message(skb, type, &envelope, w, quoted))
		return 0;
	return mz_send(config, via);
}

#endif
