# SPDX-License-Identifier: Apache-2.0
"""Plain data (parsed JSON or YAML) or JSON text to objects, with errors in the house form.

pydantic finds what is wrong; here it is said in one line: the object, the field, the offending value, what
would be right: `network 'blue/web': spec.replicas: 20 is above 15`. Many objects go through one call, which
takes some 5 us for an endpoint; only when that fails are they looked at one by one to name the one at fault.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pydantic
from pydantic_core import ErrorDetails

from mizar import errors
from mizar.model import bulk, kinds, names, objects

_MANY = pydantic.TypeAdapter(list[Annotated[objects.Declared, pydantic.Field(discriminator="kind")]])

Path = tuple[int | str, ...]
"""Where in an object: ("spec", "cidrs", 0)."""


class FieldError(errors.InvalidError):
    """An InvalidError that knows the object's position in its list and the path of the field."""

    def __init__(self, message: str, *, path: Path = (), index: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.index = index


def read(raw: object) -> objects.Declared:
    """One object from plain data; FieldError says what is wrong with it."""
    cls = _class_of(raw)
    try:
        return cls.model_validate(raw)
    except pydantic.ValidationError as error:
        if cls is objects.Endpoint:
            raise _explained_endpoint(raw) from None
        raise _explained(error, cls, raw) from None


def read_many(raws: Sequence[object]) -> list[objects.Declared]:
    """Many objects at once; all or nothing."""
    try:
        with bulk.collector_paused():
            return _MANY.validate_python(raws)
    except pydantic.ValidationError:
        return _one_by_one(raws)


def read_json(text: bytes | str) -> list[objects.Declared]:
    """A JSON array of objects, or one object alone."""
    try:
        with bulk.collector_paused():
            return _MANY.validate_json(text)
    except pydantic.ValidationError:
        raw = load_json(text)  # also when it is one object and no array
    return _one_by_one(raw if isinstance(raw, list) else [raw])


def load_json(text: bytes | str) -> Any:
    """json.loads with an error in the house form."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.InvalidError(f"not JSON: {error or 'nested too deeply'}") from None


def _one_by_one(raws: Sequence[object]) -> list[objects.Declared]:
    good = []
    for index, raw in enumerate(raws):
        try:
            good.append(read(raw))
        except FieldError as error:
            error.index = index
            raise
    return good


def _class_of(raw: object) -> type[objects.Declared]:
    if not isinstance(raw, Mapping):
        raise FieldError(f"{_shown(raw)} is not an object with kind, metadata and spec")
    kind = raw.get("kind")
    cls = objects.CLASSES.get(kind) if isinstance(kind, str) else None
    if cls is not None:
        return cls
    known = ", ".join(objects.CLASSES)
    if kind is None:
        raise FieldError(f"kind is missing; kinds: {known}")
    read_only = next((k for k in (*kinds.KINDS, *kinds.VIEWS) if k.name == kind and k.read_only), None)
    if read_only is not None:
        raise FieldError(f"{read_only.plural} are read-only; they follow from other objects", path=("kind",))
    hint = kinds.did_you_mean(str(kind), objects.CLASSES)
    raise FieldError(f"unknown kind {_shown(kind)}{hint}; kinds: {known}", path=("kind",))


def _explained_endpoint(raw: Any) -> FieldError:
    """What is wrong with it as the type of endpoint that it says it is."""
    spec = raw.get("spec")
    given = spec.get("type", "simple") if isinstance(spec, Mapping) else "simple"
    if isinstance(given, str) and given not in ("simple", "scaled"):
        text = f"{_who(kinds.ENDPOINT, raw)}: spec.type: {_shown(given)} is not supported; "
        return FieldError(f"{text}it is 'simple' or 'scaled'", path=("spec", "type"))
    cls = objects.ScaledEndpoint if given == "scaled" else objects.SimpleEndpoint
    try:
        cls.model_validate(raw)
    except pydantic.ValidationError as error:
        return _explained(error, cls, raw)
    raise AssertionError("an endpoint is wrong, and right as either type")


def _explained(error: pydantic.ValidationError, cls: type[objects.Declared], raw: Any) -> FieldError:
    details = error.errors(include_url=False)
    first = details[0]
    if first["type"] == "missing":  # what is missing may be there, misspelt
        first = next((detail for detail in details if _is_beside(detail, first)), first)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return FieldError(f"{_who(cls.KIND, raw)}: {_sentence(first, cls)}{more}", path=first["loc"])


def _is_beside(detail: ErrorDetails, missing: ErrorDetails) -> bool:
    """Whether it is an unknown field where another is missing."""
    return detail["type"] == "extra_forbidden" and detail["loc"][:-1] == missing["loc"][:-1]


def _who(kind: kinds.Kind, raw: Mapping[str, Any]) -> str:
    metadata = raw.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
        return kind.singular
    vpc = metadata.get("vpc")
    name = names.full(vpc if isinstance(vpc, str) else None, metadata["name"])
    return f"{kind.singular} {_shown(name)}"


def _sentence(detail: ErrorDetails, cls: type[pydantic.BaseModel]) -> str:
    """One error of pydantic in our words."""
    loc, sort, got = detail["loc"], detail["type"], _shown(detail["input"])
    where = dotted(loc)
    bounds = detail.get("ctx", {})
    match sort:
        case "missing":
            return f"{where} is missing"
        case "extra_forbidden":
            return f"unknown field {where}{kinds.did_you_mean(str(loc[-1]), _fields(cls, loc[:-1]))}"
        case "value_error":
            # A rule over several fields names them itself.
            return f"{where}: {bounds['error']}" if len(loc) > 1 else str(bounds["error"])
        case "string_pattern_mismatch":
            return f"{where}: {got} is not a name; {names.RULE}"
        case "literal_error":
            return f"{where}: {got} is not supported; it is {bounds['expected']}"
        case "greater_than_equal":
            return f"{where}: {got} is below {bounds['ge']}, the least"
        case "less_than_equal":
            return f"{where}: {got} is above {bounds['le']}, the most"
        case "too_long":
            return f"{where}: {bounds['actual_length']} given, at most {bounds['max_length']}"
        case "too_short":
            return f"{where}: {bounds['actual_length']} given, at least {bounds['min_length']}"
    return f"{where}: {got} is not {_WANTED.get(sort, 'right: ' + detail['msg'])}"


_WANTED = {
    "string_type": "a text (quote it)",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a set of key: value pairs",
    "model_type": "a set of key: value pairs",
    "model_attributes_type": "a set of key: value pairs",
}


def dotted(path: Path) -> str:
    """("spec", "cidrs", 0) as `spec.cidrs[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


def _fields(cls: type[pydantic.BaseModel], path: Path) -> list[str]:
    """JSON names of the fields at `path` below `cls`."""
    for step in path:
        field = next((f for f in cls.model_fields.values() if f.alias == step), None)
        inner = _model_in(field.annotation) if field is not None else None
        if inner is None:
            return []
        cls = inner
    return [field.alias or name for name, field in cls.model_fields.items()]


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    options = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in {typing.Union, types.UnionType}
        else (annotation,)
    )
    return next((o for o in options if isinstance(o, type) and issubclass(o, pydantic.BaseModel)), None)


def _shown(value: object) -> str:
    """A value as a user typed it, at most some 60 letters of it."""
    text = json.dumps(value, default=str) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
