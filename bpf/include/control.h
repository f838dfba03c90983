/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * control.h - what hosts tell each other: HERE, FORGET, ECHO. Control packets (the
 * O bit of RFC 8926 s3.4) end here; none is forwarded or delivered.
 */
#ifndef MIZAR_CONTROL_H
#define MIZAR_CONTROL_H

#include "forward.h"
#include "maps/direct4.h"
#include "maps/endpoints4.h"

/* @vni: of the endpoint's own VPC. */
static __always_inline mz_exit mz_take_here(const struct mz_addr_key4 *key, __be32 host, __u32 vni)
{
	struct mz_addr_key4 own = {.vni = vni, .addr = key->addr};

	/* Ours is what we know best. */
	if (!mz_endpoint4_get(&own))
		mz_direct4_note(key, host, vni);
	return MZ_V_LEARNT;
}

static __always_inline mz_exit mz_take_address(void *data, void *end, const struct mz_wire *w,
					       enum mz_opt_type type)
{
	const struct mz_opt_addr4 *opt = mz_wire_opt(data, w, type);
	struct mz_addr_key4 key = {.vni = w->vni};

	if ((void *)(opt + 1) > end)
		return MZ_DROP_HELPER;
	key.addr = opt->addr;
	if (type == MZ_OPT_HERE)
		return mz_take_here(&key, w->src, opt->vni ? bpf_ntohl(opt->vni) : w->vni);
	mz_direct4_forget(&key, w->src);
	return MZ_V_FORGOT;
}

/*
 * Turn a question into its answer, in place: MACs, addresses, ports, reply. It goes to
 * the port that asked. The UDP checksum, over what *@asked was and *@answered is, is
 * the hook's; exchanged fields do not change it.
 */
static __always_inline bool mz_echo_answer(void *data, void *end, const struct mz_wire *w,
					   __be32 *asked, __be32 *answered)
{
	struct mz_eth *eth = data;
	struct iphdr *ip = data + MZ_OFF_IP;
	struct udphdr *udp = data + MZ_OFF_UDP;
	struct mz_opt_echo *echo = mz_wire_opt(data, w, MZ_OPT_ECHO);
	__u16 mac[3];

	if ((void *)(udp + 1) > end || (void *)(echo + 1) > end)
		return false;
	mz_mac_set(mac, eth->dst);
	mz_mac_set(eth->dst, eth->src);
	mz_mac_set(eth->src, mac);
	mz_readdress(ip, ip->daddr, ip->saddr);
	udp->dest = w->sport;
	udp->source = bpf_htons(MZ_GENEVE_PORT);
	*asked = *(__be32 *)&echo->reply;
	echo->reply = 1;
	*answered = *(__be32 *)&echo->reply;
	return true;
}

/* MZ_V_ECHO: a question, to be answered. PASS: an answer, which the agent waits for. */
static __always_inline mz_exit mz_take_control(void *data, void *end, const struct mz_wire *w)
{
	if (mz_wire_has(w, MZ_OPT_ECHO)) {
		const struct mz_opt_echo *echo = mz_wire_opt(data, w, MZ_OPT_ECHO);

		if ((void *)(echo + 1) > end)
			return MZ_DROP_HELPER;
		return echo->reply ? MZ_V_PASS : MZ_V_ECHO;
	}
	if (mz_wire_has(w, MZ_OPT_HERE))
		return mz_take_address(data, end, w, MZ_OPT_HERE);
	if (mz_wire_has(w, MZ_OPT_FORGET))
		return mz_take_address(data, end, w, MZ_OPT_FORGET);
	return MZ_DROP_GENEVE_CONTROL;
}

#endif
