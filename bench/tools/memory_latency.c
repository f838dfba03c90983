// SPDX-License-Identifier: Apache-2.0
/*
 * memory_latency - how long a load takes that depends on the load before.
 *
 * Each line of a buffer holds the address of the next one, in random order. With
 * a buffer larger than a cache, that is what one miss of it costs, and so the
 * least that a look-up of a random key in a table of that size can cost. Huge
 * pages, as in the kernel's own mapping of memory.
 *
 * With PACE_NS nanoseconds of arithmetic between two loads, as there are between two
 * look-ups of a program: a line is asked for again only after so many times longer,
 * and others who use the same cache have put it out by then.
 *
 *   memory_latency PACE_NS KIB...     prints {"KIB": ns, ...}: of the loads alone
 */
#include "tool.h"

#include <sys/mman.h>

enum { LINE = 64, LOADS = 400000, PROBE = 100000 };

static volatile uintptr_t nothing;

static uint64_t draw(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

/* One cycle through all lines, by Sattolo's shuffle. */
static void **chain(size_t lines)
{
	char *memory = mmap(NULL, lines * LINE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t *order = malloc(lines * sizeof(*order));

	if (memory == MAP_FAILED || !order)
		die("make room");
	madvise(memory, lines * LINE, MADV_HUGEPAGE);
	for (size_t i = 0; i < lines; i++)
		order[i] = i;
	for (size_t i = lines - 1; i > 0; i--) {
		size_t j = draw() % i, kept = order[i];

		order[i] = order[j];
		order[j] = kept;
	}
	for (size_t i = 0; i < lines; i++)
		*(void **)(memory + i * LINE) = memory + order[i] * LINE;
	free(order);
	return (void **)memory;
}

/* Nanoseconds a load, with @steps of arithmetic that need its result before the next can begin. */
static double walk(void **at, int loads, unsigned int steps)
{
	uintptr_t zero = nothing;
	uint64_t start = now_ns();

	for (int n = 0; n < loads; n++) {
		uintptr_t value;

		at = *at;
		value = (uintptr_t)at;
		for (unsigned int step = 0; step < steps; step++)
			value = value * 0x9e3779b97f4a7c15ull + 1;
		at = (void **)((uintptr_t)at + (value & zero));
	}
	nothing = (uintptr_t)at & zero;
	return (double)(now_ns() - start) / loads;
}

int main(int argc, char **argv)
{
	void **near = chain(1);
	double pace = argc > 1 ? atof(argv[1]) : 0, idle = walk(near, PROBE, 0);
	double step = (walk(near, PROBE, 100) - idle) / 100;
	unsigned int steps = pace / step;

	printf("{");
	for (int i = 2; i < argc; i++) {
		size_t lines = strtoul(argv[i], NULL, 10) * 1024 / LINE;
		void **first = chain(lines);

		/* Once around the caches before the clock starts. */
		walk(first, lines, 0);
		printf("%s\"%s\": %.1f", i > 2 ? ", " : "", argv[i],
		       walk(first, LOADS, steps) - walk(near, LOADS, steps) + idle);
		munmap(first, lines * LINE);
	}
	printf("}\n");
	return 0;
}
