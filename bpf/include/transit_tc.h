/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * transit_tc.h - a packet on the wire, at tcx: the whole of the transit program. Only
 * here are packets decapsulated, delivered, and told about.
 */
#ifndef MIZAR_TRANSIT_TC_H
#define MIZAR_TRANSIT_TC_H

#include "control.h"
#include "lesson.h"
#include "outside.h"
#include "stale.h"

static __always_inline mz_exit mz_tc_echo(struct __sk_buff *skb, const struct mz_wire *w)
{
	__be32 asked = 0, answered = 0;

	if (!mz_echo_answer((void *)(long)skb->data, (void *)(long)skb->data_end, w, &asked,
			    &answered))
		return MZ_DROP_HELPER;
	/* The helper knows whether the checksum is a full one or left to the device; 0 stays 0. */
	bpf_l4_csum_replace(skb, MZ_OFF_UDP + offsetof(struct udphdr, check), asked, answered,
			    BPF_F_MARK_MANGLED_0 | sizeof(answered));
	return MZ_EXIT(MZ_V_ECHO, bpf_redirect(skb->ifindex, 0));
}

static __always_inline mz_exit mz_tc_control(struct __sk_buff *skb, const struct mz_wire *w)
{
	mz_exit exit = mz_take_control((void *)(long)skb->data, (void *)(long)skb->data_end, w);

	return exit == MZ_V_ECHO ? mz_tc_echo(skb, w) : exit;
}

/* Where the sender is: it says so, or has sent straight to us. */
static __always_inline void mz_learn_sender(const struct mz_wire *w)
{
	struct mz_addr_key4 key = {.vni = w->vni, .addr = w->inner_src};

	if (likely(key.addr))
		mz_direct4_learn(&key, w->hop == MZ_HOP_NONE ? w->src : w->rts,
				 mz_wire_sender_vni(w));
}

/* The sender's host, which asked, is this one: what another would be told by HERE. */
static __always_inline void mz_learn_own_peer(const struct mz_wire *w)
{
	struct mz_addr_key4 key = {.vni = w->peer_vni, .addr = w->inner_dst};

	mz_direct4_note(&key, w->rts, w->vni);
}

/* A copy into the endpoint, the original back to the sender's host as HERE. */
static __always_inline mz_exit mz_deliver_and_tell(struct __sk_buff *skb, const struct mz_wire *w,
						   __u32 ifindex)
{
	int action;

	if (bpf_clone_redirect(skb, ifindex, 0))
		return MZ_DROP_HELPER;
	action = mz_tell(skb, w, MZ_OPT_HERE, w->rts);
	return action ? MZ_EXIT(MZ_V_DELIVERED_HERE, action) : MZ_EXIT(MZ_V_DELIVERED, TC_ACT_SHOT);
}

static __always_inline mz_exit mz_tc_arrive(struct __sk_buff *skb, const struct mz_wire *w,
					    const struct mz_endpoint *endpoint)
{
	mz_exit exit;

	mz_learn_sender(w);
	if (!mz_ecn_unwrap(skb, w))
		return MZ_DROP_ECN;
	if (!mz_decap(skb, w->opts))
		return MZ_DROP_HELPER;
	if (unlikely(w->from_gateway))
		mz_via_learn(skb, w->vni, w->hop == MZ_HOP_NONE ? w->src : w->rts);
	exit = mz_as_it_knows(skb, endpoint, w->vni, w->ip_src);
	if (unlikely(exit != MZ_GO_ON))
		return exit;
	if (!mz_address_to(skb, endpoint))
		return MZ_DROP_HELPER;
	mz_count_rx(endpoint->slot, mz_wire_inner_len(w));
	if (w->hop != MZ_HOP_NONE && mz_is_other(mz_host_seek(w->rts)))
		return mz_deliver_and_tell(skb, w, endpoint->ifindex);
	if (unlikely(w->hop != MZ_HOP_NONE && w->peer_vni))
		mz_learn_own_peer(w);
	return MZ_EXIT(MZ_V_DELIVERED, mz_deliver(endpoint));
}

/* Is this host a gateway of the VPC? Global: see mz_next_replica(). */
__noinline mz_exit mz_is_way_out(__u32 vni)
{
	const struct mz_vpc *vpc = mz_vpc_get(vni);

	if (!vpc)
		return MZ_DROP_UNKNOWN_VNI;
	return vpc->flags & MZ_VPC_F_GATEWAY ? MZ_GO_ON : MZ_DROP_NO_GATEWAY;
}

/* An endpoint's host has sent it to us as the gateway. */
static __always_inline mz_exit mz_tc_leave_vpc(struct __sk_buff *skb, const struct mz_wire *w)
{
	mz_exit exit = mz_is_way_out(w->vni);

	if (exit != MZ_GO_ON)
		return exit;
	if (!mz_ecn_unwrap(skb, w))
		return MZ_DROP_ECN;
	return mz_decap(skb, w->opts) ? mz_nat_out(skb, w->vni) : MZ_DROP_HELPER;
}

static __always_inline mz_exit mz_tc_pass_on(struct __sk_buff *skb, const struct mz_config *config,
					     struct mz_wire *w)
{
	struct mz_next next = {};
	mz_exit exit = mz_pass_on(w, config->underlay_addr, &next);

	if (unlikely(mz_is_scaled(exit)))
		mz_count_roles(&next, mz_wire_inner_len(w));
	if (exit >= MZ_DROP_FIRST || !next.via)
		return exit;
	if (!mz_forward((void *)(long)skb->data, (void *)(long)skb->data_end, w,
			config->underlay_addr, &next))
		return MZ_DROP_HELPER;
	mz_count_roles(&next, mz_wire_inner_len(w));
	return MZ_EXIT(exit, mz_send(config, next.via));
}

static __always_inline mz_exit mz_tc_parse_outer(struct __sk_buff *skb,
						 const struct mz_config *config, struct mz_wire *w)
{
	void *data, *end;
	mz_exit exit;

	mz_linear4(skb);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	exit = mz_wire_outer(data, end, config, w);
	return exit == MZ_GO_ON ? mz_geneve_header(data, end, w) : exit;
}

/* Global: see mz_geneve_walk(). */
__noinline __u64 mz_tc_walk(struct __sk_buff *skb, __u32 opts)
{
	return mz_geneve_walk((void *)(long)skb->data, (void *)(long)skb->data_end, opts);
}

static __always_inline mz_exit mz_tc_parse(struct __sk_buff *skb, const struct mz_config *config,
					   struct mz_wire *w)
{
	mz_exit exit = mz_tc_parse_outer(skb, config, w);
	void *data, *end;

	if (exit != MZ_GO_ON)
		return exit;
	mz_linear(skb, MZ_OFF_OPTIONS + w->opts + MZ_NEED_INNER);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	exit = mz_geneve_options(data, end, w);
	if (exit == MZ_WALK)
		exit = mz_geneve_walked(data, end, w, mz_tc_walk(skb, w->opts));
	if (exit == MZ_GO_ON)
		exit = mz_geneve_payload(data, end);
	if (exit == MZ_GO_ON && !(w->flags & MZ_GENEVE_F_CONTROL))
		exit = mz_wire_inner(data, end, w);
	return exit;
}

/* To a scaled endpoint. MZ_SCALED: we are to choose; else a bouncer has. */
static __always_inline mz_exit mz_tc_to_scaled(struct __sk_buff *skb, const struct mz_wire *w,
					       mz_exit found)
{
	struct mz_choice choice = {};
	mz_exit exit = MZ_IS_OURS;

	if (mz_is_scaled(found))
		exit = mz_tc_scaled(skb, w, found >> 8, &choice);
	else if (!mz_read_choice(skb, w, &choice))
		return MZ_DROP_HELPER;
	return exit == MZ_IS_OURS ? mz_tc_lesson(skb, w, &choice) : exit;
}

static __always_inline mz_exit mz_tc_judge(struct __sk_buff *skb)
{
	const struct mz_config *config = mz_config_get();
	const struct mz_endpoint *endpoint;
	struct mz_wire w = {.len = skb->len};
	struct mz_addr_key4 key;
	mz_exit exit;

	if (!config)
		return MZ_V_PASS;
	exit = mz_tc_parse(skb, config, &w);
	if (unlikely(exit == MZ_V_PASS && config->flags & MZ_CONFIG_F_GATEWAY))
		return mz_from_outside(skb);
	if (exit != MZ_GO_ON)
		return exit;
	if (w.flags & MZ_GENEVE_F_CONTROL)
		return mz_tc_control(skb, &w);
	exit = MZ_DROP_NOT_HERE;
	if (w.hop == MZ_HOP_DIVIDER || w.hop == MZ_HOP_BOUNCER)
		exit = mz_tc_pass_on(skb, config, &w);
	if (!mz_is_drop(exit))
		return exit;
	if (unlikely(mz_is_scaled(exit) || mz_is_redirected(&w)))
		return mz_tc_to_scaled(skb, &w, exit);
	/* After the roles, as at XDP. */
	key = (struct mz_addr_key4){.vni = w.vni, .addr = w.inner_dst};
	endpoint = mz_endpoint4_get(&key);
	if (endpoint)
		return mz_tc_arrive(skb, &w, endpoint);
	if (w.to_gateway && w.hop == MZ_HOP_NONE)
		return mz_tc_leave_vpc(skb, &w);
	if (w.hop == MZ_HOP_NONE || w.hop == MZ_HOP_PROBE)
		return mz_stale(skb, &w);
	if (w.hop == MZ_HOP_ENDPOINT && !mz_vpc_get(w.vni))
		return MZ_DROP_UNKNOWN_VNI;
	return exit;
}

static __always_inline mz_exit mz_transit_at_tc(struct __sk_buff *skb)
{
	mz_exit exit = mz_tc_judge(skb);

	return mz_unless_in_peer(skb, exit, 0, skb->len);
}

#endif
