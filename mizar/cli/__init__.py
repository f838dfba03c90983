# SPDX-License-Identifier: Apache-2.0
"""The command line: parse, call one layer down, print.

    main        entry: the command tree, and failures as one line and an exit code
    options     what commands share: where the API is, output forms, durations, names
    output      tables that fit the terminal, JSON, YAML
    progress    what takes over a second says so, on stderr
    complete    completion of kinds, names and hosts
    apply  delete  get  wait  describe  tables  lab  daemons  completion      the commands

What holds:
 - stdout carries what was asked for and nothing else; stderr the rest.
 - Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted; of `lab exec` and its like
   the command's.
 - Whatever is slow to load (gRPC, numpy, pydantic, netlink, rich) is loaded by the command that needs it.
"""
