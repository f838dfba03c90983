// SPDX-License-Identifier: Apache-2.0
/*
 * prog_time - BPF_PROG_TEST_RUN many times, with nothing in between.
 *
 * Takes turns over the programs (descriptors that it inherited), so that what
 * the machine does to one it does to all. Between two runs lies one system call
 * and no interpreter, which would empty the caches of what is to be timed.
 *
 *   prog_time FRAME_FILE BATCHES REPEAT OFFSET FIRST COUNT FD...
 *
 * OFFSET, FIRST, COUNT: where a random address goes in each batch (0: nowhere).
 * Prints {"ns": [[...], ...], "retval": [...]}: of each program the nanoseconds
 * a run, one number a batch, and what it returned last.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_FRAME = 4096, MAX_PROGRAMS = 8 };

static unsigned char frame[MAX_FRAME], out[MAX_FRAME * 2];

static void die(const char *what)
{
	fprintf(stderr, "prog_time: %s: %s\n", what, strerror(errno));
	exit(1);
}

static size_t read_frame(const char *path)
{
	FILE *file = fopen(path, "rb");
	size_t size;

	if (!file)
		die(path);
	size = fread(frame, 1, sizeof(frame), file);
	fclose(file);
	return size;
}

static uint32_t draw(uint32_t first, uint32_t count)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return first + (uint32_t)(((x >> 32) * count) >> 32);
}

static uint32_t run(int program, size_t size, uint32_t repeat, uint32_t *retval)
{
	union bpf_attr attr = { 0 };

	attr.test.prog_fd = program;
	attr.test.repeat = repeat;
	attr.test.data_in = (uintptr_t)frame;
	attr.test.data_size_in = size;
	attr.test.data_out = (uintptr_t)out;
	attr.test.data_size_out = sizeof(out);
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		die("run program");
	*retval = attr.test.retval;
	return attr.test.duration;
}

int main(int argc, char **argv)
{
	int batches, programs = argc - 7;
	uint32_t repeat, offset, first, count, retval[MAX_PROGRAMS] = { 0 }, *ns;
	size_t size;

	if (programs < 1 || programs > MAX_PROGRAMS) {
		fprintf(stderr, "usage: prog_time FRAME_FILE BATCHES REPEAT OFFSET FIRST COUNT FD...\n");
		return 2;
	}
	size = read_frame(argv[1]);
	batches = atoi(argv[2]);
	repeat = strtoul(argv[3], NULL, 10);
	offset = strtoul(argv[4], NULL, 10);
	first = strtoul(argv[5], NULL, 10);
	count = strtoul(argv[6], NULL, 10);
	ns = calloc((size_t)batches * programs, sizeof(*ns));
	if (!ns || (offset && offset + sizeof(uint32_t) > size))
		die("prepare");
	for (int batch = 0; batch < batches; batch++)
		for (int i = 0; i < programs; i++) {
			uint32_t addr = htonl(draw(first, count));

			if (offset)
				memcpy(frame + offset, &addr, sizeof(addr));
			ns[i * batches + batch] = run(atoi(argv[7 + i]), size, repeat, &retval[i]);
		}
	printf("{\"ns\": [");
	for (int i = 0; i < programs; i++) {
		printf(i ? ", [" : "[");
		for (int batch = 0; batch < batches; batch++)
			printf(batch ? ", %u" : "%u", ns[i * batches + batch]);
		printf("]");
	}
	printf("], \"retval\": [");
	for (int i = 0; i < programs; i++)
		printf(i ? ", %u" : "%u", retval[i]);
	printf("]}\n");
	return 0;
}
