/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/config.h - what the agent knows of this machine. */
#ifndef MIZAR_MAPS_CONFIG_H
#define MIZAR_MAPS_CONFIG_H

#include "base.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mz_config);
} mz_config SEC(".maps");

/* NULL until the agent has filled it in. */
static __always_inline const struct mz_config *mz_config_get(void)
{
	__u32 zero = 0;
	const struct mz_config *config = bpf_map_lookup_elem(&mz_config, &zero);

	return config && config->flags & MZ_CONFIG_F_READY ? config : NULL;
}

#endif
