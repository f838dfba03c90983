// SPDX-License-Identifier: Apache-2.0
/*
 * tool.h - what the tools share: how one ends, what time it is and how long the
 * machine has worked, reaching a server from another network namespace, and taking
 * turns.
 */
#ifndef BENCH_TOOL_H
#define BENCH_TOOL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

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

/* Seconds that all processors have worked since boot: the first line of /proc/stat, proc(5). */
static inline double busy_seconds(void)
{
	unsigned long long user, nice, system, idle, iowait, irq, softirq;
	FILE *stat = fopen("/proc/stat", "r");

	if (!stat || fscanf(stat, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
			    &iowait, &irq, &softirq) != 7)
		die("read /proc/stat");
	fclose(stat);
	return (double)(user + nice + system + irq + softirq) / sysconf(_SC_CLK_TCK);
}

/* Take one connection after the other, and give each to @use, which closes it. */
static inline _Noreturn void serve_with(void (*use)(int s), int port)
{
	struct sockaddr_in self = { .sin_family = AF_INET, .sin_port = htons(port) };
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (void *)&self, sizeof(self)) || listen(s, 1))
		die("listen");
	for (;;) {
		int accepted = accept(s, NULL, NULL);

		if (accepted < 0)
			die("accept");
		use(accepted);
	}
}

/* A connected socket of @type, SOCK_STREAM or SOCK_DGRAM, in the namespace at path @netns, where the caller is then. */
static inline int dial(int type, const char *netns, const char *address, int port)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = open(netns, O_RDONLY | O_CLOEXEC), s;

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die("enter network namespace");
	close(fd);
	s = socket(AF_INET, type, 0);
	if (inet_pton(AF_INET, address, &peer.sin_addr) != 1 || s < 0 || connect(s, (void *)&peer, sizeof(peer)))
		die("connect");
	return s;
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
