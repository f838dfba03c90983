/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * port.h - an endpoint's interface: which addresses are its own.
 */
#ifndef MIZAR_PORT_H
#define MIZAR_PORT_H

#include "base.h"
#include "maps/endpoints4.h"
#include "maps/ports.h"

/* The first address is at hand; others cost a look-up. */
static __always_inline bool mz_port_has(const struct mz_port *port, __u32 ifindex, __be32 addr)
{
	struct mz_addr_key4 key = {.vni = port->vni, .addr = addr};
	const struct mz_endpoint *endpoint;

	if (likely(addr == port->addr))
		return true;
	endpoint = mz_endpoint4_get(&key);
	return endpoint && endpoint->ifindex == ifindex;
}

/* Which routes its packets follow. */
static __always_inline __u32 mz_port_table(const struct mz_port *port)
{
	return port->flags & MZ_PORT_F_ROUTES ? MZ_TABLE_NETWORK | port->network : port->vni;
}

/* In one of the network's prefixes: no router hop in between. */
static __always_inline bool mz_port_on_link(const struct mz_port *port, __be32 addr)
{
	for (__u32 i = 0; i < MZ_MAX_ONLINK; i++) {
		if (i >= port->n_onlink)
			return false;
		if ((addr & port->onlink[i].mask) == port->onlink[i].addr)
			return true;
	}
	return false;
}

#endif
