# SPDX-License-Identifier: Apache-2.0
"""Manifest files to objects; every error begins with `file:line:`.

A manifest is YAML with any number of documents, each an object or a list of them, or JSON with one object or
an array of them. A hundred thousand endpoints take one second as JSON, four as YAML (measured).

YAML is composed to nodes, which know their lines, and turned into plain data here: a stricter subset than
PyYAML constructs (keys are texts and may not be repeated, dates stay texts, no tags that make objects).
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from mizar import errors
from mizar.model import bulk, kinds, objects, reading

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALARS = yaml.constructor.SafeConstructor()
_TAG = "tag:yaml.org,2002:"
_CONTAINERS = {f"{_TAG}map", f"{_TAG}seq"}
_JSON_SPACE = re.compile(r"[\s,]*")


def load(path: pathlib.Path) -> list[objects.Declared]:
    """The objects of a file, `-` for standard input. InvalidError says what is wrong and where."""
    if str(path) == "-":
        return parse(sys.stdin.buffer.read(), source="<stdin>")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise errors.InvalidError(f"read {str(path)!r}: {error.strerror}") from error
    return parse(text, source=str(path))


def parse(text: bytes | str, *, source: str) -> list[objects.Declared]:
    """The objects of a text. `source`: what to call it in errors."""
    if isinstance(text, bytes):
        text = _decoded(text, source)
    with bulk.collector_paused():
        if text.lstrip()[:1] in {"[", "{"} and _is_json(text):
            return _parse_json(text, source)
        return _parse_yaml(text, source)


def _decoded(text: bytes, source: str) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise errors.InvalidError(f"{source}:{line}: not UTF-8 text ({error.reason})") from None


# ----------------------------------------------------------------------------------------------------- JSON


def _is_json(text: str) -> bool:
    """False for what begins like JSON and is not: flow-style YAML, or an error that YAML will point out."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parse_json(text: str, source: str) -> list[objects.Declared]:
    try:
        found = reading.read_json(text)
        for index, obj in enumerate(found):
            _check_version(obj, index)
    except reading.FieldError as error:
        line = _json_line(text, error.index, error.path)
        raise errors.InvalidError(f"{source}:{line}: {error}") from None
    return found


def _json_line(text: str, index: int, path: reading.Path) -> int:
    """Line of a field of the object at `index`; only that object is looked at closely."""
    start = end = len(text) - len(text.lstrip())
    if text[start] == "[":
        decoder, end = json.JSONDecoder(), start + 1
        for _ in range(index + 1):
            space = _JSON_SPACE.match(text, end)
            start = space.end() if space else end
            _, end = decoder.raw_decode(text, start)
    else:
        end = len(text)
    before = text.count("\n", 0, start)
    try:
        # JSON is YAML, but for tabs between tokens.
        node = yaml.compose(text[start:end].replace("\t", " "), Loader=_LOADER)
    except yaml.YAMLError:
        return before + 1
    return before + (_line(node, path) if node is not None else 1)


# ----------------------------------------------------------------------------------------------------- YAML


def _parse_yaml(text: str, source: str) -> list[objects.Declared]:
    found: list[objects.Declared] = []
    try:
        for node in _documents(text):
            items = node.value if isinstance(node, yaml.SequenceNode) else (node,)
            found.extend(_read(item, source) for item in items)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise errors.InvalidError(f"{source}:{line}: not YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise errors.InvalidError(f"{source}:{line}: not YAML: {error.reason}") from None
    except RecursionError:
        raise errors.InvalidError(f"{source}:1: nested too deeply") from None
    return found


def _documents(text: str) -> Iterator[yaml.Node]:
    """The documents that are not empty."""
    loader = _LOADER(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None and node.tag != f"{_TAG}null":
                yield node
    finally:
        loader.dispose()


def _read(node: yaml.Node, source: str) -> objects.Declared:
    try:
        obj = reading.read(_plain(node, set()))
        _check_version(obj, 0)
    except _NodeError as error:
        raise errors.InvalidError(f"{source}:{error.node.start_mark.line + 1}: {error}") from None
    except reading.FieldError as error:
        raise errors.InvalidError(f"{source}:{_line(node, error.path)}: {error}") from None
    return obj


class _NodeError(Exception):
    """What YAML allows and a manifest does not."""

    def __init__(self, message: str, node: yaml.Node) -> None:
        super().__init__(message)
        self.node = node


def _plain(node: yaml.Node, above: set[int]) -> Any:
    """A node as plain data. `above`: nodes that it is inside of, so that none can be inside itself."""
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if node.tag not in _CONTAINERS:
        raise _unknown_tag(node)
    if id(node) in above:
        raise _NodeError("an alias refers to what it is in", node)
    above.add(id(node))
    made = (
        _mapping(node, above)
        if isinstance(node, yaml.MappingNode)
        else [_plain(item, above) for item in node.value]
    )
    above.remove(id(node))
    return made


def _mapping(node: yaml.MappingNode, above: set[int]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in node.value:
        if key.tag != f"{_TAG}str":
            raise _NodeError(f"key {key.value!r} is not a text (quote it)", key)
        if key.value in made:
            raise _NodeError(f"key {key.value!r} is given twice", key)
        made[key.value] = _plain(value, above)
    return made


def _scalar(node: yaml.ScalarNode) -> Any:
    match node.tag.removeprefix(_TAG):
        case "str" | "timestamp":
            return node.value
        case "null":
            return None
        case "bool":
            return _SCALARS.construct_yaml_bool(node)
        case "int":
            return _SCALARS.construct_yaml_int(node)
        case "float":
            return _SCALARS.construct_yaml_float(node)
    raise _unknown_tag(node)


def _unknown_tag(node: yaml.Node) -> _NodeError:
    return _NodeError(f"tag {node.tag.replace(_TAG, '!!')!r} has no meaning here", node)


# --------------------------------------------------------------------------------------------------- helpers


def _check_version(obj: objects.Declared, index: int) -> None:
    """A file must say what it is written for."""
    if "api_version" not in obj.model_fields_set:
        raise reading.FieldError(f"{obj.ref}: apiVersion is missing; it is {kinds.API_VERSION}", index=index)


def _line(node: yaml.Node, path: reading.Path) -> int:
    """Line of the field at `path`, or of what it should be in."""
    line = node.start_mark.line
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
        else:
            break
    return int(line) + 1
