# SPDX-License-Identifier: Apache-2.0
"""The programs by themselves: nanoseconds a packet in the kernel's own timer (BPF_PROG_TEST_RUN).

The kernel times `repeat` runs on one buffer, so a program that rewrites its packet takes another path from
the second run on. Two ways around that, both checked against `mz_verdicts` so that every timed run is known
to have left through the exit that is meant:

  restored   `harness.bpf.c` writes the packet anew, with a random address where the table is to be hit at
             random, and tail-calls the program. Time: (harness + program) - (harness + empty program).
             For all paths that leave the packet's length alone.
  single     one system call a run on a fresh packet, for paths that add or remove headers: the kernel
             refuses to encapsulate twice. Time: median of runs - median of runs of an empty program.
             Colder than `restored`, since a system call lies between two runs.

In turns with the empty program, whose plain cost (test loop included) is added again, so that a number here
is what TEST_RUN says for a program that it can run by itself.
"""
