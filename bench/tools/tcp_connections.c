// SPDX-License-Identifier: Apache-2.0
/*
 * tcp_connections - how many short TCP connections a path carries per second.
 *
 * One connection: connect, 64 byte request, 64 byte response, close by the
 * server, close by the client. The server closes first, so that the waiting
 * time of TCP (TIME_WAIT) falls on its one port and never on the client's ports.
 *
 *   tcp_connections serve PORT
 *   tcp_connections connect ADDRESS PORT PARALLEL SECONDS     prints one JSON object
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, EVENTS = 256, BACKLOG = 1024 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "tcp_connections: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void watch(int epoll, int s, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = s };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, s, &e))
		die("watch");
}

static void accept_all(int epoll, int listener)
{
	int s;

	while ((s = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		watch(epoll, s, EPOLLIN);
}

static void answer(int s)
{
	char message[MESSAGE];
	ssize_t n = recv(s, message, sizeof(message), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0)
		(void)!send(s, message, n, MSG_NOSIGNAL);
	close(s);
}

static _Noreturn void serve(int port)
{
	struct sockaddr_in self = { .sin_family = AF_INET, .sin_port = htons(port) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0), one = 1;
	struct epoll_event ready[EVENTS];

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (void *)&self, sizeof(self)) || listen(listener, BACKLOG))
		die("listen");
	watch(epoll, listener, EPOLLIN);
	for (;;) {
		int n = epoll_wait(epoll, ready, EVENTS, -1);

		for (int i = 0; i < n; i++)
			if (ready[i].data.fd == listener)
				accept_all(epoll, listener);
			else
				answer(ready[i].data.fd);
	}
}

static void dial(int epoll, const struct sockaddr_in *peer)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (s < 0)
		die("socket");
	if (connect(s, (void *)peer, sizeof(*peer)) && errno != EINPROGRESS)
		die("connect");
	watch(epoll, s, EPOLLOUT);
}

/* One step of a connection; 1 when it is complete, -1 when it failed. */
static int step(int epoll, int s, uint32_t events)
{
	char message[MESSAGE] = { 0 };
	struct epoll_event e = { .events = EPOLLIN, .data.fd = s };
	ssize_t n;

	if (events & EPOLLOUT) {
		if (send(s, message, sizeof(message), MSG_NOSIGNAL) < 0)
			return -1;
		return epoll_ctl(epoll, EPOLL_CTL_MOD, s, &e) ? -1 : 0;
	}
	n = recv(s, message, sizeof(message), 0);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	return n == 0;
}

static int connect_many(const char *address, int port, int parallel, double seconds)
{
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(port) };
	int epoll = epoll_create1(0);
	struct epoll_event ready[EVENTS];
	uint64_t complete = 0, failed = 0;
	double start = now(), end = start;

	if (inet_pton(AF_INET, address, &peer.sin_addr) != 1) {
		fprintf(stderr, "tcp_connections: bad address\n");
		return 2;
	}
	for (int i = 0; i < parallel; i++)
		dial(epoll, &peer);
	while (end - start < seconds) {
		int n = epoll_wait(epoll, ready, EVENTS, 100);

		for (int i = 0; i < n; i++) {
			int done = step(epoll, ready[i].data.fd, ready[i].events);

			if (!done)
				continue;
			complete += done > 0;
			failed += done < 0;
			close(ready[i].data.fd);
			dial(epoll, &peer);
		}
		end = now();
	}
	printf("{\"connections\": %llu, \"failed\": %llu, \"seconds\": %.6f}\n", (unsigned long long)complete,
	       (unsigned long long)failed, end - start);
	return complete ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(atoi(argv[2]));
	if (argc == 6 && !strcmp(argv[1], "connect"))
		return connect_many(argv[2], atoi(argv[3]), atoi(argv[4]), atof(argv[5]));
	fprintf(stderr, "usage: tcp_connections serve PORT | connect ADDRESS PORT PARALLEL SECONDS\n");
	return 2;
}
