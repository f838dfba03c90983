// SPDX-License-Identifier: Apache-2.0
/*
 * tool.h - what the tools share: how one ends, what time it is, and taking turns.
 */
#ifndef BENCH_TOOL_H
#define BENCH_TOOL_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline _Noreturn void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Each round in another order, or a path would always have the caches that the same other one leaves. */
static inline void shuffle(void **order, int n)
{
	for (int i = n - 1; i > 0; i--) {
		int k = rand() % (i + 1);
		void *other = order[k];

		order[k] = order[i];
		order[i] = other;
	}
}

#endif
