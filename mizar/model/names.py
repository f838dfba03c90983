# SPDX-License-Identifier: Apache-2.0
"""Names of objects: DNS labels (RFC 1123), joined by slashes into full names.

A host or VPC is named alone (`h1`, `blue`), what is inside a VPC by the VPC and itself (`blue/web-1`).
"""

from __future__ import annotations

import re

MAX_LABEL = 63

PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""A label as a regular expression, for schemas."""

RULE = f"a name is 1 to {MAX_LABEL} lower-case letters, digits and inner hyphens"

_LABEL = re.compile(PATTERN[1:-1]).fullmatch


def check_label(text: str) -> str:
    """Return `text` when it is a DNS label; raise ValueError with the rule otherwise."""
    if _LABEL(text) is None:
        raise ValueError(f"{text!r} is not a name; {RULE}")
    return text


def full(vpc: str | None, name: str) -> str:
    """`blue/web` for what is inside a VPC, the name alone for what is not."""
    return f"{vpc}/{name}" if vpc else name


def split(full_name: str) -> tuple[str | None, str]:
    """The reverse of `full`: VPC and name. A bouncer's name keeps its inner slash (`web/h2`)."""
    vpc, slash, name = full_name.partition("/")
    return (vpc, name) if slash else (None, vpc)
