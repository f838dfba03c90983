// SPDX-License-Identifier: Apache-2.0
/*
 * keep_awake - a process that always runs where nothing else wants to.
 *
 * No system calls: what is to run instead has the processor with the next interrupt.
 * Why and how: bench/core/scheduling.py.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	struct sched_param none = { 0 };

	if (sched_setscheduler(0, SCHED_IDLE, &none)) {
		fprintf(stderr, "keep_awake: become an idle process: %s\n", strerror(errno));
		return 1;
	}
	for (volatile unsigned long rounds = 0;; rounds++)
		;
}
