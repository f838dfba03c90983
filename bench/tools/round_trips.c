// SPDX-License-Identifier: Apache-2.0
/*
 * round_trips - how long a request and its answer take, on several paths at once.
 *
 * A tool that measures one path after the other compares the machine of one second
 * with that of the next, and where others use the machine too, that differs by more
 * than the paths do. Here one client has a connection on each path and goes from one
 * to the next every few milliseconds, so all see the same machine.
 *
 *   round_trips serve PORT                      answers one client at a time
 *   round_trips measure PORT SECONDS BYTES NAMESPACE ADDRESS [NAMESPACE ADDRESS ...]
 *
 * NAMESPACE is the path of a network namespace. Prints one JSON object: "ns", which
 * has the round trips of each path in the order of the arguments.
 */
#include "tool.h"

#include <netinet/tcp.h>

enum {
	MAX_BYTES = 1024,
	MAX_PATHS = 16,
	TURN = 100,    /* round trips before the next path's */
	UNCOUNTED = 10 /* of these: the caches hold the path before */
};

struct path {
	int s;
	uint32_t *ns;
	size_t n, room;
};

static char message[MAX_BYTES];

/* 0: the other end has closed. */
static int receive(int s, size_t bytes)
{
	for (size_t have = 0; have < bytes;) {
		ssize_t n = recv(s, message + have, bytes - have, 0);

		if (!n)
			return 0;
		if (n < 0)
			die("receive");
		have += n;
	}
	return 1;
}

static void no_delay(int s)
{
	int one = 1;

	if (setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("set no delay");
}

static void answer_all(int s)
{
	ssize_t n;

	no_delay(s);
	while ((n = recv(s, message, sizeof(message), 0)) > 0)
		if (send(s, message, n, MSG_NOSIGNAL) != n)
			break;
	close(s);
}

static void note(struct path *path, uint64_t ns)
{
	if (path->n == path->room) {
		path->room = path->room ? path->room * 2 : 1 << 16;
		path->ns = reallocarray(path->ns, path->room, sizeof(*path->ns));
		if (!path->ns)
			die("make room");
	}
	path->ns[path->n++] = ns < UINT32_MAX ? ns : UINT32_MAX;
}

static void take_turn(struct path *path, size_t bytes)
{
	for (int i = 0; i < TURN; i++) {
		uint64_t start = now_ns();

		if (send(path->s, message, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
			die("send");
		if (!receive(path->s, bytes))
			die("receive: the server has closed");
		if (i >= UNCOUNTED)
			note(path, now_ns() - start);
	}
}

static void print(const struct path *paths, int n)
{
	printf("{\"ns\": [");
	for (int i = 0; i < n; i++) {
		printf("%s[", i ? ", " : "");
		for (size_t k = 0; k < paths[i].n; k++)
			printf("%s%u", k ? ", " : "", paths[i].ns[k]);
		printf("]");
	}
	printf("]}\n");
}

static int measure(int port, double seconds, size_t bytes, char **ends, int n)
{
	static struct path paths[MAX_PATHS];
	void *order[MAX_PATHS];
	uint64_t end;

	if (bytes > MAX_BYTES || n > MAX_PATHS) {
		fprintf(stderr, "round_trips: too many bytes or paths\n");
		return 2;
	}
	for (int i = 0; i < n; i++) {
		paths[i].s = dial(SOCK_STREAM, ends[2 * i], ends[2 * i + 1], port);
		no_delay(paths[i].s);
		order[i] = &paths[i];
	}
	end = now_ns() + seconds * 1e9;
	do {
		shuffle(order, n);
		for (int i = 0; i < n; i++)
			take_turn(order[i], bytes);
	} while (now_ns() < end);
	print(paths, n);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve_with(answer_all, atoi(argv[2]));
	if (argc >= 7 && argc % 2 && !strcmp(argv[1], "measure"))
		return measure(atoi(argv[2]), atof(argv[3]), strtoul(argv[4], NULL, 10), argv + 5, (argc - 5) / 2);
	fprintf(stderr, "usage: round_trips serve PORT | measure PORT SECONDS BYTES NAMESPACE ADDRESS ...\n");
	return 2;
}
