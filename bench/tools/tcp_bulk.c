// SPDX-License-Identifier: Apache-2.0
/*
 * tcp_bulk - how much one TCP flow carries, on several paths in turns.
 *
 * What a machine carries differs from one second to the next by more than the paths
 * do, so a tool that measures them one after the other compares seconds. Here one
 * client has a flow on each path and goes from one to the next, as in round_trips.c.
 *
 *   tcp_bulk serve PORT                     takes in all that one client after the other sends
 *   tcp_bulk measure PORT SECONDS NAMESPACE ADDRESS [NAMESPACE ADDRESS ...]
 *
 * SECONDS are counted for each path. NAMESPACE is the path of a network namespace.
 * Prints one JSON object, each member with a number for each path in the order of the
 * arguments: "bytes" acknowledged within "seconds", and the seconds that all processors
 * worked ("busy") for all bytes that were ever "sent".
 */
#include "tool.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>

enum {
	BLOCK = 128 << 10,
	MAX_PATHS = 16,
	TURN_MS = 100,
	UNCOUNTED_MS = 25, /* of these: the window opens, after a pause as at the beginning */
	REST_MS = 5	   /* what has arrived is read */
};

struct path {
	int s;
	uint64_t bytes, ns, sent;
	double busy;
};

static char block[BLOCK];

static void take_in(int s)
{
	while (recv(s, block, sizeof(block), 0) > 0)
		;
	close(s);
}

static uint64_t acknowledged(int s)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	if (getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &size))
		die("read TCP_INFO");
	return info.tcpi_bytes_acked;
}

/* Until @end; returns when it is. */
static uint64_t send_until(struct path *path, uint64_t end)
{
	uint64_t now;

	do {
		ssize_t n = send(path->s, block, sizeof(block), MSG_NOSIGNAL);

		if (n < 0)
			die("send");
		path->sent += n;
		now = now_ns();
	} while (now < end);
	return now;
}

static void rest(unsigned int ms)
{
	struct timespec t = { .tv_nsec = ms * 1000000L };

	nanosleep(&t, NULL);
}

static void drain(int s)
{
	int left;

	do {
		rest(1);
		if (ioctl(s, SIOCOUTQ, &left))
			die("read queue");
	} while (left);
	rest(REST_MS);
}

static void take_turn(struct path *path)
{
	double before = busy_seconds();
	uint64_t start = send_until(path, now_ns() + UNCOUNTED_MS * 1000000ull);
	uint64_t had = acknowledged(path->s);
	uint64_t end = send_until(path, start + (TURN_MS - UNCOUNTED_MS) * 1000000ull);

	path->bytes += acknowledged(path->s) - had;
	path->ns += end - start;
	drain(path->s);
	path->busy += busy_seconds() - before;
}

static void print(const struct path *paths, int n)
{
	const char *after[] = { ", ", "]" };

	printf("{\"bytes\": [");
	for (int i = 0; i < n; i++)
		printf("%llu%s", (unsigned long long)paths[i].bytes, after[i == n - 1]);
	printf(", \"seconds\": [");
	for (int i = 0; i < n; i++)
		printf("%.6f%s", paths[i].ns / 1e9, after[i == n - 1]);
	printf(", \"busy\": [");
	for (int i = 0; i < n; i++)
		printf("%.6f%s", paths[i].busy, after[i == n - 1]);
	printf(", \"sent\": [");
	for (int i = 0; i < n; i++)
		printf("%llu%s", (unsigned long long)paths[i].sent, after[i == n - 1]);
	printf("}\n");
}

static int measure(int port, double seconds, char **ends, int n)
{
	static struct path paths[MAX_PATHS];
	void *order[MAX_PATHS];

	if (n > MAX_PATHS) {
		fprintf(stderr, "tcp_bulk: too many paths\n");
		return 2;
	}
	for (int i = 0; i < n; i++) {
		paths[i].s = dial(SOCK_STREAM, ends[2 * i], ends[2 * i + 1], port);
		order[i] = &paths[i];
	}
	do {
		shuffle(order, n);
		for (int i = 0; i < n; i++)
			take_turn(order[i]);
	} while (paths[0].ns < seconds * 1e9);
	print(paths, n);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve_with(take_in, atoi(argv[2]));
	if (argc >= 6 && argc % 2 == 0 && !strcmp(argv[1], "measure"))
		return measure(atoi(argv[2]), atof(argv[3]), argv + 4, (argc - 4) / 2);
	fprintf(stderr, "usage: tcp_bulk serve PORT | measure PORT SECONDS NAMESPACE ADDRESS ...\n");
	return 2;
}
