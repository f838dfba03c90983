/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/backends4.h - backends that may be given out. */
#ifndef MIZAR_MAPS_BACKENDS4_H
#define MIZAR_MAPS_BACKENDS4_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MZ_BACKENDS4_MAX);
	__type(key, struct mz_backend_key4);
	__type(value, struct mz_backend4);
} mz_backends4 SEC(".maps");

/*
 * May a client that asks for this backend have it? One that drains keeps the flows that it has. With affinity
 * it may be a new flow that asks, so it does not.
 */
static __always_inline bool mz_backend4_stays(const struct mz_service4 *service, __be32 addr)
{
	struct mz_backend_key4 key = {.service = service->id, .addr = addr};
	const struct mz_backend4 *backend = bpf_map_lookup_elem(&mz_backends4, &key);

	return backend && (backend->weight || !service->affinity);
}

#endif
