/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps/endpoints4.h - the endpoints of this host, by every address they have. */
#ifndef MIZAR_MAPS_ENDPOINTS4_H
#define MIZAR_MAPS_ENDPOINTS4_H

#include "buckets.h"

MZ_BUCKETS(mz_endpoints4, struct mz_endpoint, MZ_ENDPOINTS4_MAX, mz_secret_factor())

static __always_inline const struct mz_endpoint *mz_endpoint4_get(const struct mz_addr_key4 *key)
{
	return mz_endpoints4_find(mz_addr_number(key));
}

#endif
