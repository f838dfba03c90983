/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/locations4.h - the bouncer's table: endpoint to host. */
#ifndef MIZAR_MAPS_LOCATIONS4_H
#define MIZAR_MAPS_LOCATIONS4_H

#include "buckets.h"

MZ_BUCKETS(mz_locations4, struct mz_location, MZ_LOCATIONS4_MAX, mz_secret_factor())

static __always_inline const struct mz_location *mz_location4_get(const struct mz_addr_key4 *key)
{
	return mz_locations4_find(mz_addr_number(key));
}

#endif
