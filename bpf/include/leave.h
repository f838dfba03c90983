/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * leave.h - an endpoint's packet leaves its VPC: to a gateway host, or out right here where this host
 * is the gateway.
 */
#ifndef MIZAR_LEAVE_H
#define MIZAR_LEAVE_H

#include "gateway.h"
#include "nat.h"
#include "outgoing.h"

/* MZ_GO_ON: it leaves here. The route is one out. Global: see mz_next_replica(). */
__noinline mz_exit mz_to_gateway(struct __sk_buff *skb, const struct mz_outgoing *out)
{
	const struct mz_config *config = mz_config_get();
	const struct mz_route *route;
	struct mz_next next = {};
	__be32 host;

	if (!config || !out)
		return MZ_DROP_NO_CONFIG;
	route = mz_route_of(out);
	if (!route || route->kind != MZ_ROUTE_GATEWAY)
		return MZ_DROP_NO_GATEWAY;
	host = out->q.self;
	if (route->network)
		host = mz_via(skb, out->q.key.vni, route->network, out->q.self);
	if (host == out->q.self)
		return MZ_GO_ON;
	mz_next_host(&next, host);
	if (!next.via)
		return MZ_DROP_NO_GATEWAY;
	if (!mz_encap(skb, out, &next, 0))
		return MZ_DROP_HELPER;
	return MZ_EXIT(MZ_V_TO_GATEWAY, mz_send(config, next.via));
}

static __always_inline mz_exit mz_leave_vpc(struct __sk_buff *skb, struct mz_outgoing *out)
{
	mz_exit exit;

	mz_mac_set_kind(out->dst, MZ_MAC_GATEWAY, 0);
	exit = mz_to_gateway(skb, out);

	if (exit != MZ_GO_ON)
		return exit;
	exit = mz_nat_out(skb, out->q.key.vni);
	if (!mz_is_drop(exit))
		mz_count_tx(out->slot, out->bytes);
	return exit;
}

#endif
