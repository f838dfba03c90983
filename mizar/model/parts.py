# SPDX-License-Identifier: Apache-2.0
"""What the model classes are made of: the base class, types of fields, conditions.

Here and not in `objects`, because specs stand in several modules (`objects`, `services`). Validators raise
ValueError with the rule and the value; `reading` prefixes the object's name.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from mizar.model import addresses, names


def check_distinct(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list that has something twice."""
    if len(texts) > 1:
        twice = next((text for text in texts if texts.count(text) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is given twice")
    return texts


def check_disjoint(cidrs: tuple[str, ...]) -> tuple[str, ...]:
    addresses.check_disjoint(cidrs)
    return cidrs


Name = Annotated[str, StringConstraints(pattern=names.PATTERN)]
Address = Annotated[
    str, AfterValidator(addresses.check_address), WithJsonSchema({"type": "string", "format": "ipv4"})
]
Cidr = Annotated[
    str, AfterValidator(addresses.check_cidr), WithJsonSchema({"type": "string", "examples": ["10.0.0.0/16"]})
]
Destination = Annotated[
    str,
    AfterValidator(addresses.check_destination),
    WithJsonSchema({"type": "string", "examples": ["0.0.0.0/0"]}),
]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Protocol = Literal["TCP", "UDP", "SCTP"]

PROTOCOLS: dict[str, int] = {"TCP": 6, "UDP": 17, "SCTP": 132}
"""IP protocol numbers."""


class Part(pydantic.BaseModel):
    """Base of all parts of objects: camelCase in JSON, no unknown fields, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Condition(Part):
    """One observed fact about an object, in the form that Kubernetes uses."""

    type: Literal["Ready"] = "Ready"
    status: Literal["True", "False"]
    reason: str = Field(
        description="one word for programs: Acknowledged, Pending, HostAway, EntryRefused, ..."
    )
    message: str = Field("", description="one line for people")
    last_transition_time: str | None = Field(None, description="RFC 3339 UTC")


class Status(Part):
    """What every status has."""

    ready: StrictBool = Field(False, description="every host that must know has acknowledged")
    conditions: tuple[Condition, ...] = Field((), description="Ready, with the reason")
    message: str | None = Field(None, description="one line, when there is something to say")
