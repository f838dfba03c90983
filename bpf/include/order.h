/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * order.h - reading what another processor may be writing.
 */
#ifndef MIZAR_ORDER_H
#define MIZAR_ORDER_H

#include "base.h"

#include <bpf/bpf_core_read.h>

#define MZ_READ_ONCE(x) (*(volatile typeof(x) *)&(x))

/* Known to the kernels of one architecture only. */
struct cpuinfo_x86 {
} __attribute__((preserve_access_index));

/*
 * @at, by way of which nothing is loaded before what gave @value was. x86 keeps the order of loads
 * by itself; elsewhere a load waits for what its address depends on (Documentation/memory-barriers.txt,
 * "Address-dependency barriers"). The loader decides, so that one object serves all.
 */
#define mz_after(at, value)                                                           \
	({                                                                            \
		typeof(at) at_ = (at);                                                \
		__u64 none_ = (value);                                                \
                                                                                      \
		barrier();                                                            \
		if (!bpf_core_type_exists(struct cpuinfo_x86))                        \
			asm volatile("%0 &= 0\n\t%1 += %0" : "+r"(none_), "+r"(at_)); \
		at_;                                                                  \
	})

#endif
