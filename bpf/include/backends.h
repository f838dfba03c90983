/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * backends.h - the bouncer of a scaled endpoint picks a backend and sends the packet back to where it came
 * from, with the choice in place of the RTS option. It keeps nothing.
 *
 * What holds:
 *  - The choice is a function of the flow and the tables: every bouncer makes the same.
 *  - A packet keeps its size, so both hooks can do this.
 */
#ifndef MIZAR_BACKENDS_H
#define MIZAR_BACKENDS_H

#include "forward.h"
#include "tuple4.h"
#include "maps/backends4.h"
#include "maps/maglev4.h"
#include "maps/services4.h"

/* What mz_opt_redirect says. */
struct mz_choice {
	__be32 backend; /* 0: none */
	__be16 port;
	__be16 affinity;
};

/* With affinity all flows of a client have the same place. */
static __always_inline __u32 mz_place_of(const struct mz_flow_key4 *key,
					 const struct mz_service4 *service)
{
	__u32 ports = (__u32)bpf_ntohs(key->sport) << 16 | bpf_ntohs(key->dport);
	bool alike = service->affinity;

	return mz_flow_hash(bpf_ntohl(key->src), bpf_ntohl(key->dst), alike ? 0 : key->proto,
			    alike ? 0 : ports) %
	       service->size;
}

/*
 * Which backend for a flow to a scaled endpoint; @prefer is one that the sender had, or 0. @bytes: of its
 * packet, which is counted. Global: see mz_next_replica().
 */
__noinline int mz_choose_backend(const struct mz_flow_key4 *key, __u32 prefer, __u32 bytes,
				 struct mz_choice *choice)
{
	struct mz_service_key4 service_key = {};
	const struct mz_service4 *service;

	if (!key || !choice)
		return 0;
	*choice = (struct mz_choice){};
	service_key.vni = key->vni;
	service_key.addr = key->dst;
	service_key.port = key->dport;
	service_key.proto = key->proto;
	service = mz_service4_get(&service_key);
	if (!service)
		return 0;
	if (prefer && mz_backend4_stays(service, prefer))
		choice->backend = prefer;
	else if (service->size)
		choice->backend = mz_maglev4_at(service->id, mz_place_of(key, service));
	if (!choice->backend)
		return 0;
	choice->port = service->port;
	choice->affinity = service->affinity;
	mz_count_tx(service->slot, bytes);
	return 0;
}

/* For the packet in the envelope, to a service of VPC @vni. @xdp is a constant. */
static __always_inline mz_exit mz_choose_for(void *ctx, bool xdp, const struct mz_wire *w,
					     __u32 vni, struct mz_choice *choice)
{
	struct mz_tuple4 t = {.key.vni = vni};
	mz_exit exit;
	__be16 id;

	exit = mz_tuple_at(ctx, xdp, MZ_OFF_OPTIONS + (w->opts & 0xfc) + MZ_ETH_LEN, &t, &id);
	if (exit != MZ_GO_ON)
		return exit;
	/* Ports are at the sender's host, which has seen the first. */
	if (t.is_fragment == MZ_FRAGMENT_LATER)
		return MZ_DROP_FRAGMENT;
	mz_choose_backend(&t.key, w->prefer, mz_wire_inner_len(w), choice);
	return MZ_GO_ON;
}

/* The packet has an RTS option. */
static __always_inline bool mz_turn_back(void *data, void *end, const struct mz_wire *w,
					 __be32 self, const struct mz_choice *choice)
{
	struct iphdr *ip = data + MZ_OFF_IP;
	struct udphdr *udp = data + MZ_OFF_UDP;
	struct mz_opt_redirect *opt = mz_wire_opt(data, w, MZ_OPT_RTS);

	if ((void *)(udp + 1) > end || (void *)(opt + 1) > end)
		return false;
	mz_readdress(ip, self, w->rts);
	udp->check = 0;
	opt->head.type = MZ_OPT_REDIRECT;
	opt->backend = choice->backend;
	opt->port = choice->port;
	opt->affinity = choice->affinity;
	return true;
}

#endif
