# SPDX-License-Identifier: Apache-2.0
"""Names of failures, split by what the caller can do about them.

    MizarError
    +-- InvalidError        the request itself is wrong: correct it (CLI exit 1, HTTP 422)
    |   +-- UsageError      the command line is wrong (CLI exit 2)
    +-- ConflictError       right in itself, but not in the present state (HTTP 409)
    +-- NotFoundError       names something that does not exist (HTTP 404)
    +-- UnavailableError    may succeed later: a host is away, a daemon is not running (HTTP 503)
    +-- KernelError         the kernel refused; carries what it said
    +-- ToolError           an external program failed; carries its stdout and stderr

A message is one line: what is wrong, the offending value, what would be right.
"""

from __future__ import annotations


class MizarError(Exception):
    """Base of all errors that a user may meet; str() is one line."""


class InvalidError(MizarError):
    """The request breaks a rule whatever the state is."""


class UsageError(InvalidError):
    """The command line is not understood."""


class ConflictError(MizarError):
    """The request is refused in the present state; nothing was changed."""


class NotFoundError(MizarError):
    """A named object does not exist."""


class UnavailableError(MizarError):
    """Try again: something that must answer does not."""


class KernelError(MizarError):
    """A kernel call failed.

    `log` holds what the kernel said beyond the errno: the verifier's log, or nothing.
    """

    def __init__(self, message: str, *, errno: int = 0, log: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.log = log


class ToolError(MizarError):
    """An external program failed."""

    def __init__(self, message: str, *, stdout: str = "", stderr: str = "") -> None:
        super().__init__(message)
        self.stdout = stdout
        self.stderr = stderr
