# SPDX-License-Identifier: Apache-2.0
"""The programs by themselves: nanoseconds a packet in the kernel's own timer (BPF_PROG_TEST_RUN).

The kernel times `repeat` runs on one buffer, so a program that rewrites its packet takes another path from
the second run on. Ways around that, all checked against `mz_verdicts` so that every timed run is known to
have left through the exit that is meant:

  restored   `harness.bpf.c` writes the packet anew, with a random address where the table is to be hit at
             random, and tail-calls the program. Time: (harness + program) - (harness + empty program).
             For all paths that leave the packet's length alone.
  unwrapped  the same, and the headers that the program has put around the packet are taken off before the
             next run. To the kernel the packet is a tunnel's from then on (skb->encapsulation stays set): the
             program's first bpf_skb_adjust_room is refused, and it makes room without telling of a tunnel.
             What taking off costs and the refusal are timed in turns with it, and subtracted; what telling
             costs is timed on fresh packets, and added.
  wrapped    the other way round, where the program takes headers off.
  single     one system call a run on a fresh packet, for paths that make another packet of theirs. Time:
             median of runs - median of runs of an empty program. Colder than the others, since a system
             call lies between two runs.

In turns with the empty program, whose plain cost (test loop included) is added again, so that a number here
is what TEST_RUN says for a program that it can run by itself.
"""
