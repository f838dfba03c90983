/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * scaled.h - the client's host and scaled endpoints: it takes a bouncer's lesson, and from then on
 * translates the flow, both ways.
 *
 * What holds:
 *  - What is known holds: a lesson changes a flow only if that asked, and its backend is not to be had
 *    any more.
 *  - All state of a flow is here. An entry of mz_direct4 without a host says only that it is worth looking.
 *  - Where the answers cannot be told from those of another flow, because a client uses one port towards
 *    two services with a backend in common, the flow gets a source port of its own.
 */
#ifndef MIZAR_SCALED_H
#define MIZAR_SCALED_H

#include "backends.h"
#include "gateway.h"
#include "outgoing.h"
#include "port.h"
#include "translate.h"
#include "maps/watched.h"

/* A new connection on an entry older than this asks again; younger, it is a SYN sent again. */
#define MZ_SYN_QUIET_S 3

#define MZ_PORT_TRIES 16
#define MZ_PORT_FIRST 1024

/* Of all backends, rather this one. */
static __always_inline void mz_prefer(struct mz_outgoing *out, __be32 backend)
{
	out->prefer = backend;
	mz_mac_set_kind(out->dst, MZ_MAC_PREFER, backend);
}

/* The entry that says which backend a client had last, of all its flows to a service. */
static __always_inline struct mz_flow_key4 mz_affinity_key(const struct mz_flow_key4 *key)
{
	struct mz_flow_key4 affinity = *key;

	affinity.sport = 0;
	return affinity;
}

/* Is it time to ask the bouncer about a flow that is known? Answers, errors and fragments never do. */
static __always_inline bool mz_asks_again(const struct mz_tuple4 *t, const struct mz_flow4 *flow,
					  __u32 soft_ms)
{
	__u32 age = mz_flow_age(flow->asked);

	if (t->quoted || t->is_fragment || flow->state & MZ_FLOW_S_REVERSE)
		return false;
	if (t->key.proto == IPPROTO_UDP)
		return age * MZ_MS_PER_S > soft_ms;
	return t->event & MZ_EVENT_OPEN && age > MZ_SYN_QUIET_S;
}

/*
 * To a scaled endpoint that has been heard of. MZ_GO_ON: translated, its destination is another now;
 * MZ_ASK. Global: see mz_next_replica().
 */
__noinline mz_exit mz_to_backend(struct __sk_buff *skb, struct mz_outgoing *out)
{
	const struct mz_config *config = mz_config_get();
	struct mz_tuple4 t = {};
	struct mz_flow_key4 affinity;
	struct mz_flow4 *flow;
	mz_exit exit;

	if (!out || !config)
		return MZ_DROP_NO_CONFIG;
	exit = mz_tuple_read(skb, out->q.key.vni, &t);
	/* It may be no scaled endpoint any more. */
	if (exit != MZ_GO_ON)
		return exit == MZ_DROP_UNTRANSLATABLE ? MZ_ASK : exit;
	flow = mz_flow_find(&t.key);
	if (!flow || flow->kind != MZ_FLOW_SERVICE) {
		affinity = mz_affinity_key(&t.key);
		flow = mz_flow_find(&affinity);
		if (flow && flow->kind == MZ_FLOW_AFFINITY)
			mz_prefer(out, flow->dst);
		return MZ_ASK;
	}
	if (mz_asks_again(&t, flow, config->soft_ms)) {
		flow->asked = mz_now_s();
		mz_prefer(out, flow->dst);
		return MZ_ASK;
	}
	mz_flow_touch(&t, flow);
	return mz_translate_by(skb, &t, flow);
}

/* ------------------------------------------------------------- the lesson */

/* The ports of the packet if they can be had, else another source port. SCTP's cannot change. */
static __always_inline mz_exit mz_flow_begin(const struct mz_flow_key4 *key, struct mz_flow4 *to)
{
	mz_exit exit = mz_flow_make(key, to, MZ_FLOW_NEW_OR_DEAD);
	__u32 port = bpf_ntohs(key->sport);

	for (int i = 0; i < MZ_PORT_TRIES && exit == MZ_FLOW_TAKEN; i++) {
		if (key->proto == IPPROTO_SCTP)
			return MZ_DROP_UNTRANSLATABLE;
		port = mz_mix32(port + i);
		to->sport = bpf_htons(MZ_PORT_FIRST + (__u16)port % (65536 - MZ_PORT_FIRST));
		exit = mz_flow_make(key, to, MZ_FLOW_NEW_OR_DEAD);
	}
	return exit == MZ_FLOW_TAKEN ? MZ_DROP_FLOWS_FULL : exit;
}

/* Does what is known about the flow outlive this lesson? @asked: the backend that was asked for, or 0. */
static __always_inline bool mz_flow_holds(const struct mz_tuple4 *t, const struct mz_flow4 *flow,
					  __be32 backend, __be32 asked)
{
	const __u8 over = MZ_FLOW_S_FIN_ORIG | MZ_FLOW_S_FIN_REPLY | MZ_FLOW_S_CLOSED;

	if (flow->dst == backend)
		return true;
	if (asked && asked == flow->dst)
		return false;
	return !(t->event & MZ_EVENT_OPEN && flow->state & over);
}

static __noinline void mz_note_affinity(const struct mz_flow_key4 *key,
					const struct mz_choice *choice)
{
	struct mz_flow_key4 affinity = mz_affinity_key(key);
	struct mz_flow4 note = {
		.dst = choice->backend,
		.vni = key->vni,
		.asked = mz_affinity_seconds(bpf_ntohs(choice->affinity)),
		.kind = MZ_FLOW_AFFINITY,
	};

	mz_flow_note(&affinity, &note);
}

/* The flow of @t goes to the backend that was chosen. Global: see mz_next_replica(). */
__noinline mz_exit mz_begin_service(const struct mz_tuple4 *t, const struct mz_choice *choice)
{
	struct mz_flow4 to = {};

	if (!t || !choice)
		return MZ_DROP_HELPER;
	/* A backend that talks to itself would not take the answers of its own. */
	to.src = choice->backend == t->key.src ? t->key.dst : t->key.src;
	to.dst = choice->backend;
	to.sport = t->key.sport;
	to.dport = choice->port;
	to.vni = t->key.vni;
	to.asked = mz_now_s();
	to.kind = MZ_FLOW_SERVICE;
	if (choice->affinity)
		mz_note_affinity(&t->key, choice);
	return mz_flow_begin(&t->key, &to);
}

/* A bouncer has chosen for the flow of @t; @asked: the backend that was asked for, or 0. */
static __always_inline mz_exit mz_take_choice(const struct mz_tuple4 *t,
					      const struct mz_choice *choice, __be32 asked)
{
	struct mz_flow4 *flow = mz_flow_find(&t->key);

	if (flow && mz_flow_holds(t, flow, choice->backend, asked)) {
		flow->asked = mz_now_s();
		mz_flow_touch(t, flow);
		return MZ_GO_ON;
	}
	if (!choice->backend)
		return MZ_DROP_NO_BACKEND;
	/* An error begins no flow, nor does a fragment whose first has not; and see translate.h. */
	if (t->quoted || t->is_fragment == MZ_FRAGMENT_LATER ||
	    (t->key.proto == IPPROTO_SCTP && choice->port != t->key.dport))
		return MZ_DROP_UNTRANSLATABLE;
	if (flow)
		mz_flow_end(&t->key);
	return mz_begin_service(t, choice);
}

/* There are flows to this scaled endpoint. An entry that has a host is overwritten. */
static __always_inline void mz_mark_scaled(__u32 vni, __be32 addr)
{
	struct mz_addr_key4 key = {.vni = vni, .addr = addr};
	struct mz_direct scaled = {.confirmed = mz_now_ms(), .vni = vni};
	struct mz_direct known;

	if (!mz_direct4_get(&key, &known) || known.host)
		mz_direct4_put(&key, &scaled);
}

/*
 * A plain packet in VPC @vni to a scaled endpoint, whose bouncer has chosen; @asked: the backend that was
 * asked for, or 0; answers come to the endpoint with @slot. MZ_GO_ON: translated, its destination is
 * another now; MZ_DROP_NO_BACKEND: to be refused, and as it was. Global: see mz_next_replica().
 */
__noinline mz_exit mz_follow_choice(struct __sk_buff *skb, __u32 vni, __u32 asked, __u32 slot,
				    const struct mz_choice *choice)
{
	struct mz_tuple4 t = {};
	struct mz_flow4 *flow;
	mz_exit exit;

	if (!choice)
		return MZ_DROP_HELPER;
	exit = mz_tuple_read(skb, vni, &t);
	if (exit == MZ_GO_ON)
		exit = mz_take_choice(&t, choice, asked);
	if (exit != MZ_GO_ON)
		return exit;
	flow = mz_flow_find(&t.key);
	if (!flow)
		return MZ_DROP_FLOWS_FULL;
	mz_mark_scaled(vni, t.key.dst);
	mz_watch(slot, flow->dst);
	return mz_translate_by(skb, &t, flow);
}

/* The bouncer of the service, of VPC @vni, is this host: the same without a wire. Global: see
 * mz_next_replica(). */
__noinline mz_exit mz_choose_here(struct __sk_buff *skb, const struct mz_outgoing *out, __u32 vni,
				  struct mz_choice *choice)
{
	struct mz_tuple4 t = {};
	mz_exit exit;

	if (!out || !choice)
		return MZ_DROP_HELPER;
	exit = mz_tuple_read(skb, out->q.key.vni, &t);
	t.key.vni = vni;
	if (exit == MZ_GO_ON)
		mz_choose_backend(&t.key, out->prefer, out->bytes, choice);
	return exit;
}

/* ------------------------------------------------------------- onward */

static __always_inline mz_exit mz_onward_here(struct __sk_buff *skb, const struct mz_outgoing *out,
					      const struct mz_endpoint *endpoint)
{
	if (mz_mac_is_kind(out->src, MZ_MAC_GATEWAY))
		mz_via_learn(skb, out->q.key.vni, out->q.self);
	return mz_deliver_local(skb, out, endpoint, out->q.key.vni, mz_source_of(skb));
}

/*
 * A packet whose destination is in its header, on its way: here, by the direct path, or else MZ_ASK:
 * mz_ask_network(), by the caller, whose stack is less deep; or MZ_TO_BACKEND. Global: see
 * mz_next_replica().
 */
__noinline mz_exit mz_onward(struct __sk_buff *skb, struct mz_outgoing *out)
{
	const struct mz_config *config = mz_config_get();
	const struct mz_endpoint *endpoint;
	const struct mz_port *port;
	mz_exit exit;

	if (!config || !out)
		return MZ_DROP_NO_CONFIG;
	out->q.key.addr = mz_destination_of(skb);
	mz_mac_set_router(out->dst);
	endpoint = mz_endpoint4_get(&out->q.key);
	if (endpoint)
		return mz_onward_here(skb, out, endpoint);
	port = mz_port_seek(out->ifindex);
	out->on_link = port && mz_port_on_link(port, out->q.key.addr);
	exit = mz_direct_path(skb, config, out);
	return exit == MZ_GO_ON ? MZ_ASK : exit;
}

/* A packet that has been translated, from there on as to any address. It is not translated again. */
static __always_inline mz_exit mz_after_choice(struct __sk_buff *skb, struct mz_outgoing *out)
{
	mz_exit exit = mz_onward(skb, out);

	if (exit == MZ_ASK || exit == MZ_TO_BACKEND)
		exit = mz_ask_network(skb, out);
	return mz_is_scaled(exit) ? MZ_DROP_NO_ENDPOINT : exit;
}

/* Who has a flow and only asks again can do without an answer: it has asked now, and is not asked to again. */
static __always_inline mz_exit mz_ask_or_stay(struct __sk_buff *skb, struct mz_outgoing *out)
{
	mz_exit asked = mz_ask_network(skb, out), exit;

	if (!mz_is_drop(asked) || mz_is_scaled(asked) || !out->prefer)
		return asked;
	exit = mz_to_backend(skb, out);
	return exit == MZ_ASK ? asked : exit;
}

/*
 * What @found is MZ_TO_BACKEND or MZ_SCALED for goes to a backend; all else is as it is.
 * MZ_DROP_NO_BACKEND: to be refused, and as it was.
 */
static __always_inline mz_exit mz_route_scaled(struct __sk_buff *skb, struct mz_outgoing *out,
					       mz_exit found)
{
	struct mz_choice choice = {};
	mz_exit exit = found;

	if (likely(exit != MZ_TO_BACKEND && !mz_is_scaled(exit)))
		return exit;
	if (exit == MZ_TO_BACKEND)
		exit = mz_to_backend(skb, out);
	if (exit == MZ_ASK)
		exit = mz_ask_or_stay(skb, out);
	if (mz_is_scaled(exit)) {
		exit = mz_choose_here(skb, out, exit >> 8, &choice);
		if (exit == MZ_GO_ON)
			exit = mz_follow_choice(skb, out->q.key.vni, out->prefer, out->slot,
						&choice);
	}
	return exit == MZ_GO_ON ? mz_after_choice(skb, out) : exit;
}

#endif
