// SPDX-License-Identifier: Apache-2.0
/*
 * first_packet - round trip of a flow's first packet beside that of the next.
 *
 * The client makes its host forget what it learnt (clears the entries named
 * of pinned arrays), sends one packet and times the answer, then sends another
 * one over the path that the first has opened. The pause before each keeps the
 * two alike: the processors have gone idle in the same way.
 *
 *   first_packet echo PORT
 *   first_packet measure ADDRESS PORT ROUNDS PAUSE_US [MAP_PATH:INDEX ...]
 *
 * Prints {"first_ns": [...], "direct_ns": [...], "lost": N}.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

enum { MESSAGE = 64, MAX_ENTRIES = 16, MAX_VALUE = 4096, MAX_ROUNDS = 100000 };

struct entry {
	int map;
	uint32_t index;
};

static struct entry entries[MAX_ENTRIES];
static uint64_t first[MAX_ROUNDS], direct[MAX_ROUNDS];

static void open_entry(struct entry *entry, char *text)
{
	char *colon = strrchr(text, ':');
	union bpf_attr attr = { 0 };

	if (!colon || sscanf(colon + 1, "%u", &entry->index) != 1) {
		fprintf(stderr, "first_packet: '%s' is not MAP_PATH:INDEX\n", text);
		exit(2);
	}
	*colon = 0;
	attr.pathname = (uintptr_t)text;
	entry->map = syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr));
	if (entry->map < 0)
		die(text);
}

static void forget(const struct entry *entry)
{
	static const unsigned char nothing[MAX_VALUE];
	union bpf_attr attr = { 0 };

	attr.map_fd = entry->map;
	attr.key = (uintptr_t)&entry->index;
	attr.value = (uintptr_t)nothing;
	if (syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)))
		die("clear entry");
}

static int round_trip(int s, uint64_t *ns)
{
	static uint64_t serial;
	uint64_t message[MESSAGE / sizeof(uint64_t)] = { ++serial };
	uint64_t start = now_ns();

	if (send(s, message, sizeof(message), 0) < 0)
		die("send");
	/* An answer that comes after its time is not the answer to this one. */
	do {
		if (recv(s, message, sizeof(message), 0) < 0)
			return 0;
	} while (message[0] != serial);
	*ns = now_ns() - start;
	return 1;
}

static void print(const char *name, const uint64_t *values, int n)
{
	printf("\"%s\": [", name);
	for (int i = 0; i < n; i++)
		printf("%s%llu", i ? ", " : "", (unsigned long long)values[i]);
	printf("]");
}

static int measure(const char *address, int port, int rounds, int pause_us, int n)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct timeval patience = { .tv_sec = 1 };
	int s = socket(AF_INET, SOCK_DGRAM, 0), done = 0, lost = 0;

	inet_pton(AF_INET, address, &peer.sin_addr);
	if (s < 0 || connect(s, (void *)&peer, sizeof(peer)) ||
	    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		die("connect");
	for (int i = 0; i < rounds && i < MAX_ROUNDS; i++) {
		usleep(pause_us);
		for (int j = 0; j < n; j++)
			forget(&entries[j]);
		if (!round_trip(s, &first[done])) {
			lost++;
			continue;
		}
		usleep(pause_us);
		if (round_trip(s, &direct[done]))
			done++;
		else
			lost++;
	}
	printf("{");
	print("first_ns", first, done);
	printf(", ");
	print("direct_ns", direct, done);
	printf(", \"lost\": %d}\n", lost);
	return done ? 0 : 1;
}

static int echo(int port)
{
	struct sockaddr_in self = { .sin_family = AF_INET, .sin_port = htons(port) }, peer;
	socklen_t size = sizeof(peer);
	char message[MESSAGE];
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	ssize_t n;

	if (s < 0 || bind(s, (void *)&self, sizeof(self)))
		die("bind");
	while ((n = recvfrom(s, message, sizeof(message), 0, (void *)&peer, &size)) >= 0)
		sendto(s, message, n, 0, (void *)&peer, size);
	die("receive");
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "echo"))
		return echo(atoi(argv[2]));
	if (argc >= 6 && argc <= 6 + MAX_ENTRIES && !strcmp(argv[1], "measure")) {
		for (int i = 6; i < argc; i++)
			open_entry(&entries[i - 6], argv[i]);
		return measure(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), argc - 6);
	}
	fprintf(stderr, "usage: first_packet echo PORT | measure ADDRESS PORT ROUNDS PAUSE_US [MAP_PATH:INDEX ...]\n");
	return 2;
}
