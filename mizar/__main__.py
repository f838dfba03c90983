# SPDX-License-Identifier: Apache-2.0
"""`python -m mizar` is `mizar`."""

from mizar.cli.main import main

main()
