/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * geneve.h - the Geneve header and its options, RFC 8926.
 *
 * Nearly every packet has no option, or our RTS alone: both are decided without a
 * loop. The loop takes whatever else may come, up to 63 options.
 */
#ifndef MIZAR_GENEVE_H
#define MIZAR_GENEVE_H

#include "wire.h"

#define MZ_OPT_LEN 12 /* of every option of ours */
#define MZ_OPT_CRITICAL 0x80
#define MZ_OPT_WORDS 0x1f /* bits of the length, in words of four bytes */

/*
 * mz_wire.found has a byte per option type: 0, or one more than the word at which the
 * (first) option of that type begins.
 */
static __always_inline __u32 mz_wire_has(const struct mz_wire *w, enum mz_opt_type type)
{
	return w->found >> (8 * (type - 1)) & 0xff;
}

/* Where the option begins; only if mz_wire_has() it, and within bounds that the caller checks. */
static __always_inline void *mz_wire_opt(void *data, const struct mz_wire *w, enum mz_opt_type type)
{
	return data + MZ_OFF_OPTIONS + ((mz_wire_has(w, type) - 1) & 0x3f) * 4;
}

/* What a walk over the options found, and why it ended. */
#define MZ_WALKED(exit, found) ((__u64)(exit) << 56 | (found))
#define MZ_FOUND_MASK ((1ull << 56) - 1)

static __always_inline __u64 mz_found(__u64 found, __u32 type, __u32 at)
{
	__u32 shift = 8 * (type - 1) & 63;

	return found >> shift & 0xff ? found : found | (__u64)(at / 4 + 1) << shift;
}

/*
 * Any options at all. The body of a global function of each hook: the verifier looks
 * at those once by themselves, and not again with every state that led here.
 */
static __always_inline __u64 mz_geneve_walk(void *data, void *end, __u32 opts)
{
	__u64 found = 0;
	__u32 at = 0;

	for (int i = 0; i < MZ_MAX_GENEVE_OPTIONS && at < opts; i++) {
		/* The mask is for the verifier: options end at 252. */
		const struct mz_geneve_opt *opt = data + MZ_OFF_OPTIONS + (at & 0xfc);
		__u32 size;

		if ((void *)(opt + 1) > end)
			return MZ_WALKED(MZ_DROP_HELPER, 0);
		size = sizeof(*opt) + (opt->length & MZ_OPT_WORDS) * 4;
		if (at + size > opts)
			return MZ_WALKED(MZ_DROP_GENEVE_OPTION, 0);
		if (opt->opt_class == bpf_htons(MZ_OPT_CLASS) && opt->type >= MZ_OPT_RTS &&
		    opt->type <= MZ_OPT_REDIRECT) {
			if (size != MZ_OPT_LEN)
				return MZ_WALKED(MZ_DROP_GENEVE_OPTION, 0);
			found = mz_found(found, opt->type, at);
		} else if (opt->type & MZ_OPT_CRITICAL) {
			return MZ_WALKED(MZ_DROP_GENEVE_CRITICAL, 0);
		}
		at += size;
	}
	return MZ_WALKED(MZ_GO_ON, found);
}

static __always_inline mz_exit mz_geneve_rts(void *data, void *end, struct mz_wire *w)
{
	const struct mz_opt_rts *rts = mz_wire_opt(data, w, MZ_OPT_RTS);

	if ((void *)(rts + 1) > end)
		return MZ_DROP_HELPER;
	w->hop = rts->hop;
	w->rts = rts->host;
	return w->hop <= MZ_HOP_ENDPOINT ? MZ_GO_ON : MZ_DROP_GENEVE_OPTION;
}

#define MZ_WALK 0xfeu
_Static_assert(MZ_VERDICT_MAX <= MZ_WALK, "a verdict and MZ_WALK fit one byte");

/* MZ_WALK: not the usual; call the hook's walk, then mz_geneve_walked(). */
static __always_inline mz_exit mz_geneve_options(void *data, void *end, struct mz_wire *w)
{
	const struct mz_geneve_opt *first = data + MZ_OFF_OPTIONS;

	w->found = 0;
	w->hop = MZ_HOP_NONE;
	if (!w->opts)
		return MZ_GO_ON;
	if ((void *)(first + 1) > end)
		return MZ_DROP_HELPER;
	if (w->opts != MZ_OPT_LEN || first->opt_class != bpf_htons(MZ_OPT_CLASS) ||
	    first->type != MZ_OPT_RTS || (first->length & MZ_OPT_WORDS) != MZ_OPT_LEN / 4 - 1)
		return MZ_WALK;
	w->found = mz_found(0, MZ_OPT_RTS, 0);
	return mz_geneve_rts(data, end, w);
}

static __always_inline mz_exit mz_geneve_walked(void *data, void *end, struct mz_wire *w,
						__u64 walked)
{
	mz_exit exit = walked >> 56;

	w->found = walked & MZ_FOUND_MASK;
	if (exit != MZ_GO_ON || !mz_wire_has(w, MZ_OPT_RTS))
		return exit;
	return mz_geneve_rts(data, end, w);
}

/* The fixed header; mz_geneve_options() follows when the options are at hand. */
static __always_inline mz_exit mz_geneve_header(void *data, void *end, struct mz_wire *w)
{
	const struct mz_geneve *geneve = data + MZ_OFF_GENEVE;
	__u32 head = MZ_IP_LEN + MZ_UDP_LEN + sizeof(*geneve);

	if (w->total < head)
		return MZ_DROP_GENEVE_TRUNCATED;
	if ((void *)(geneve + 1) > end)
		return MZ_DROP_HELPER;
	if (geneve->ver_optlen >> 6)
		return MZ_DROP_GENEVE_VERSION;
	w->opts = (geneve->ver_optlen & 0x3f) * 4;
	if (w->total < head + w->opts)
		return MZ_DROP_GENEVE_TRUNCATED;
	w->vni = bpf_ntohl(geneve->vni_rsvd) >> 8;
	w->flags = geneve->flags;
	return MZ_GO_ON;
}

/* Last, as a critical option of an unknown payload still has to be honoured. */
static __always_inline mz_exit mz_geneve_payload(void *data, void *end)
{
	const struct mz_geneve *geneve = data + MZ_OFF_GENEVE;

	if ((void *)(geneve + 1) > end)
		return MZ_DROP_HELPER;
	return geneve->protocol == bpf_htons(MZ_GENEVE_ETH) ? MZ_GO_ON : MZ_DROP_GENEVE_PROTOCOL;
}

#endif
