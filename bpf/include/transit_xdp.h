/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * transit_xdp.h - a packet on the wire, at XDP: divide, bounce, and what needs no
 * change of size. The rest is the tcx program's, which sees it next.
 */
#ifndef MIZAR_TRANSIT_XDP_H
#define MIZAR_TRANSIT_XDP_H

#include "backends.h"
#include "control.h"
#include "neighbour.h"

/* A checksum that is not 0 is a full one here: XDP has no offload pending. */
static __always_inline mz_exit mz_xdp_echo(void *data, void *end, const struct mz_wire *w)
{
	struct udphdr *udp = data + MZ_OFF_UDP;
	__be32 asked = 0, answered = 0;

	if (!mz_echo_answer(data, end, w, &asked, &answered) || (void *)(udp + 1) > end)
		return MZ_DROP_HELPER;
	if (udp->check)
		udp->check =
			mz_csum_fold(mz_csum_unfold(udp->check) + mz_csum_swap(asked, answered));
	return MZ_EXIT(MZ_V_ECHO, XDP_TX);
}

static __always_inline mz_exit mz_xdp_control(void *data, void *end, const struct mz_wire *w)
{
	mz_exit exit = mz_take_control(data, end, w);

	return exit == MZ_V_ECHO ? mz_xdp_echo(data, end, w) : exit;
}

/* Global: see mz_geneve_walk(). */
__noinline __u64 mz_xdp_walk(struct xdp_md *ctx, __u32 opts)
{
	return mz_geneve_walk((void *)(long)ctx->data, (void *)(long)ctx->data_end, opts);
}

/* We bounce for a scaled endpoint of VPC @vni. Global: see mz_next_replica(). */
__noinline mz_exit mz_xdp_scaled(struct xdp_md *ctx, const struct mz_wire *w, __u32 vni)
{
	const struct mz_config *config = mz_config_get();
	struct mz_choice choice = {};
	struct mz_macs macs = {};
	struct mz_next next = {};
	void *data, *end;
	mz_exit exit;

	if (!config || !w)
		return MZ_V_PASS;
	mz_next_host(&next, w->rts);
	if (!next.via)
		return MZ_DROP_UNKNOWN_HOST;
	/* The sender is here: tcx takes the packet in. */
	if (!mz_is_other(next.via) || !mz_macs_of(ctx, config, &next, &macs))
		return MZ_V_TO_TC;
	exit = mz_choose_for(ctx, true, w, vni, &choice);
	if (exit != MZ_GO_ON)
		return exit;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (!mz_turn_back(data, end, w, config->underlay_addr, &choice) ||
	    !mz_write_macs(data, end, &macs))
		return MZ_DROP_HELPER;
	return MZ_EXIT(MZ_V_REDIRECTED, XDP_TX);
}

static __always_inline mz_exit mz_xdp_pass_on(struct xdp_md *ctx, const struct mz_config *config,
					      struct mz_wire *w)
{
	struct mz_macs macs = {};
	struct mz_next next = {};
	mz_exit exit = mz_pass_on(w, config->underlay_addr, &next);
	void *data, *end;

	if (unlikely(mz_is_scaled(exit))) {
		exit = mz_xdp_scaled(ctx, w, exit >> 8);
		if (exit != MZ_V_TO_TC)
			mz_count_roles(&next, mz_wire_inner_len(w));
		return exit;
	}
	if (exit >= MZ_DROP_FIRST || !next.via)
		return exit;
	if (!mz_macs_of(ctx, config, &next, &macs))
		return MZ_V_TO_TC;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (!mz_forward(data, end, w, config->underlay_addr, &next) ||
	    !mz_write_macs(data, end, &macs))
		return MZ_DROP_HELPER;
	mz_count_roles(&next, mz_wire_inner_len(w));
	return MZ_EXIT(exit, XDP_TX);
}

static __always_inline mz_exit mz_xdp_parse(struct xdp_md *ctx, const struct mz_config *config,
					    struct mz_wire *w)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	mz_exit exit = mz_wire_outer(data, end, config, w);

	if (exit == MZ_GO_ON)
		exit = mz_geneve_header(data, end, w);
	if (exit == MZ_GO_ON)
		exit = mz_geneve_options(data, end, w);
	if (exit == MZ_WALK)
		exit = mz_geneve_walked(data, end, w, mz_xdp_walk(ctx, w->opts));
	if (exit == MZ_GO_ON)
		exit = mz_geneve_payload(data, end);
	return exit;
}

static __always_inline mz_exit mz_transit_at_xdp(struct xdp_md *ctx)
{
	const struct mz_config *config = mz_config_get();
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct mz_wire w = {.len = end - data};
	struct mz_addr_key4 key;
	mz_exit exit;

	if (!config)
		return MZ_V_PASS;
	exit = mz_xdp_parse(ctx, config, &w);
	if (exit != MZ_GO_ON)
		return exit;
	if (w.flags & MZ_GENEVE_F_CONTROL)
		return mz_xdp_control(data, end, &w);
	/* For an endpoint of ours, or stale: tcx decides, so do not look it up twice. */
	if (w.hop != MZ_HOP_DIVIDER && w.hop != MZ_HOP_BOUNCER)
		return MZ_V_TO_TC;
	exit = mz_wire_inner(data, end, &w);
	if (exit != MZ_GO_ON)
		return exit;
	exit = mz_xdp_pass_on(ctx, config, &w);
	/* Last, because one host in many is the endpoint's: no way on, so perhaps it is ours. */
	key = (struct mz_addr_key4){.vni = w.vni, .addr = w.inner_dst};
	if (mz_is_drop(exit) && mz_endpoint4_get(&key))
		return MZ_V_TO_TC;
	return exit;
}

#endif
