/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * verdict.h - the one way out of a program.
 *
 * What a step returns is a mz_exit: the verdict, and the hook's own action where
 * the verdict does not imply it. MZ_GO_ON is "not decided, next step". A program
 * ends in mz_leave_tc() or mz_leave_xdp(), which count; nothing else does.
 */
#ifndef MIZAR_VERDICT_H
#define MIZAR_VERDICT_H

#include <linux/pkt_cls.h>

#include "base.h"
#include "maps/verdicts.h"

typedef __u32 mz_exit;

#define MZ_GO_ON 0xffu
_Static_assert(MZ_VERDICT_MAX <= MZ_GO_ON, "a verdict and MZ_GO_ON fit one byte");

/* @action is what a redirect helper returned; it is never 0 on either hook. */
#define MZ_EXIT(verdict, action) ((verdict) | (__u32)(action) << 8)

static __always_inline bool mz_is_drop(mz_exit exit)
{
	return (exit & 0xff) >= MZ_DROP_FIRST;
}

static __always_inline int mz_leave_tc(mz_exit exit, __u32 bytes)
{
	enum mz_verdict verdict = exit & 0xff;
	int action = exit >> 8;

	mz_count_verdict(verdict, bytes);
	if (action)
		return action;
	/* UNSPEC lets other programs on the same interface see it. */
	return verdict == MZ_V_PASS ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

static __always_inline int mz_leave_xdp(mz_exit exit, __u32 bytes)
{
	enum mz_verdict verdict = exit & 0xff;
	int action = exit >> 8;

	mz_count_verdict(verdict, bytes);
	if (action)
		return action;
	return verdict == MZ_V_PASS || verdict == MZ_V_TO_TC ? XDP_PASS : XDP_DROP;
}

#endif
