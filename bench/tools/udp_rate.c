// SPDX-License-Identifier: Apache-2.0
/*
 * udp_rate - how many small UDP packets a path carries per second.
 *
 * iperf3 and sockperf pay one system call and one timer per packet and end near
 * 200 k/s on a path that carries more, so they would measure themselves. Here
 * the sender hands over 64 packets a call and the receiver takes as many; no
 * segmentation offload, each packet travels alone.
 *
 *   udp_rate receive PORT              counts until silence
 *   udp_rate send PORT BYTES SECONDS NAMESPACE ADDRESS [NAMESPACE ADDRESS ...]
 *
 * The sender has a socket on each path and goes from one to the next, so that all
 * see the same machine; see round_trips.c. After its turn a path has time to carry
 * what it has queued. NAMESPACE is the path of a network namespace.
 *
 * Both print one JSON object. The sender's "seconds" and "busy" have for each path,
 * in the order of the arguments, how long it sent and the time that all processors
 * worked meanwhile and until the next path's turn.
 */
#include "tool.h"

enum {
	BATCH = 64,
	MAX_BYTES = 2048,
	MAX_PATHS = 16,
	RECEIVE_BUFFER = 4 << 20,
	SILENCE_MS = 2500, /* longer than two turns of each other path */
	FIRST_MS = 10000,
	TURN_MS = 40,
	DRAIN_MS = 20
};

struct path {
	int s;
	double seconds, busy;
};

static char payload[BATCH][MAX_BYTES];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static double now(void)
{
	return now_ns() / 1e9;
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
		if (!packets)
			set_patience(s, SILENCE_MS);
		packets += n;
	}
	printf("{\"packets\": %llu}\n", (unsigned long long)packets);
	return packets ? 0 : 1;
}

static void take_turn(struct path *path)
{
	struct timespec drain = { .tv_nsec = DRAIN_MS * 1000000L };
	double before = busy_seconds(), start = now(), end;

	do {
		/* A full queue and a port not yet bound are losses like any other. */
		if (sendmmsg(path->s, messages, BATCH, 0) < 0 && errno != ENOBUFS && errno != ECONNREFUSED)
			die("send");
		end = now();
	} while (end - start < TURN_MS / 1e3);
	path->seconds += end - start;
	nanosleep(&drain, NULL);
	path->busy += busy_seconds() - before;
}

static void print(const struct path *paths, int n)
{
	printf("{\"seconds\": [");
	for (int i = 0; i < n; i++)
		printf("%s%.6f", i ? ", " : "", paths[i].seconds);
	printf("], \"busy\": [");
	for (int i = 0; i < n; i++)
		printf("%s%.6f", i ? ", " : "", paths[i].busy);
	printf("]}\n");
}

static int transmit(int port, size_t bytes, double seconds, char **ends, int n)
{
	static struct path paths[MAX_PATHS];
	void *order[MAX_PATHS];

	if (bytes > MAX_BYTES || n > MAX_PATHS) {
		fprintf(stderr, "udp_rate: too many bytes or paths\n");
		return 2;
	}
	for (int i = 0; i < n; i++) {
		paths[i].s = dial(SOCK_DGRAM, ends[2 * i], ends[2 * i + 1], port);
		order[i] = &paths[i];
	}
	prepare(bytes);
	do {
		shuffle(order, n);
		for (int i = 0; i < n; i++)
			take_turn(order[i]);
	} while (paths[0].seconds < seconds);
	print(paths, n);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "receive"))
		return receive(atoi(argv[2]));
	if (argc >= 7 && argc % 2 && !strcmp(argv[1], "send"))
		return transmit(atoi(argv[2]), strtoul(argv[3], NULL, 10), atof(argv[4]), argv + 5, (argc - 5) / 2);
	fprintf(stderr, "usage: udp_rate receive PORT | send PORT BYTES SECONDS NAMESPACE ADDRESS ...\n");
	return 2;
}
