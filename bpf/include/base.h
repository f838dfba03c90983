/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * base.h - the kernel's and libbpf's headers, and the few words that all of our
 * headers need. Knows nothing of packets or maps.
 */
#ifndef MIZAR_BASE_H
#define MIZAR_BASE_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define MZ_MIN(a, b) ((a) < (b) ? (a) : (b))

/* Not in the UAPI headers that BPF programs can include. */
#define MZ_AF_INET 2

#define MZ_NS_PER_MS 1000000ull
#define MZ_MS_PER_S 1000ull

#endif
