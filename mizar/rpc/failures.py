# SPDX-License-Identifier: Apache-2.0
"""Our errors as gRPC status codes and back; the message is the same line on both sides."""

from __future__ import annotations

from typing import Final

import grpc

from mizar import errors

_CODES: Final[tuple[tuple[type[errors.MizarError], grpc.StatusCode], ...]] = (
    (errors.InvalidError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.ConflictError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
    (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (errors.MizarError, grpc.StatusCode.INTERNAL),
)


def code_of(failure: errors.MizarError) -> grpc.StatusCode:
    """The status code that says what the caller can do about it."""
    return next(code for kind, code in _CODES if isinstance(failure, kind))


def from_rpc(failure: grpc.RpcError) -> errors.MizarError:
    """What a call raised, as one of ours. Deadlines, lost connections and the like are UnavailableError."""
    code, details = _code_and_details(failure)
    line = " ".join(details.split()) or code.name.lower().replace("_", " ")
    if code is grpc.StatusCode.INTERNAL:
        return errors.KernelError(line)
    for kind, known in _CODES:
        if code is known:
            return kind(line)
    return errors.UnavailableError(line)


def _code_and_details(failure: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Failed calls carry a code and details; grpc.RpcError itself does not promise them."""
    if isinstance(failure, (grpc.Call, grpc.aio.AioRpcError)):
        return failure.code() or grpc.StatusCode.UNKNOWN, failure.details() or ""
    return grpc.StatusCode.UNKNOWN, str(failure)
