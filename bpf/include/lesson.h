/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * lesson.h - packets to scaled endpoints, on the wire at tcx: this host bounces for one, or a bouncer has
 * sent back a packet of a client that is here.
 */
#ifndef MIZAR_LESSON_H
#define MIZAR_LESSON_H

#include "ecn.h"
#include "nat.h"
#include "scaled.h"
#include "tell.h"

/* In place of a verdict: the sender's host is this one. */
#define MZ_IS_OURS 0xf9u
_Static_assert(MZ_VERDICT_MAX <= MZ_IS_OURS, "a verdict and MZ_IS_OURS fit one byte");

/* We bounce for it, an endpoint of VPC @vni. Global: see mz_next_replica(). */
__noinline mz_exit mz_tc_scaled(struct __sk_buff *skb, const struct mz_wire *w, __u32 vni,
				struct mz_choice *choice)
{
	const struct mz_config *config = mz_config_get();
	const struct mz_host *via;
	mz_exit exit;

	if (!config || !w || !choice)
		return MZ_V_PASS;
	via = mz_host_seek(w->rts);
	if (!via)
		return MZ_DROP_UNKNOWN_HOST;
	exit = mz_choose_for(skb, false, w, vni, choice);
	if (exit != MZ_GO_ON)
		return exit;
	if (!mz_is_other(via))
		return MZ_IS_OURS;
	if (!mz_turn_back((void *)(long)skb->data, (void *)(long)skb->data_end, w,
			  config->underlay_addr, choice))
		return MZ_DROP_HELPER;
	return MZ_EXIT(MZ_V_REDIRECTED, mz_send(config, via));
}

/* The endpoint of this host that has sent it. */
static __always_inline const struct mz_endpoint *mz_client_of(const struct mz_wire *w)
{
	struct mz_addr_key4 key = {.vni = mz_wire_sender_vni(w), .addr = w->inner_src};

	return mz_endpoint4_get(&key);
}

/* The client is outside, and came in here. */
static __always_inline bool mz_is_from_outside(const struct mz_wire *w)
{
	const struct mz_vpc *vpc;

	if (likely(!w->from_gateway))
		return false;
	vpc = mz_vpc_get(w->vni);
	return vpc && vpc->flags & MZ_VPC_F_GATEWAY;
}

/* Out of its envelope, and translated as was chosen. Global: see mz_next_replica(). */
__noinline mz_exit mz_take_lesson(struct __sk_buff *skb, const struct mz_wire *w,
				  const struct mz_choice *choice)
{
	const struct mz_endpoint *endpoint;

	if (!w || !choice)
		return MZ_DROP_HELPER;
	endpoint = mz_client_of(w);
	if (!endpoint && !mz_is_from_outside(w))
		return MZ_DROP_NOT_CLIENT;
	if (!mz_ecn_unwrap(skb, w))
		return MZ_DROP_ECN;
	if (!mz_decap(skb, w->opts))
		return MZ_DROP_HELPER;
	return mz_follow_choice(skb, mz_wire_sender_vni(w), w->prefer,
				endpoint ? endpoint->slot : 0, choice);
}

/* As if the endpoint had sent it like this. */
static __always_inline bool mz_lesson_sender(const struct mz_wire *w, struct mz_outgoing *out)
{
	const struct mz_config *config = mz_config_get();
	const struct mz_endpoint *endpoint = mz_client_of(w);
	const struct mz_port *port = endpoint ? mz_port_seek(endpoint->ifindex) : NULL;

	if (!config)
		return false;
	__builtin_memset(out, 0, sizeof(*out));
	out->q.key.vni = mz_wire_sender_vni(w);
	out->q.self = config->underlay_addr;
	out->q.sport = w->sport;
	out->bytes = mz_wire_inner_len(w);
	out->tos = (w->inner_tos & ~MZ_ECN_MASK) | mz_ecn_out(w->tos, w->inner_tos);
	mz_mac_set_kind(out->src, MZ_MAC_GATEWAY, 0);
	if (endpoint && port) {
		out->ifindex = endpoint->ifindex;
		if (likely(w->inner_src == w->ip_src))
			mz_mac_set(out->src, port->mac);
		else
			mz_mac_set_kind(out->src, MZ_MAC_VIA, w->inner_src);
	}
	return true;
}

/* A bouncer, perhaps of this host, has chosen for a client here. */
static __always_inline mz_exit mz_tc_lesson(struct __sk_buff *skb, const struct mz_wire *w,
					    const struct mz_choice *choice)
{
	struct mz_outgoing *out = mz_scratch_get();
	mz_exit exit = mz_take_lesson(skb, w, choice);

	if (exit == MZ_DROP_NO_BACKEND && w->from_gateway)
		return mz_refuse_outside(skb, w->vni);
	if (exit == MZ_DROP_NO_BACKEND)
		return mz_refuse(skb, mz_wire_sender_vni(w), w->inner_src);
	if (exit != MZ_GO_ON)
		return exit;
	if (!out || !mz_lesson_sender(w, out))
		return MZ_DROP_NOT_CLIENT;
	exit = mz_after_choice(skb, out);
	return mz_is_drop(exit) ? exit : MZ_EXIT(MZ_V_REDIRECT_TAKEN, exit >> 8);
}

/* Has a bouncer sent it back? The option has taken the place of RTS. */
static __always_inline bool mz_is_redirected(const struct mz_wire *w)
{
	return w->hop == MZ_HOP_NONE && mz_wire_has(w, MZ_OPT_REDIRECT);
}

/* What the bouncer says. */
static __always_inline bool mz_read_choice(const struct __sk_buff *skb, const struct mz_wire *w,
					   struct mz_choice *choice)
{
	const struct mz_opt_redirect *opt =
		mz_wire_opt((void *)(long)skb->data, w, MZ_OPT_REDIRECT);

	if ((void *)(opt + 1) > (void *)(long)skb->data_end)
		return false;
	choice->backend = opt->backend;
	choice->port = opt->port;
	choice->affinity = opt->affinity;
	return true;
}

#endif
