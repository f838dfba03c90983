# SPDX-License-Identifier: Apache-2.0
"""The only code that knows the kernel's side: programs, maps, links; and a fake that behaves the same."""
