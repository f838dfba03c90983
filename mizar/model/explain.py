# SPDX-License-Identifier: Apache-2.0
"""The fields of a kind for people: path, type, default, meaning. Read from the schemas of the model classes,
so that a field is described once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mizar.model import kinds, names, objects

Schema = Mapping[str, Any]

_CLASSES: Mapping[str, type[objects.AnyObject]] = {
    **objects.CLASSES,
    "Bouncer": objects.Bouncer,
    "Divider": objects.Divider,
}


class Field(NamedTuple):
    """One field. `path`: `spec.ports[].port`; `default` is what it is when it is left out, or `required`."""

    path: str
    type: str
    default: str
    meaning: str


def summary(kind: kinds.Kind) -> str:
    """The kind in a sentence."""
    return " ".join((_CLASSES[kind.name].__doc__ or "").split())


def fields(kind: kinds.Kind) -> Iterator[Field]:
    """All fields of metadata, spec and status, those of parts behind the part."""
    schema = _CLASSES[kind.name].model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    for part in ("metadata", "spec", "status"):
        for variant in _variants(schema["properties"][part], definitions):
            yield from _inside(part, variant, definitions)


def _inside(path: str, schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[Field]:
    """The fields of a part, and of the parts in it."""
    required = schema.get("required", ())
    kept = schema.get("properties", {})
    mark = kept.get("type", {}).get("const") if path == "spec" else None
    where = f"{path}({mark})" if mark else path
    for name, field in kept.items():
        (wanted,) = _variants(field, definitions)[:1]
        items = wanted.get("items")
        inner = _variants(items, definitions)[0] if items else wanted
        default = "required" if name in required else _default(field.get("default"))
        default = "-" if path.startswith("status") else default
        here = f"{where}.{name}{'[]' if items else ''}"
        yield Field(here, _type(wanted, definitions), default, str(field.get("description", "")))
        if "properties" in inner:
            yield from _inside(here, inner, definitions)


def _variants(schema: Schema, definitions: Mapping[str, Schema]) -> list[Schema]:
    """What a value may be, besides absent."""
    if "$ref" in schema:
        return [definitions[schema["$ref"].rpartition("/")[2]]]
    if "anyOf" in schema:
        return [
            found
            for option in schema["anyOf"]
            if option.get("type") != "null"
            for found in _variants(option, definitions)
        ]
    return [schema]


def _default(value: Any) -> str:
    return "-" if value is None or value in ([], {}) else json.dumps(value)


def _type(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    match schema.get("type"):
        case "array":
            return f"list of {_type(_variants(schema['items'], definitions)[0], definitions)}"
        case "integer" if "minimum" in schema and "maximum" in schema:
            return f"{schema['minimum']} to {schema['maximum']}"
        case "integer":
            return f"number from {schema['minimum']}" if "minimum" in schema else "number"
        case "boolean":
            return "true | false"
        case "object":
            return "fields" if "properties" in schema else "key: value pairs"
    return _text_type(schema)


def _text_type(schema: Schema) -> str:
    if schema.get("pattern") == names.PATTERN:
        return "name"
    if schema.get("format") == "ipv4":
        return "IPv4 address"
    return "CIDR" if schema.get("examples") else "text"
