# SPDX-License-Identifier: Apache-2.0
"""Measures Mizar beside its peers: `make bench`, `python -m bench --help`.

What holds:
  - What is compared runs in the same process run, on the same kernel, with the same tools, in turns
    (A B C, A B C, ...), so that a machine that slows down slows all of them.
  - A figure is the median of its repetitions; a comparison is the median of the ratios inside each
    repetition. All samples are kept in `build/bench/*.json`.
  - A peer that cannot run is reported with the reason, never left out in silence.

`core` knows samples, targets, processes and namespaces, but nothing of networks; `path`, `programs` and
`provision` are the three suites of docs/performance.md.
"""
