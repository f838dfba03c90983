// SPDX-License-Identifier: Apache-2.0
/*
 * memory_latency - how long a load takes that depends on the load before.
 *
 * Each line of a buffer holds the address of the next one, in random order. With
 * a buffer larger than a cache, that is what one miss of it costs, and so the
 * least that a look-up of a random key in a table of that size can cost. Huge
 * pages, as in the kernel's own mapping of memory.
 *
 *   memory_latency KIB...     prints {"KIB": ns, ...}
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { LINE = 64, LOADS = 2000000 };

static uint64_t draw(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* One cycle through all lines, by Sattolo's shuffle. */
static void **chain(size_t lines)
{
	char *memory = mmap(NULL, lines * LINE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t *order = malloc(lines * sizeof(*order));

	if (memory == MAP_FAILED || !order) {
		perror("memory_latency");
		exit(1);
	}
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

int main(int argc, char **argv)
{
	printf("{");
	for (int i = 1; i < argc; i++) {
		size_t lines = strtoul(argv[i], NULL, 10) * 1024 / LINE;
		void **first = chain(lines), **at = first;
		uint64_t start;

		/* Once around the caches before the clock starts. */
		for (size_t n = 0; n < lines; n++)
			at = *at;
		start = now();
		for (int n = 0; n < LOADS; n++)
			at = *at;
		printf("%s\"%s\": %.1f", i > 1 ? ", " : "", argv[i], (double)(now() - start) / LOADS);
		/* Without a use of it the loop would be nothing. */
		if (at == NULL)
			return 1;
		munmap(first, lines * LINE);
	}
	printf("}\n");
	return 0;
}
