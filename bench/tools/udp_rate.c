// SPDX-License-Identifier: Apache-2.0
/*
 * udp_rate - how many small UDP packets a path carries per second.
 *
 * iperf3 and sockperf pay one system call and one timer per packet and end near
 * 200 k/s on a path that carries more, so they would measure themselves. Here
 * the sender hands over 64 packets a call and the receiver takes as many; no
 * segmentation offload, each packet travels alone.
 *
 *   udp_rate receive PORT              counts from the first packet to silence
 *   udp_rate send ADDRESS PORT BYTES SECONDS
 *
 * Both print one JSON object; the receiver's is the result.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, MAX_BYTES = 2048, RECEIVE_BUFFER = 4 << 20, SILENCE_MS = 300, FIRST_MS = 10000 };

static char payload[BATCH][MAX_BYTES];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "udp_rate: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void prepare(size_t bytes)
{
	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ .iov_base = payload[i], .iov_len = bytes };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
}

static void set_patience(int s, int ms)
{
	struct timeval t = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)))
		die("set receive timeout");
}

static int receive(int port)
{
	struct sockaddr_in self = { .sin_family = AF_INET, .sin_port = htons(port) };
	int s = socket(AF_INET, SOCK_DGRAM, 0), size = RECEIVE_BUFFER;
	uint64_t packets = 0;
	double first = 0, last = 0;

	if (s < 0 || bind(s, (void *)&self, sizeof(self)))
		die("bind");
	if (setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		die("set receive buffer");
	set_patience(s, FIRST_MS);
	prepare(MAX_BYTES);
	for (;;) {
		int n = recvmmsg(s, messages, BATCH, MSG_WAITFORONE, NULL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0)
			die("receive");
		last = now();
		if (!first) {
			/* The first batch starts the clock and is not counted. */
			first = last;
			set_patience(s, SILENCE_MS);
			continue;
		}
		packets += n;
	}
	printf("{\"packets\": %llu, \"seconds\": %.6f}\n", (unsigned long long)packets, last - first);
	return packets ? 0 : 1;
}

static int transmit(const char *address, int port, size_t bytes, double seconds)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(port) };
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	uint64_t packets = 0;
	double start, end;

	if (bytes > MAX_BYTES || inet_pton(AF_INET, address, &peer.sin_addr) != 1) {
		fprintf(stderr, "udp_rate: bad address or size\n");
		return 2;
	}
	if (s < 0 || connect(s, (void *)&peer, sizeof(peer)))
		die("connect");
	prepare(bytes);
	start = now();
	do {
		int n = sendmmsg(s, messages, BATCH, 0);

		/* A full queue and a port not yet bound are losses like any other. */
		if (n < 0 && errno != ENOBUFS && errno != ECONNREFUSED)
			die("send");
		packets += n > 0 ? n : 0;
		end = now();
	} while (end - start < seconds);
	printf("{\"packets\": %llu, \"seconds\": %.6f}\n", (unsigned long long)packets, end - start);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "receive"))
		return receive(atoi(argv[2]));
	if (argc == 6 && !strcmp(argv[1], "send"))
		return transmit(argv[2], atoi(argv[3]), strtoul(argv[4], NULL, 10), atof(argv[5]));
	fprintf(stderr, "usage: udp_rate receive PORT | send ADDRESS PORT BYTES SECONDS\n");
	return 2;
}
